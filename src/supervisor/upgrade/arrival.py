"""The beginning of a program that a supervisor has executed: to check whether it could take over, or to take over.

A variable says so (``early.UPGRADE``): what is to be done, the descriptor of the state, and the process it is meant for. All
signals are blocked then, and stay so until the new supervisor listens. Until :meth:`Arrival.commit`, whatever fails is
undone: the earlier program is executed again, once.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from types import FrameType

from ...errors import ConfigError, TricornError
from ...ipc.channel import encode
from ...ipc.text import many_lines, one_line
from ...version import __version__
from ..early import UPGRADE
from . import state as states
from .command import Command

logger = logging.getLogger("tricorn.error")

CHECK, TAKE, BACK = "check", "take", "back"
"""What is to be done: say whether we could take over; take over; go on after the newer program has failed to."""
ABLE, UNABLE = "able", "unable"
"""What a check answers through its channel, whose descriptor follows that of the state."""


class Arrival:
    """What we were executed for. ``environ`` is the environment, without the variable."""

    def __init__(self, text: str, environ: Mapping[str, str]) -> None:
        """``text`` is the variable's. Raises OSError, ValueError if there is no state."""
        self.mode, *numbers = text.split()
        self._pid, self._fd, *link = map(int, numbers)
        self.environ = dict(environ)
        self.is_over = False
        """Whether nothing is to be undone any more."""
        self._link = socket.socket(fileno=link[0]) if link else None
        self.state = states.read(self._fd)
        self._copies: dict[int, int] = {}
        """Copies of what was handed over, by its descriptors: what fails may have closed some of them."""

    def begin(self) -> None:
        """Keep what was handed over from the programs that we start. Raises ConfigError, OSError if we can't be of use."""
        handed_over = [] if self.mode == CHECK else self.state["descriptors"]
        states.pass_on([*handed_over, self._fd], False)
        if self.mode == TAKE:
            self._copy([fd for fd in handed_over if fd != self._lock])
        if self._pid != os.getpid():
            raise ConfigError(f"the command executes Tricorn in a process of its own (as a child of process {self._pid})")
        states.check(self.state)

    def _copy(self, descriptors: Iterable[int]) -> None:
        try:
            for fd in descriptors:
                self._copies[fd] = os.dup(fd)
        except OSError:
            # There is no room for them (RLIMIT_NOFILE). What we need ourselves is more important.
            self._close_copies()

    def _close_copies(self) -> None:
        while self._copies:
            os.close(self._copies.popitem()[1])

    @property
    def _lock(self) -> int | None:
        """The descriptor of the pid file. Of that one there must be no copy: closing a copy would end the lock (fcntl(2))."""
        return self.state["lock"][1] if self.state["lock"] is not None else None

    @property
    def named(self) -> Command | None:
        """If we are back: the command by the names that it was started by, which may lead to newer files than ours."""
        return Command.restored(self.state["command"]) if self.mode == BACK else None

    @property
    def failure(self) -> str:
        """Why the program that was to take over from us has failed; empty if we are not back."""
        return self.state.get("failure", "") if self.mode == BACK else ""

    def answer(self, error: str = "") -> None:
        """As a check: say that we can take over, or why not."""
        self.is_over = True
        if self._link is not None:
            python = ".".join(map(str, sys.version_info[:3]))
            said = encode(UNABLE, error=many_lines(error)) if error else encode(ABLE, tricorn=__version__, python=python)
            self._link.sendall(said)

    def commit(self) -> None:
        """The supervisor has all that was handed over, and begins."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        # Children would inherit the handler.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self.is_over = True
        os.close(self._fd)
        self._close_copies()

    def fail(self, error: str) -> None:
        """We can't take over, for this reason. Executes the earlier program, if there is one; else returns."""
        if self.is_over:
            return
        if self.mode == CHECK:
            self.answer(error)
        elif self.mode == TAKE:
            self._go_back(error)

    def _go_back(self, error: str) -> None:
        self.is_over = True
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        signal.setitimer(signal.ITIMER_REAL, 0)
        earlier, error = Command.restored(self.state["earlier"]), one_line(error)
        logger.error("Upgrade: Tricorn %s can't take over (%s); executing %s again", __version__, error, self.state["tricorn"])
        try:
            for fd, copy in self._copies.items():
                os.dup2(copy, fd)
            self._close_copies()
            fd = states.write({**self.state, "failure": error})
            states.pass_on([*self.state["descriptors"], fd], True)
            earlier.execute({**self.environ, UPGRADE: f"{BACK} {os.getpid()} {fd}"}, self.state["directory"])
        except Exception as refused:
            logger.error("Upgrade: %s can't be executed: %s; the workers finish and exit", earlier.path, describe(refused))


_arrival: Arrival | None = None


def current() -> Arrival | None:
    """What this program was executed for; None if it was simply started."""
    return _arrival


def guarded(main: Callable[[], int], environ: MutableMapping[str, str]) -> int:
    """Do what the variable in ``environ`` asks for, by ``main``; returns the exit code. What fails is undone."""
    global _arrival
    arrival = _arrival = Arrival(environ.pop(UPGRADE), environ)
    with undone_if_it_fails(arrival):
        # The program before us has set a timer, for the case that we hang.
        signal.signal(signal.SIGALRM, _expire)
        arrival.begin()
        code = main()
    arrival.fail(f"it ended with exit code {code}")
    return code


@contextmanager
def undone_if_it_fails(arrival: Arrival | None) -> Iterator[None]:
    """What is raised inside this context sends us back, before anything that was handed over is closed."""
    try:
        yield
    except BaseException as error:
        if arrival is not None:
            arrival.fail(describe(error))
        raise


def describe(error: BaseException) -> str:
    """What was raised, for people."""
    return str(error) if isinstance(error, TricornError) else f"{type(error).__name__}: {error}"


def _expire(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("it did not begin in time")
