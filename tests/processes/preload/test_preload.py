"""``--preload``: workers are forked from a template that has imported their code."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
from support.control import ctl
from support.harness import Server, children_of, get, is_alive, wait_until
from support.shop import Shop, importers, template_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a template needs Linux' prctl and /proc")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def reload(server: Server) -> None:
    assert ctl(server, "reload").returncode == 0


def test_workers_are_the_supervisors_children_and_have_the_templates_code(shop: Shop) -> None:
    with shop.serve("--workers", "3") as server:
        template = template_of(server)
        server.wait_for_ready(3)
        assert importers(server) == {template}
        workers = set(re.findall(r"Worker \d \[(\d+)\] ready", server.log))
        assert len(workers) == 3
        assert {str(pid) for pid in children_of(server.pid)} == workers | {str(template)}
        assert server.stop() == 0
    assert "WARNING" not in server.log


def test_a_killed_worker_is_forked_from_the_template(shop: Shop) -> None:
    shop.write("one", "import time; time.sleep(1.5)")
    with shop.serve("--workers", "2") as server:
        template = template_of(server)
        server.wait_for_ready(2)
        victim = int(get(server.port, "/pid").body)
        os.kill(victim, signal.SIGKILL)
        took = int(server.wait_for_log(r"ready in (\d+) ms\n", count=3).group(1))
        assert took < 1000, "less than an import takes"
        assert importers(server) == {template}
        server.wait_until(lambda: all(map(is_alive, children_of(server.pid))), what="a zombie is left")


def test_each_reload_serves_the_new_code_and_ends_the_old_template(shop: Shop) -> None:
    with shop.serve("--workers", "2") as server:
        for number in range(1, 6):
            old = template_of(server, number)
            shop.write(f"version {number}")
            reload(server)
            assert {get(server.port).body for _ in range(20)} == {b"version %d" % number}
            server.wait_until(lambda pid=old: not is_alive(pid), what="the old template is left")
        assert server.stop() == 0


def test_after_a_reload_that_was_abandoned_crashes_are_replaced_by_the_old_template(shop: Shop) -> None:
    with shop.serve("--workers", "2") as server:
        template = template_of(server)
        server.wait_for_ready(2)
        shop.write("broken", "raise RuntimeError('broken deploy')")
        assert ctl(server, "reload").returncode == 3
        server.wait_for_log("replaced by its template, with the code that it has")
        os.kill(int(get(server.port, "/pid").body), signal.SIGKILL)
        server.wait_for_ready(3)
        assert importers(server) == {template}
        assert {get(server.port).body for _ in range(20)} == {b"one"}


def test_a_killed_template_is_made_anew(shop: Shop) -> None:
    with shop.serve("--workers", "2") as server:
        first = template_of(server)
        server.wait_for_ready(2)
        os.kill(first, signal.SIGKILL)
        second = template_of(server, 2)
        assert "generation 0 is gone (killed by SIGKILL); to be made anew at once" in server.log
        os.kill(int(get(server.port, "/pid").body), signal.SIGKILL)
        server.wait_for_ready(3)
        assert importers(server) == {first, second}


def test_a_stopped_template_is_replaced_and_serving_does_not_wait_for_it(shop: Shop) -> None:
    with shop.serve("--workers", "2") as server:
        first = template_of(server)
        server.wait_for_ready(2)
        os.kill(first, signal.SIGSTOP)
        os.kill(int(get(server.port, "/pid").body), signal.SIGKILL)
        server.wait_for_log("has forked no worker within 1 s; killed")
        server.wait_for_ready(3)
        template_of(server, 2)
        assert get(server.port).body == b"one"
        server.wait_until(lambda: not is_alive(first))
        assert server.stop() == 0


def test_a_template_that_hangs_while_it_imports_is_given_up_in_time(shop: Shop) -> None:
    marker = shop.folder / "first"
    # The first process that imports it is the template.
    code = f"import time\ntry: open({str(marker)!r}, 'x').close()\nexcept FileExistsError: pass\nelse: time.sleep(1000)"
    shop.write("one", code)
    with shop.serve("--workers", "2", "--timeout-worker-startup", "2") as server:
        server.wait_for_log("was not ready within --timeout-worker-startup 2 s; killed")
        server.wait_for_ready(2)
        assert get(server.port).body == b"one"
        template_of(server)


def test_a_broken_application_ends_the_first_start(shop: Shop) -> None:
    shop.write("broken", "raise RuntimeError('broken deploy')")
    server = shop.serve("--workers", "2")
    try:
        server.start()
        assert server.wait_for_exit() == 3
        assert server.log.count("Traceback") == 1
    finally:
        server.__exit__(None)


def test_nobody_outlives_a_killed_supervisor(shop: Shop) -> None:
    with shop.serve("--workers", "2") as server:
        server.wait_for_ready(2)
        family = children_of(server.pid)
        assert len(family) == 3
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, family)))


def test_a_template_that_imports_does_not_outlive_the_supervisor(shop: Shop) -> None:
    shop.write("one", "import time; time.sleep(1000)")
    server = shop.serve("--workers", "1")
    try:
        server.start()
        [template] = server.wait_until(lambda: children_of(server.pid))
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(template))
    finally:
        server.__exit__(None)
