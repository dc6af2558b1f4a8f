"""Warm reload: installed packages are imported once, by a template from which workers are forked."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.control import status
from support.editing import (
    APPLICATION,
    Project,
    living_workers,
    new_connections,
    wait_for_answer,
    wait_until_replaced,
    wait_until_watching,
)
from support.harness import Server, children_of, get, is_alive
from tricorn.worker.forking import part_ways

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the template needs Linux' prctl and /proc")

NOTED = """
import os
with open({log!r}, "a") as log:
    print("{name}", os.getpid(), file=log)
"""
WARM = "imported once"


class Workshop(Project):
    """A project with packages of its own that count as installed, and a log of who imported them."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.site = site / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        self.site.mkdir(parents=True)
        self.log = site / "imports"
        self.log.touch()
        self.env = {"PYTHONUSERBASE": str(site), "PYTHONPATH": str(self.site)}
        self.imports: list[str] = []
        super().__init__(folder)

    def install(self, name: str, code: str = "") -> None:
        (self.site / name).mkdir(exist_ok=True)
        (self.site / name / "__init__.py").write_text(NOTED.format(log=str(self.log), name=name) + code)
        if name not in self.imports:
            self.imports.append(name)

    def write(self, version: str) -> None:
        lines = "".join(f"import {name}\n" for name in self.imports)
        self.save(lines + APPLICATION.format(version=version))

    def importers(self, name: str) -> list[int]:
        """The processes that imported the package, each as often as it did."""
        return [int(line.split()[1]) for line in self.log.read_text().splitlines() if line.split()[0] == name]

    def serve(self, *arguments: str) -> Server:
        server = super().serve("--log-level", "debug", *arguments)
        server.env |= self.env
        return server


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    (tmp_path / "project").mkdir()
    return Workshop(tmp_path / "project", tmp_path / "base")


@contextmanager
def warm_server(workshop: Workshop) -> Iterator[Server]:
    """A server of an application that imports ``heavy``, once its template has imported that."""
    workshop.install("heavy")
    workshop.write("one")
    with workshop.serve() as server:
        wait_until_warm(server)
        yield server


def template_of(server: Server, workshop: Workshop, name: str) -> int:
    """The process that has imported the package, lives, and is no worker."""

    def found() -> int | None:
        candidates = set(workshop.importers(name)) & set(children_of(server.pid)) - set(living_workers(server))
        return next((pid for pid in candidates if is_alive(pid)), None)

    pid = server.wait_until(found, what="there is no template")
    assert pid is not None
    return pid


def wait_until_warm(server: Server, count: int = 1) -> None:
    wait_until_watching(server)
    server.wait_for_log(WARM, count=count)


def test_an_installed_package_is_imported_once_and_the_application_every_time(workshop: Workshop) -> None:
    workshop.install("heavy")
    workshop.write("one")
    with workshop.serve("--workers", "2") as server:
        server.wait_for_ready(2)
        wait_until_warm(server)
        before = workshop.importers("heavy")
        assert len(before) == 3, "two workers and the template"
        for number in range(5):
            workshop.write(f"version {number}")
            server.wait_for_log("serves the new code", count=2 * (number + 1))
            wait_until_replaced(server, workers=2)
            assert get(server.port).body == b"version %d" % number
        assert workshop.importers("heavy") == before
        server.wait_until(lambda: len(children_of(server.pid)) == 4, what="two workers, watcher and template")
        assert set(living_workers(server)) < set(children_of(server.pid)), "workers are the supervisor's children"
        assert server.stop() == 0


def test_a_package_imported_later_is_imported_by_the_template_too(workshop: Workshop) -> None:
    workshop.install("first")
    workshop.write("one")
    with workshop.serve() as server:
        wait_until_warm(server)
        number = int(server.wait_for_log(r"(\d+) modules of installed").group(1))
        workshop.install("second")
        workshop.write("two")
        wait_for_answer(server, b"two")
        # A package was installed, so the template was made anew; then it heard of the second.
        server.wait_for_log(f"{number + 1} modules of installed packages")
        before = workshop.importers("second")
        workshop.write("three")
        server.wait_for_log("reloaded in", count=2)
        assert workshop.importers("second") == before


HARMS = {
    "thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n",
    "socket": "import socket\nkept = socket.socket()\n",
    "loop": "import asyncio\nloop = asyncio.new_event_loop()\n",
    "file": "kept = open(__file__)\n",
    "own": "import own_code\n",
}


@pytest.mark.parametrize("kind", HARMS)
def test_a_module_that_does_what_can_not_be_shared_is_left_out_and_named(workshop: Workshop, kind: str) -> None:
    workshop.save("", name="own_code.py")
    workshop.install("harmless")
    workshop.install("harmful", HARMS[kind])
    workshop.write("one")
    with workshop.serve() as server:
        wait_until_warm(server)
        assert "Warm reload leaves out harmful: it" in server.log
        before = workshop.importers("harmful"), workshop.importers("harmless")
        workshop.write("two")
        server.wait_for_log("reloaded in")
        wait_until_replaced(server)
        assert get(server.port).body == b"two"
        [worker] = living_workers(server)
        assert workshop.importers("harmful") == [*before[0], worker], "each worker imports it itself"
        assert workshop.importers("harmless") == before[1]
        assert "is gone (exit code 0)" in server.log
        assert "WARNING" not in server.log


def test_a_module_that_fails_in_the_template_is_left_out(workshop: Workshop) -> None:
    workshop.install("harmless")
    workshop.install("picky", "import sys\nif 'edited' not in sys.modules: raise RuntimeError('not here')\n")
    workshop.write("one")
    with workshop.serve() as server:
        wait_until_warm(server)
        assert "leaves out picky: it fails: RuntimeError: not here" in server.log
        workshop.write("two")
        wait_for_answer(server, b"two")


