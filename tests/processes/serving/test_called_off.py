"""Workers that are not needed any more while they start: they may have begun to serve, and that must cost nobody a request."""

from __future__ import annotations

import signal
import threading
import time

from support.harness import Server, get, pass_time


def test_reloads_and_resizes_in_quick_succession_lose_no_request() -> None:
    failures: list[BaseException] = []
    stopping = threading.Event()
    with Server("tests.apps.probe:app", "--workers", "2", "--surge", "2", "--no-access-log") as server:
        server.wait_for_workers(2)

        def ask() -> None:
            while not stopping.is_set():
                try:
                    assert get(server.port).status == 200
                except (OSError, EOFError, AssertionError) as error:
                    failures.append(error)

        askers = [threading.Thread(target=ask) for _ in range(6)]
        for asker in askers:
            asker.start()
        # Each time as a worker of the one before becomes ready, which takes some tens of milliseconds.
        for number in range(60):
            server.send((signal.SIGHUP, signal.SIGTTIN, signal.SIGHUP, signal.SIGTTOU)[number % 4])
            said = server.log.count("ready in")
            begun = time.monotonic()
            while server.log.count("ready in") == said and time.monotonic() - begun < 0.5:
                pass_time(0.002)
        server.wait_for_log("Reload complete")
        stopping.set()
        for asker in askers:
            asker.join()
        assert not failures
        assert server.stop() == 0


def test_a_stop_in_the_middle_of_a_start_waits_for_no_import() -> None:
    with Server("tests.apps.slow_start:app") as server:
        server.wait_for_log("slow_start imported|starts 1 worker")
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 10
