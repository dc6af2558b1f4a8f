"""What happens to a fleet under chaos: kills, stops, reloads, resizes, upgrades.

What a worker holds is written down before its death.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

from support.harness import Server, children_of, wait_until

from chaos.clients import Account

HEALTHCHECK = 4
"""Seconds after which the supervisor takes a worker for hung."""


class Faults:
    """Does one thing after another to ``server``. Linux only: it reads /proc."""

    def __init__(self, server: Server, account: Account, random: Random, size: int) -> None:
        self.done: Counter[str] = Counter()
        self.size = size
        """Workers wanted."""
        self.frozen: dict[int, float] = {}
        """Stopped workers, with the time until when."""
        self._server = server
        self._account = account
        self._random = random

    def happen(self) -> None:
        """One thing, drawn by chance."""
        name, act = self._random.choices(
            [
                ("kill", self._kill),
                ("kill two", self._kill_two),
                ("kill all", self._kill_all),
                ("freeze", self._freeze_shortly),
                ("freeze until killed", self._freeze_long),
                ("freeze the supervisor", self._freeze_supervisor),
                ("reload", lambda: self._server.send(signal.SIGHUP)),
                ("grow", lambda: self.resize(+1)),
                ("shrink", lambda: self.resize(-1)),
                ("reopen", lambda: self._server.send(signal.SIGUSR1)),
                # Its check is one more child, which may be killed or frozen, too.
                ("upgrade", lambda: self._server.send(signal.SIGUSR2)),
            ],
            weights=[8, 2, 1, 4, 1, 1, 4, 3, 3, 1, 5],
        )[0]
        self.done[name] += 1
        act()

    def thaw(self, everybody: bool = False) -> None:
        """Let those go on whose time has come."""
        for pid, until in list(self.frozen.items()):
            if everybody or until <= time.monotonic():
                del self.frozen[pid]
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    # ------------------------------------------------------------------------------------------------------------- kinds

    def _kill(self) -> None:
        if workers := self._workers():
            self._kill_one(self._random.choice(workers))

    def _kill_two(self) -> None:
        self._kill()
        self._kill()

    def _kill_all(self) -> None:
        for pid in self._workers():
            self._kill_one(pid)

    def _kill_one(self, pid: int) -> None:
        """SIGKILL, of a process that is stopped before, so that what it holds is known exactly."""
        if self._stop(pid):
            self._account.lose(connections_of(pid))
            self.frozen.pop(pid, None)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _freeze_shortly(self) -> None:
        self._freeze(self._random.uniform(0.05, 0.4 * HEALTHCHECK))

    def _freeze_long(self) -> None:
        """For so long that the supervisor kills it."""
        pid = self._freeze(5 * HEALTHCHECK)
        if pid is not None:
            self._account.lose(connections_of(pid))

    def _freeze(self, seconds: float) -> int | None:
        others = [pid for pid in self._workers() if pid not in self.frozen]
        # One at a time: the listener's queue is shared, and somebody is to serve.
        if self.frozen or len(others) < 2 or not self._stop(pid := self._random.choice(others)):
            return None
        self.frozen[pid] = time.monotonic() + seconds
        return pid

    def _freeze_supervisor(self) -> None:
        self._server.send(signal.SIGSTOP)
        self.frozen[self._server.pid] = time.monotonic() + self._random.uniform(0.1, 2.0)

    def resize(self, by: int) -> None:
        # While the supervisor is stopped, two equal signals would become one (signal(7)).
        if 2 <= self.size + by <= 6 and self._server.pid not in self.frozen:
            self.size += by
            said = self._server.log.count("Now ")
            self._server.send(signal.SIGTTIN if by > 0 else signal.SIGTTOU)
            self._server.wait_until(lambda: self._server.log.count("Now ") > said, what="not resized")

    def _workers(self) -> list[int]:
        return [pid for pid in children_of(self._server.pid) if state_of(pid) not in ("Z", "")]

    @staticmethod
    def _stop(pid: int) -> bool:
        """SIGSTOP; whether the process is stopped then, and not gone."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state_of(pid) in ("T", "Z", "X", ""), what=f"{pid} does not stop")
        return state_of(pid) == "T"


def state_of(pid: int) -> str:
    """The process's state (proc(5)): T is stopped; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def connections_of(pid: int) -> set[int]:
    """The clients' ports of all TCP connections that the process holds."""
    inodes = set()
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(entry.path)
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].split(":")[1], 16) for row in rows if row[9] in inodes}
