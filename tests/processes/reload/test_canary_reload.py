"""Canaries on real processes: a generation that fails or is slow is rolled back, a good one is promoted."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.control import ctl, start_ctl
from support.harness import Server, get, run_tricorn, wait_until

APP = "tests.apps.canary:app"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")

CANARY = ("--canary", "1", "--for", "2")


class Clients:
    """Clients that ask on a new connection each, as those of a load balancer's health checks or browsers do."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: Counter[tuple[int, str]] = Counter()
        """By status and version."""
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def _ask(self) -> None:
        while not self._over.wait(0.005):
            try:
                answer = get(self.port)
            except OSError as error:
                self.failures.append(repr(error))
            else:
                self.answers[answer.status, answer.headers["x-version"]] += 1

    @contextmanager
    def asking(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            wait_until(lambda: self.answers.total() > 20)
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()


@pytest.fixture
def version(tmp_path: Path) -> Path:
    file = tmp_path / "version"
    file.write_text("one")
    return file


def serve(version: Path, *options: str) -> Server:
    return Server(APP, "--workers", "3", "--no-access-log", *options, env={"VERSION": str(version)})


def reload(server: Server, *options: str) -> subprocess.CompletedProcess[str]:
    return ctl(server, "reload", *options, timeout=120)


def test_a_generation_that_fails_is_rolled_back_and_starts_nothing_from_disk(version: Path) -> None:
    with serve(version) as server:
        server.wait_for_ready(3)
        before = server.workers()
        clients = Clients(server.port)
        with clients.asking():
            version.write_text("fails")
            done = reload(server, *CANARY)
        assert done.returncode == 3, done
        assert "requests failed, of the others' 0 %" in done.stderr
        server.wait_for_log("Canary rolled back: ")
        server.wait_until(lambda: server.workers() == before)
        assert clients.failures == []
        failed = clients.answers[500, "fails"]
        # No more than the canary's share of a quarter; and it was found long before the end.
        assert 0 < failed <= 0.3 * clients.answers.total() / 2, clients.answers
        assert "Reload complete" not in server.log
        # The next reload is a reload like any other.
        version.write_text("two")
        assert reload(server).returncode == 0
        assert get(server.port).headers["x-version"] == "two"


def test_a_good_generation_is_promoted(version: Path) -> None:
    with serve(version) as server:
        server.wait_for_ready(3)
        clients = Clients(server.port)
        with clients.asking():
            version.write_text("two")
            done = reload(server, *CANARY)
        assert done.returncode == 0, (done, server.log)
        assert "canary: " in done.stderr
        assert clients.failures == []
        server.wait_for_log("Canary is as good as the others")
        server.wait_for_log("Reload complete")
        assert {get(server.port).headers["x-version"] for _ in range(20)} == {"two"}


def test_a_generation_that_is_slow_is_rolled_back(version: Path) -> None:
    with serve(version) as server:
        server.wait_for_ready(3)
        clients = Clients(server.port)
        with clients.asking():
            version.write_text("slow")
            done = reload(server, *CANARY, "--max-latency", "3", "--timeout", "60")
        assert done.returncode == 3, done
        assert "slower than allowed" in done.stderr


def test_without_requests_it_is_rolled_back_when_the_timeout_is_over(version: Path) -> None:
    with serve(version) as server:
        server.wait_for_ready(3)
        version.write_text("two")
        done = reload(server, "--canary", "50%", "--for", "0.5", "--timeout", "2")
        assert done.returncode == 3
        assert "after 2 s, it had 0 requests, too few to decide" in done.stderr
        server.wait_for_log("Reload: 2 canaries first, beside 3 workers")


@pytest.mark.parametrize("how", ["broken", "crashes"])
def test_a_canary_that_does_not_start_or_crashes_ends_the_reload(how: str, version: Path) -> None:
    with serve(version) as server:
        server.wait_for_ready(3)
        before = server.workers()
        clients = Clients(server.port)
        with clients.asking():
            version.write_text(how)
            done = reload(server, *CANARY)
        assert done.returncode == 3
        assert ("a broken deploy" if how == "broken" else "a worker crashed: exit code 7") in done.stderr
        server.wait_until(lambda: server.workers() == before)


def test_a_hup_has_the_canary_of_the_options(version: Path) -> None:
    options = ("--reload-canary", "1", "--reload-canary-seconds", "1", "--reload-canary-errors", "50")
    with serve(version, *options) as server:
        server.wait_for_ready(3)
        clients = Clients(server.port)
        with clients.asking():
            version.write_text("two")
            server.send(signal.SIGHUP)
            server.wait_for_log("Reload: 1 canary first")
            server.wait_for_log("Reload complete")
        assert clients.failures == []
        # And a reload can do without.
        assert reload(server, "--canary", "0").returncode == 0


def test_a_plain_reload_supersedes_a_canary_and_a_stop_ends_it(version: Path) -> None:
    with serve(version) as server:
        server.wait_for_ready(3)
        version.write_text("fails")
        first = start_ctl(server, "reload", "--canary", "1", "--for", "100")
        try:
            server.wait_for_log("Canary serves")
            version.write_text("two")
            assert reload(server).returncode == 0
            # What it asked for, or what came after it, serves.
            assert first.wait(60) == 0
            assert {get(server.port).headers["x-version"] for _ in range(20)} == {"two"}
        finally:
            first.kill()
            first.communicate()
        second = start_ctl(server, "reload", "--canary", "1", "--for", "100")
        try:
            server.wait_for_log("Canary serves", 2)
            assert server.stop() == 0
            assert second.wait(60) == 3
        finally:
            second.kill()
            second.communicate()


def test_a_canary_needs_room(version: Path) -> None:
    with serve(version, "--surge", "0") as server:
        server.wait_for_ready(3)
        done = reload(server, *CANARY)
        assert done.returncode == 3
        assert "--surge 0 leaves no room for a canary" in done.stderr
        assert "the configuration is broken" not in server.log


def test_what_can_t_be_is_refused_before_it_serves() -> None:
    done = run_tricorn(APP, "--surge", "0", "--reload-canary", "1")
    assert done.returncode == 2
    assert "--reload-canary: --surge 0 leaves no room for a canary" in done.stderr


def test_an_order_that_makes_no_sense_is_refused_and_says_why(version: Path) -> None:
    with serve(version) as server:
        server.wait_for_ready(3)
        for options, why in (
            (("--canary", "x"), "must be a number of workers, or a share such as 25%"),
            (("--canary", "1", "--for", "-1"), "--for"),
            (("--canary", "1", "--max-errors", "200"), "must be a number from 0 to 100"),
            (("--canary", "1", "--max-latency", "0.5"), "must be a number of at least 1"),
            (("--for", "3"), "say with --canary how many"),
        ):
            done = reload(server, *options)
            assert done.returncode == 2, done
            assert why in done.stderr
        assert "Reload:" not in server.log
