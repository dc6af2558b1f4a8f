"""``--preload``: a template that is asked for a worker, and is slow, hangs or dies. The supervisor goes on meanwhile."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.control import ctl, start_ctl, status
from support.harness import Server, children_of, get, is_alive
from support.shop import Shop, importers, template_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a template needs Linux' prctl and /proc")

SLOW = "import os, time\nos.register_at_fork(before=lambda: time.sleep(0.7))\n"
"""A template that imports this forks twice for each worker, so it takes longer than it may."""
OVERDUE = "has forked no worker within 1 s; killed; to be made anew"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def stop_template_and_kill_worker(server: Server) -> int:
    """After that, a template that can't answer is asked for a worker; returns its pid."""
    template = template_of(server)
    server.wait_for_ready(2)
    os.kill(template, signal.SIGSTOP)
    os.kill(int(get(server.port, "/pid").body), signal.SIGKILL)
    return template


def the_asked(server: Server) -> list[dict[str, Any]]:
    """The workers that are not forked yet, as ``status`` shows them."""
    return [worker for worker in status(server)["workers"] if worker["phase"] == "starting" and worker["pid"] is None]


def wait_until_nobody_else_lives(server: Server, count: int) -> None:
    """Wait until the supervisor has so many children; a process that was forked too late is given to it, too."""
    server.wait_until(
        lambda: len(list(filter(is_alive, children_of(server.pid)))) == count, what="a process that nobody knows is left"
    )


def test_orders_and_requests_are_answered_while_a_stopped_template_is_asked(shop: Shop) -> None:
    with shop.serve("--workers", "2", "--admin-bind", "127.0.0.1:0") as server:
        admin = int(server.wait_for_log(r"Admin listener on http://127.0.0.1:(\d+)").group(1))
        template = stop_template_and_kill_worker(server)
        server.wait_until(lambda: the_asked(server), what="nobody was asked")
        waits: list[float] = []
        for ask in (lambda: status(server), lambda: get(admin, "/livez"), lambda: get(server.port)):
            began = time.monotonic()
            ask()
            waits.append(time.monotonic() - began)
        server.send(signal.SIGTTIN)
        server.wait_for_log("Now 3 workers")
        assert OVERDUE not in server.log, f"the supervisor has waited for the template; answers took {waits}"
        server.wait_for_log(OVERDUE)
        server.wait_for_ready(4)
        template_of(server, 2)
        assert not is_alive(template)
        wait_until_nobody_else_lives(server, 5)
        assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_stop_while_a_stopped_template_is_asked_does_not_wait_for_it(shop: Shop, number: int) -> None:
    with shop.serve("--workers", "2") as server:
        stop_template_and_kill_worker(server)
        server.wait_until(lambda: the_asked(server), what="nobody was asked")
        assert server.stop(number) == 0
        assert OVERDUE not in server.log


def test_a_reload_while_a_stopped_template_is_asked_is_carried_out(shop: Shop) -> None:
    with shop.serve("--workers", "2") as server:
        stop_template_and_kill_worker(server)
        server.wait_until(lambda: the_asked(server), what="nobody was asked")
        shop.write("two")
        assert ctl(server, "reload").returncode == 0
        assert {get(server.port).body for _ in range(20)} == {b"two"}
        assert importers(server) == {template_of(server, server.log.count("workers share the application"))}
        wait_until_nobody_else_lives(server, 3)


def test_an_upgrade_while_a_stopped_template_is_asked_loses_no_worker(shop: Shop) -> None:
    with shop.serve("--workers", "2") as server:
        stop_template_and_kill_worker(server)
        server.wait_until(lambda: the_asked(server), what="nobody was asked")
        upgrade = start_ctl(server, "upgrade")
        output, _ = upgrade.communicate(timeout=30)
        assert upgrade.returncode == 0, output
        # One that was there before the upgrade is the new program's, too.
        server.wait_until(lambda: [one["phase"] for one in status(server)["workers"]] == ["ready"] * 2)
        wait_until_nobody_else_lives(server, 3)
        assert server.stop() == 0


