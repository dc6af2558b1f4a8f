"""Chaos: a fleet under mixed load, to which everything happens. Each failed request must be explained by a kill.

    make chaos SECONDS=300        or, in tests/:  python -m chaos.run --seconds 300 --seed 7

At the end the faults cease, and the fleet must be whole, as large as wanted, and no larger inside than it was before.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import threading
import time
from random import Random

import psutil
from support.harness import Server, open_files, wait_until

from chaos.clients import Account, Clients
from chaos.faults import HEALTHCHECK, Faults

WORKERS = 4
OPTIONS = (
    *("--workers", str(WORKERS), "--no-access-log", "--surge", "2", "--timeout-graceful-shutdown", "10"),
    *("--limit-max-requests", "3000", "--limit-max-requests-jitter", "1000", "--limit-max-lifetime", "30"),
    *("--limit-max-rss", "400", "--timeout-worker-healthcheck", str(HEALTHCHECK), "--timeout-worker-startup", "20"),
)
EXPECTED = (
    r"Tricorn .* starts",
    r"Serving ",
    r"Supervisor \[\d+\] starts",
    r"ready in \d+ ms",
    r"Reload",
    r"Now \d workers?$",
    r"to be replaced: --limit-max-",
    r"drained: (exit code 0|killed by SIGKILL)",
    r"crashed: killed by SIGKILL",
    r"exited before it was ready: killed by SIGKILL",
    r"failed to start; to be replaced",
    r"hung: its event loop did not turn",
    r"did not finish within the grace period; killed",
    r"what it was doing",
    r"Stopp",
    r"Waiting for",
    r"Upgrade: ",
    r"Upgrade refused: it (ended without a word \(killed by SIGKILL\)|did not answer within)",
    r"has taken over from",
)
"""All lines that the log may have."""


class Chaos:
    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._random = Random(seed)
        self.account = Account()
        self.faults = Faults(server, self.account, self._random, WORKERS)
        self._clients = Clients(server.port, self.account, Random(seed))

    def run(self, seconds: float) -> None:
        """Load and faults for so long; then only load, until the fleet is whole."""
        self._server.wait_for_workers(WORKERS)
        supervisor = psutil.Process(self._server.pid)
        files, memory = len(open_files(self._server.pid)), supervisor.memory_info().rss
        load = threading.Thread(target=lambda: asyncio.run(self._clients.run()), daemon=True)
        load.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.faults.happen()
            pause = time.monotonic() + self._random.expovariate(1.5)
            while time.monotonic() < pause:
                self.faults.thaw()
                time.sleep(0.01)
        self.faults.thaw(everybody=True)
        self._become_whole()
        self._clients.stop()
        load.join(2 * 60)
        assert not load.is_alive(), "clients wait for ever"
        self._check(files, supervisor.memory_info().rss - memory)

    def _become_whole(self) -> None:
        while self.faults.size != WORKERS:
            self.faults.resize(1 if self.faults.size < WORKERS else -1)
        # Recycling and keep-alive connections of those that leave take their time.
        self._server.wait_until(lambda: len(self._server.serving()) == WORKERS == len(self._server.workers()), timeout=120)

    def _check(self, files: int, growth: int) -> None:
        assert not self.account.unexplained, str(self.account)
        strange = strange_lines(self._server.log)
        assert not strange, f"unexplained in the log: {strange[:10]}"
        assert growth < 32 << 20, f"the supervisor grew by {growth >> 20} MiB"
        wait_until(
            lambda: len(open_files(self._server.pid)) <= files,
            timeout=60,
            what=lambda: f"the supervisor had {files} descriptors: {sorted(open_files(self._server.pid))}",
        )


def strange_lines(log: str) -> list[str]:
    """Lines of the log that nothing explains. Stacks of hung workers are none."""
    lines = [line for line in log.splitlines() if re.match(r"(INFO|WARNING|ERROR|CRITICAL|DEBUG):|Traceback|\w+Error", line)]
    return [line for line in lines if not any(re.search(pattern, line) for pattern in EXPECTED)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with Server("tests.apps.busy:app", *OPTIONS) as server:
        chaos = Chaos(server, arguments.seed)
        try:
            chaos.run(arguments.seconds)
        finally:
            print(chaos.account, dict(chaos.faults.done), sep="\n", flush=True)
            if sys.exc_info()[0] is not None:
                chaos.faults.thaw(everybody=True)
        code = server.stop(timeout=60)
        print(f"exit code {code}")
    return code


if __name__ == "__main__":
    sys.exit(main())
