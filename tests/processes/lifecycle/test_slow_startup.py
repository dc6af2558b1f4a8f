"""A lifespan start-up that waits for too long: it fails for that reason, though its event loop turns."""

from __future__ import annotations

from support.harness import run_tricorn


def test_the_log_says_that_it_was_not_ready_in_time() -> None:
    done = run_tricorn("tests.apps.never_starts:app", "--port", "0", "--timeout-worker-startup", "1")
    assert done.returncode == 3, done.stderr
    assert "not ready within --timeout-worker-startup 1 s; killed" in done.stderr
    assert "wrote to the supervisor" not in done.stderr
