"""``--preload``: what workers must not share is found and named, and each worker imports it itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.harness import Server, get, open_files, run_tricorn
from support.shop import Shop, importers, template_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a template needs Linux' prctl and /proc")

HARMS = {
    "thread": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True, name='poller').start()",
        "starts the thread poller",
    ),
    "socket": ("import socket\nkept = socket.socket()", "opens a socket"),
    "loop": ("import asyncio\nloop = asyncio.new_event_loop()", "makes an event loop"),
    "database": (
        "import os, sqlite3\nkept = sqlite3.connect(os.path.dirname(__file__) + '/data.sqlite')\n"
        "kept.execute('create table if not exists t (a)')",
        r"opens \S+/data.sqlite",
    ),
    "memory": ("import os\nkept = os.memfd_create('test')", "makes shared memory"),
    "process": (
        "import os, time\nif (pid := os.fork()) == 0:\n    import ctypes\n    ctypes.CDLL(None).prctl(1, 9)\n"
        "    time.sleep(1000)\n    os._exit(0)",
        "starts a process",
    ),
}
PACKAGES = r"Template \[\d+\]: workers share installed packages"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def worker_pids(server: Server, count: int) -> set[int]:
    """The pids of so many workers, all of which answer."""
    return server.wait_until(
        lambda: pids if len(pids := {int(get(server.port, "/pid").body) for _ in range(30)}) == count else None
    )


def check_that_nothing_is_shared(server: Server, workers: set[int]) -> None:
    """No socket or pipe is open in two workers, unless the supervisor has it, too."""
    ours = open_files(server.pid)
    seen: dict[str, int] = {}
    for worker in workers:
        for target in open_files(worker) - ours:
            # Only sockets and pipes have names of their own.
            if target.startswith(("socket:", "pipe:")):
                assert target not in seen, f"{worker} and {seen[target]} share {target}"
                seen[target] = worker


@pytest.mark.parametrize("kind", HARMS)
def test_an_application_that_does_what_can_not_be_shared_is_imported_by_each_worker(shop: Shop, kind: str) -> None:
    code, said = HARMS[kind]
    (shop.folder / "dirty.py").write_text(code)
    shop.write("one", "import dirty")
    with shop.serve("--workers", "2") as server:
        server.wait_for_log(rf"--preload app: dirty {said}; each worker imports the application itself")
        server.wait_for_ready(2)
        workers = worker_pids(server, 2)
        assert importers(server) == workers
        assert {get(server.port).body for _ in range(20)} == {b"one"}
        assert server.log.count("--preload app: ") == 1
        check_that_nothing_is_shared(server, workers)
        assert server.stop() == 0


def test_a_clean_application_shares_no_descriptor(shop: Shop) -> None:
    with shop.serve("--workers", "3") as server:
        server.wait_for_ready(3)
        check_that_nothing_is_shared(server, worker_pids(server, 3))


def test_files_that_are_only_mapped_are_shared(shop: Shop) -> None:
    (shop.folder / "model.bin").write_bytes(b"1" * 8192)
    code = "import mmap\nwith open(os.path.dirname(__file__) + '/model.bin', 'rb') as file:\n"
    shop.write("one", f"{code}    model = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)")
    with shop.serve("--workers", "2") as server:
        template_of(server)


class Installed:
    """Packages of the test's own that count as installed, and a log of who imported them."""

    def __init__(self, base: Path) -> None:
        self.site = base / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        self.site.mkdir(parents=True)
        self.log = base / "imports"
        self.env = {"PYTHONUSERBASE": str(base), "PYTHONPATH": str(self.site)}

    def add(self, name: str, code: str = "") -> None:
        (self.site / name).mkdir()
        noted = f"import os\nwith open({str(self.log)!r}, 'a') as log: print('{name}', os.getpid(), file=log)\n"
        (self.site / name / "__init__.py").write_text(noted + code)

    def importers(self, name: str) -> set[int]:
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return {int(pid) for module, pid in lines if module == name}


@pytest.mark.parametrize("preload", ["packages", "app"])
def test_a_harmful_package_and_what_imports_it_are_left_out(shop: Shop, tmp_path: Path, preload: str) -> None:
    installed = Installed(tmp_path / "base")
    installed.add("harmless")
    installed.add("harmful", "import harmless, socket\nkept = socket.socket()\n")
    installed.add("needy", "import harmful\n")
    installed.add("late", "import harmful\n")
    shop.write("one", "import needy, late, harmless")
    server = shop.serve("--workers", "2", preload=preload)
    server.env |= installed.env
    with server:
        server.wait_for_log(rf"--preload {preload}: harmful opens a socket; each worker imports (it|the application) itself")
        server.wait_for_log(PACKAGES)
        server.wait_for_ready(2)
        workers = worker_pids(server, 2)
        for name in ("harmful", "needy", "late"):
            assert workers <= installed.importers(name)
        assert not workers & installed.importers("harmless")
        check_that_nothing_is_shared(server, workers)


def test_packages_are_shared_and_the_application_is_not(shop: Shop, tmp_path: Path) -> None:
    installed = Installed(tmp_path / "base")
    installed.add("heavy")
    shop.write("one", "import heavy")
    server = shop.serve("--workers", "2", preload="packages")
    server.env |= installed.env
    with server:
        server.wait_for_log(PACKAGES)
        server.wait_for_ready(2)
        workers = worker_pids(server, 2)
        assert importers(server) == workers
        assert not workers & installed.importers("heavy")
        # Another version is installed: the next worker must not get the old one.
        (installed.site / "heavy" / "__init__.py").write_text("VALUE = 'newer'\n")
        shop.write("one", "import heavy\nVERSION = heavy.VALUE")
        os.kill(min(workers), 9)
        server.wait_for_log(r"is outdated|installed packages have changed|ready in", count=3)
        server.wait_until(lambda: b"newer" in {get(server.port).body for _ in range(20)})
        server.wait_for_log(PACKAGES, count=2)
        assert "WARNING:  The template" not in server.log


def test_check_config_says_what_would_be_shared(shop: Shop) -> None:
    arguments = ("shop:app", "--app-dir", str(shop.folder), "--check-config", "--preload")
    done = run_tricorn(*arguments, "app")
    assert done.returncode == 0
    assert "--preload app: workers share the application and " in done.stdout
    shop.write("one", "import socket\nkept = socket.socket()")
    done = run_tricorn(*arguments, "app")
    assert done.returncode == 0
    assert "of 0 installed packages, because:\n  shop opens a socket\n" in done.stdout


def test_with_reload_it_has_no_effect_and_that_is_said(shop: Shop) -> None:
    with shop.serve("--reload") as server:
        server.wait_for_log("--preload app: not with --reload")
        server.wait_for_ready(1)
        assert "workers share" not in server.log


def test_without_a_supervisor_it_is_refused(shop: Shop) -> None:
    done = run_tricorn("shop:app", "--app-dir", str(shop.folder), "--workers", "0", "--preload", "app")
    assert done.returncode == 2
    assert done.stderr == "Error: --preload: needs a supervisor, which --workers 0 does without\n"