def test_a_changed_package_is_seen_and_the_template_made_anew(workshop: Workshop) -> None:
    workshop.install("library", "VALUE = 'old'\n")
    workshop.save("import library\n" + APPLICATION.format(version="x").replace('"x"', "library.VALUE"))
    with workshop.serve() as server:
        wait_until_warm(server)
        workshop.install("library", "VALUE = 'newer'\n")
        os.utime(workshop.folder / "edited.py")
        wait_for_answer(server, b"newer")
        wait_until_warm(server, count=2)
        os.utime(workshop.folder / "edited.py")
        server.wait_for_log("reloaded in", count=2)
        wait_until_replaced(server)
        assert get(server.port).body == b"newer"


def test_a_module_of_the_developers_goes_before_an_installed_one(workshop: Workshop) -> None:
    workshop.install("library", "VALUE = 'installed'\n")
    workshop.save("import library\n" + APPLICATION.format(version="x").replace('"x"', "library.VALUE"))
    with workshop.serve() as server:
        wait_until_warm(server)
        assert get(server.port).body == b"installed"
        workshop.save("VALUE = 'my own'\n", name="library.py")
        wait_for_answer(server, b"my own")


# ---- who dies


def test_a_killed_template_is_made_anew_and_missed_by_nobody(workshop: Workshop) -> None:
    with warm_server(workshop) as server:
        os.kill(template_of(server, workshop, "heavy"), signal.SIGKILL)
        workshop.write("two")
        wait_for_answer(server, b"two")
        wait_until_warm(server, count=2)
        before = workshop.importers("heavy")
        workshop.write("three")
        wait_for_answer(server, b"three")
        assert workshop.importers("heavy") == before


def test_a_template_that_does_not_answer_is_replaced(workshop: Workshop) -> None:
    with warm_server(workshop) as server:
        os.kill(template_of(server, workshop, "heavy"), signal.SIGSTOP)
        workshop.write("two")
        wait_for_answer(server, b"two")
        wait_until_warm(server, count=2)
        wait_until_replaced(server)
        server.wait_until(lambda: len(children_of(server.pid)) == 3)


def test_the_supervisor_answers_while_a_template_does_not(workshop: Workshop) -> None:
    with warm_server(workshop) as server:
        os.kill(template_of(server, workshop, "heavy"), signal.SIGSTOP)
        workshop.write("two")

        def is_asked() -> bool:
            return any(one["phase"] == "starting" and one["pid"] is None for one in status(server)["workers"])

        server.wait_until(is_asked, what="the supervisor waits for the template")
        assert "The template does not fork; killed" not in server.log
        server.wait_for_log("The template does not fork; killed")
        wait_for_answer(server, b"two")


def test_a_killed_worker_of_the_templates_is_replaced(workshop: Workshop) -> None:
    with warm_server(workshop) as server:
        workshop.write("two")
        server.wait_for_log("reloaded in")
        server.wait_until(lambda: len(living_workers(server)) == 1)
        victim = living_workers(server)[0]
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(r"crashed: killed by SIGKILL")
        wait_for_answer(server, b"two")
        server.wait_until(lambda: living_workers(server) not in ([], [victim]))
        server.wait_until(lambda: all(map(is_alive, children_of(server.pid))), what="a zombie is left")


def test_nobody_outlives_a_killed_supervisor(workshop: Workshop) -> None:
    with warm_server(workshop) as server:
        workshop.write("two")
        server.wait_for_log("reloaded in")
        family = children_of(server.pid)
        os.kill(server.pid, signal.SIGKILL)
        server.wait_until(lambda: not any(map(is_alive, family)), timeout=10)


def test_warm_reloads_lose_nothing(workshop: Workshop) -> None:
    with warm_server(workshop) as server:
        with new_connections(server.port) as answers:
            for number in range(30):
                workshop.write(f"version {number}")
                server.wait_for_log("reloaded in", count=number + 1)
        wrong = [answer for answer in answers if not isinstance(answer, bytes)]
        assert not wrong, f"{len(wrong)} of {len(answers)}: {wrong[:3]}"
        server.wait_until(lambda: len(children_of(server.pid)) == 3)
        assert server.stop(signal.SIGINT) == 0


def test_without_it_there_is_no_template(workshop: Workshop) -> None:
    workshop.install("heavy")
    workshop.write("one")
    with workshop.serve("--no-reload-warm") as server:
        wait_until_watching(server)
        workshop.write("two")
        wait_for_answer(server, b"two")
        server.wait_until(lambda: len(children_of(server.pid)) == 2)
        assert len(workshop.importers("heavy")) == 2


# ---- chance


def test_workers_do_not_share_their_chance(workshop: Workshop) -> None:
    workshop.install("heavy")
    code = "import heavy, random\n" + APPLICATION.format(version="x").replace('"x"', "str(random.random())")
    workshop.save(code)
    with workshop.serve() as server:
        wait_until_warm(server)
        seen = set()
        for number in range(4):
            os.utime(workshop.folder / "edited.py")
            server.wait_for_log("reloaded in", count=number + 1)
            wait_until_replaced(server)
            seen.add(get(server.port).body)
        assert len(seen) == 4


def test_numpy_is_seeded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(1)
    before = generator.random()
    generator.seed(1)
    monkeypatch.setitem(sys.modules, "numpy.random", SimpleNamespace(seed=generator.seed))  # type: ignore[arg-type]
    part_ways()
    assert generator.random() != before
