"""What load balancers are told while a stop is announced but has not begun."""

from __future__ import annotations

import signal

from support.harness import Server, get, wait_until


def test_the_path_says_ready_and_then_not_ready_while_all_else_is_served() -> None:
    with Server("examples.hello:app", "--ready-path", "/ready", "--shutdown-delay", "3", "--workers", "2") as server:
        server.wait_for_ready(2)
        assert (get(server.port, "/ready").status, get(server.port, "/ready").body) == (200, b"ready\n")
        server.send(signal.SIGTERM)
        # The two workers are told one after the other.
        not_ready = wait_until(lambda: answer if (answer := get(server.port, "/ready")).status == 503 else None)
        assert not_ready.body == b"not ready\n"
        assert get(server.port, "/").status == 200
        assert server.wait_for_exit() == 0


def test_without_the_option_the_path_is_the_application_s() -> None:
    with Server("examples.hello:app") as server:
        server.wait_for_ready(1)
        assert b"Hello" in get(server.port, "/ready").body


def test_the_application_finds_it_in_its_state() -> None:
    with Server("tests.apps.readiness:app", "--shutdown-delay", "3") as server:
        server.wait_for_ready(1)
        assert get(server.port, "/").status == 200
        server.send(signal.SIGTERM)
        wait_until(lambda: get(server.port, "/").status == 503)
        assert get(server.port, "/").body == b"own answer"
        assert server.wait_for_exit() == 0