def test_a_worker_that_is_forked_too_late_does_not_stay(shop: Shop) -> None:
    shop.write("one", SLOW)
    with shop.serve("--workers", "2") as server:
        server.wait_for_log(OVERDUE)
        # The process between template and worker is ours then; it forks the worker, which finds its channel closed.
        server.wait_for_ready(2)
        server.wait_for_log("workers share the application", count=2)
        wait_until_nobody_else_lives(server, 3)
        assert {get(server.port).body for _ in range(10)} == {b"one"}
        [first, second] = status(server)["workers"]
        assert {first["pid"], second["pid"]} == importers(server), "each has imported the application itself"
        assert server.stop() == 0


def test_a_worker_of_a_template_that_stops_before_it_says_so_serves_on(shop: Shop) -> None:
    # The process that imports it stops once it has forked the process in between, which goes on and forks the worker.
    stop = "os.getpid() == PID and os.kill(PID, 19)"
    shop.write("one", f"os.register_at_fork(after_in_parent=lambda: {stop})")
    with shop.serve("--workers", "1") as server:
        template = template_of(server)
        server.wait_for_ready(1)
        assert importers(server) == {template}
        assert [one["phase"] for one in status(server)["workers"]] == ["ready"]
        # It is found out when it is asked again.
        os.kill(int(get(server.port, "/pid").body), signal.SIGKILL)
        server.wait_for_log(OVERDUE)
        server.wait_for_ready(2)
        assert server.log.count("crashed") == 1


def test_a_worker_that_dies_at_once_is_no_lie_of_the_template(shop: Shop) -> None:
    (shop.folder / "hooked.py").write_text("import os\ndef on_worker_forked(worker): os._exit(9)\n")
    server = shop.serve("--workers", "3", "--hooks", "hooked")
    try:
        server.start()
        assert server.wait_for_exit() == 3
        assert "exited before it was ready: exit code 9" in server.log
        assert "The template of generation" not in server.log
    finally:
        server.__exit__(None)


def test_a_template_that_can_not_fork_is_made_anew(shop: Shop) -> None:
    # The first process that imports it is the template. Its forks fail, as they do without memory or processes.
    marker = shop.folder / "first"
    code = f"try: open({str(marker)!r}, 'x').close()\nexcept FileExistsError: pass\nelse: os.fork = None"
    shop.write("one", code)
    with shop.serve("--workers", "2") as server:
        # The second order finds it dying or dead.
        server.wait_for_log(
            r"template of generation 0 (is gone \(exit code \d+\)|does not read what it is told; killed); to be made"
        )
        server.wait_for_ready(2)
        template_of(server, 2)
        assert get(server.port).body == b"one"
        wait_until_nobody_else_lives(server, 3)


def test_a_template_that_is_killed_while_it_is_asked_is_made_anew(shop: Shop) -> None:
    with shop.serve("--workers", "2") as server:
        template = stop_template_and_kill_worker(server)
        server.wait_until(lambda: the_asked(server), what="nobody was asked")
        os.kill(template, signal.SIGKILL)
        server.wait_for_ready(3)
        template_of(server, 2)
        assert OVERDUE not in server.log
        wait_until_nobody_else_lives(server, 3)


def test_a_template_that_lies_is_not_trusted(shop: Shop) -> None:
    # The application's code answers for the template: it names the supervisor itself as the worker.
    code = """
import os, sys
from tricorn.worker import forking
from tricorn.ipc import channel
def fork(self, birth, descriptors, begin=None):
    for descriptor in descriptors:
        os.close(descriptor)
    self._link.sendall(channel.encode("forked", worker=birth["id"], pid=os.getppid()))
    self._link.sendall(channel.encode("given", worker=birth["id"]))
forking.Forks.fork = fork
"""
    shop.write("one", code)
    with shop.serve("--workers", "2") as server:
        server.wait_for_log("named a process that it has not forked; killed")
        server.wait_for_ready(2)
        assert get(server.port).body == b"one"
        assert server.stop() == 0
