"""``--surge 0``: a machine that has no room for one more worker never holds one."""

from __future__ import annotations

import signal
import threading

from support.harness import Server, children_of, get


def test_a_reload_never_has_one_worker_more() -> None:
    with Server("tests.apps.probe:app", "--workers", "2", "--surge", "0", "--no-access-log") as server:
        before = server.wait_for_workers(2)
        most, over = [0], threading.Event()

        def count() -> None:
            while not over.wait(0.001):
                most[0] = max(most[0], len(children_of(server.pid)))

        watcher = threading.Thread(target=count)
        watcher.start()
        try:
            server.send(signal.SIGHUP)
            while "Reload complete" not in server.log:
                # Somebody serves all the time.
                assert get(server.port, "/pid").status == 200
        finally:
            over.set()
            watcher.join()
        assert most[0] == 2
        assert not set(before) & set(server.wait_for_workers(2))
        assert server.stop() == 0


def test_a_single_worker_is_replaced_too_and_clients_wait() -> None:
    with Server("tests.apps.probe:app", "--surge", "0", "--no-access-log") as server:
        [before] = server.wait_for_workers(1)
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload: replacing")
        server.wait_until_left(before)
        # Nobody listens at the moment, but the listener is open.
        assert get(server.port, "/pid").body.decode() != str(before)
        server.wait_for_log("Reload complete")
