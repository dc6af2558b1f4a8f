"""``--preload`` beside other options: hooks, metrics, logs, canaries, reloads under load."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import sys
from pathlib import Path

import pytest
from support.control import ctl, status
from support.editing import new_connections
from support.harness import Server, get, open_files, wait_until
from support.shop import Shop, importers, template_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a template needs Linux' prctl and /proc")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def answers(server: Server, path: str, count: int = 30) -> set[str]:
    return {get(server.port, path).body.decode() for _ in range(count)}


# ------------------------------------------------------------------------------------------------------------------ hooks

HOOKS = """
import json, os, sys
def tell(hook, given):
    with open({told!r}, "a") as file:
        print(json.dumps([hook, os.getpid(), given.pid, given.generation, "shop" in sys.modules]), file=file)
def on_template_loaded(template):
    tell("loaded", template)
    {more}
def on_worker_forked(worker):
    tell("forked", worker)
def on_worker_start(worker):
    tell("start", worker)
"""


def serve_with_hooks(shop: Shop, more: str = "", preload: str = "app") -> tuple[Server, Path]:
    told = shop.folder / "told"
    told.touch()
    (shop.folder / "hooked.py").write_text(HOOKS.format(told=str(told), more=more or "pass"))
    return shop.serve("--workers", "2", "--hooks", "hooked", preload=preload), told


def read(told: Path) -> list[list[object]]:
    return [json.loads(line) for line in told.read_text().splitlines()]


def test_hooks_are_called_in_the_template_and_in_each_worker_it_forks(shop: Shop) -> None:
    server, told = serve_with_hooks(shop)
    with server:
        template = template_of(server)
        server.wait_for_ready(2)
        lines = read(told)
        assert lines[0] == ["loaded", template, template, 0, True]
        workers = {pid for hook, pid, *_ in lines if hook == "start"}
        assert len(workers) == 2
        for worker in workers:
            its = [line for line in lines if line[1] == worker]
            assert its == [["forked", worker, worker, 0, True], ["start", worker, worker, 0, True]]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("import socket; globals()['kept'] = socket.socket()", "opens a socket"),
        ("raise LookupError('no licence')", "fails: LookupError: no licence"),
    ],
)
def test_a_hook_that_does_harm_or_fails_makes_each_worker_import_the_application(shop: Shop, more: str, said: str) -> None:
    server, told = serve_with_hooks(shop, more)
    with server:
        server.wait_for_log(rf"--preload app: \w+ {said}; each worker imports the application itself")
        server.wait_for_ready(2)
        assert template_count(server) == 0
        lines = read(told)
        assert [line[0] for line in lines].count("loaded") == 1
        assert [line[0] for line in lines].count("forked") == 2
        assert get(server.port).body == b"one"


def template_count(server: Server) -> int:
    return server.log.count("workers share the application")


def test_with_packages_only_the_template_imports_no_hooks(shop: Shop) -> None:
    server, told = serve_with_hooks(shop, preload="packages")
    with server:
        server.wait_for_ready(2)
        assert sorted(str(line[0]) for line in read(told)) == ["forked", "forked", "start", "start"]


# ----------------------------------------------------------------------------------------------------------------- chance


def test_workers_do_not_share_their_chance(shop: Shop) -> None:
    more = "import random, secrets, uuid\nuuid.uuid1()\nrandom.random()\n"
    shop.write("one", more + "class Chance:\n    def __str__(self): return f'{os.getpid()} {random.random()}'\n")
    source = shop.folder / "shop.py"
    source.write_text(source.read_text().replace('"/importer": PID', '"/chance": Chance()'))
    with shop.serve("--workers", "3") as server:
        server.wait_for_ready(3)
        first: dict[str, str] = {}

        def all_have_answered() -> bool:
            pid, number = get(server.port, "/chance").body.decode().split()
            first.setdefault(pid, number)
            return len(first) == 3

        server.wait_until(all_have_answered)
        assert len(set(first.values())) == 3


# ---------------------------------------------------------------------------------------------------------------- metrics


def test_each_worker_has_its_own_files_of_metrics(shop: Shop) -> None:
    pytest.importorskip("prometheus_client")
    shop.write("one", "from prometheus_client import Counter\nSEEN = Counter('seen', 'requests')\n")
    source = shop.folder / "shop.py"
    source.write_text(source.read_text().replace("    text = ", "    SEEN.inc()\n    text = "))
    with shop.serve("--workers", "2", "--app-metrics", "--admin-bind", "127.0.0.1:0") as server:
        template = template_of(server)
        server.wait_for_ready(2)
        admin = int(server.wait_for_log(r"Admin listener on http://127.0.0.1:(\d+)").group(1))
        workers = {worker["pid"] for worker in status(server)["workers"]}
        for worker in workers:
            files = {file for file in open_files(worker) if file.endswith(".db")}
            assert {re.search(r"_(\d+)\.db$", file).group(1) for file in files} == {str(worker)}  # type: ignore[union-attr]
        assert any(file.endswith(f"_{template}.db") for file in open_files(template))
        for _ in range(20):
            get(server.port)
        wait_until(lambda: "seen_total 20.0" in get(admin, "/metrics").body.decode())
        shop.write("two", "")
        assert ctl(server, "reload").returncode == 0
        assert "seen_total 20.0" in get(admin, "/metrics").body.decode()


# ------------------------------------------------------------------------------------------------------------ status, logs


def test_status_shows_templates(shop: Shop) -> None:
    with shop.serve("--workers", "2") as server:
        template = template_of(server)
        server.wait_for_ready(2)
        [shown] = status(server)["templates"]
        assert (shown["pid"], shown["generation"], shown["phase"], shown["shares"]) == (template, 0, "ready", "app")
        assert shown["rss_bytes"] > 0
        assert f"Template {template}, generation 0: workers share the application, " in ctl(server, "status").stdout


def test_the_log_of_workers_that_are_forked_later_is_the_one_that_was_ordered(shop: Shop) -> None:
    log = shop.folder / "access.log"
    with shop.serve("--workers", "1", "--access-log-file", str(log)) as server:
        template = template_of(server)
        server.wait_for_ready(1)
        assert ctl(server, "log-level", "debug").returncode == 0
        log.rename(shop.folder / "access.log.1")
        assert ctl(server, "reopen-logs").returncode == 0
        os.kill(int(get(server.port, "/pid").body), signal.SIGKILL)
        server.wait_for_ready(2)
        assert importers(server) == {template}
        server.wait_until(lambda: "GET /importer" in log.read_text())
        server.wait_for_log("DEBUG: ")


# ------------------------------------------------------------------------------------------------------------------- user


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_template_and_workers_run_as_the_user(shop: Shop) -> None:
    for folder in (shop.folder, *shop.folder.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
    with shop.serve("--workers", "2", "--user", "nobody") as server:
        first = template_of(server)
        server.wait_for_ready(2)
        os.kill(first, signal.SIGKILL)
        second = template_of(server, 2)
        os.kill(int(get(server.port, "/pid").body), signal.SIGKILL)
        server.wait_for_ready(3)
        assert importers(server) == {first, second}
        workers = {worker["pid"] for worker in status(server)["workers"]}
        nobody = pwd.getpwnam("nobody").pw_uid
        assert {os.stat(f"/proc/{pid}").st_uid for pid in (second, *workers)} == {nobody}
        shop.write("two")
        assert ctl(server, "reload").returncode == 0
        assert answers(server, "/") == {"two"}
        assert server.stop() == 0


# ---------------------------------------------------------------------------------------------------------------- reloads


def test_reloads_under_load_lose_nothing_and_serve_the_new_code_only(shop: Shop) -> None:
    with shop.serve("--workers", "2") as server:
        server.wait_for_ready(2)
        with new_connections(server.port) as answered:
            for number in range(6):
                shop.write(f"version {number % 2}")
                assert ctl(server, "reload").returncode == 0
                assert answers(server, "/", 20) == {f"version {number % 2}"}
        wrong = [answer for answer in answered if not isinstance(answer, bytes)]
        assert not wrong, f"{len(wrong)} of {len(answered)}: {wrong[:3]}"
        assert server.stop() == 0


def test_a_canary_that_does_not_start_leaves_the_old_template(shop: Shop) -> None:
    with shop.serve("--workers", "2") as server:
        template = template_of(server)
        server.wait_for_ready(2)
        shop.write("two", "raise RuntimeError('broken deploy')")
        assert ctl(server, "reload", "--canary", "1", "--for", "5").returncode == 3
        os.kill(int(get(server.port, "/pid").body), signal.SIGKILL)
        server.wait_for_ready(3)
        assert importers(server) == {template}


def test_surge_zero_keeps_a_worker_until_the_template_is_there(shop: Shop) -> None:
    with shop.serve("--workers", "2", "--surge", "0") as server:
        server.wait_for_ready(2)
        shop.write("two", "import time; time.sleep(1.5)")
        with new_connections(server.port) as answered:
            assert ctl(server, "reload").returncode == 0
        assert not [answer for answer in answered if not isinstance(answer, bytes)]
        assert answers(server, "/") == {"two"}


# ---------------------------------------------------------------------------------------------------------- applications


def test_a_factory_is_called_by_each_worker(shop: Shop) -> None:
    shop.write(
        "one", "MAKERS = []\ndef make():\n    MAKERS.append(os.getpid())\n    globals()['PID'] = MAKERS\n    return app\n"
    )
    server = Server("shop:make", "--factory", "--app-dir", str(shop.folder), "--preload", "app", "--workers", "2")
    with server:
        template_of(server)
        server.wait_for_ready(2)
        workers = {str([int(pid)]) for pid in answers(server, "/pid")}
        assert answers(server, "/importer") == workers


def test_a_wsgi_application_is_shared(shop: Shop) -> None:
    pytest.importorskip("a2wsgi")
    code = "import os\nPID = os.getpid()\ndef app(environ, start):\n    start('200 OK', [])\n    return [b'%d' % PID]\n"
    (shop.folder / "shop.py").write_text(code)
    with shop.serve("--workers", "2", "--interface", "wsgi") as server:
        template = template_of(server)
        server.wait_for_ready(2)
        assert answers(server, "/") == {str(template)}
