"""The check before an upgrade: the new program is executed in a child, and has to say that it could take over.

It gets the state, but no descriptor of ours. Nothing that it says or writes is trusted: its word is one bounded line, and of
what it prints the end is kept, of which the last line is shown if it fails.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NoReturn

from ...config.frozen import Value
from ...errors import EXIT_FAILED
from ...ipc.channel import Shape, Table, Violation, log_line, log_lines
from ...ipc.text import many_lines, one_line
from ..child import describe_exit
from ..early import UPGRADE
from ..forker import Forker
from ..host import Host
from ..link import LAST_READS, READ_SIZE, Link
from ..own_descriptors import OwnDescriptors
from ..wakeup import Wakeup
from . import state as states
from .arrival import ABLE, CHECK, UNABLE
from .command import Command, Surroundings

SHOWN = 4000
"""Characters that are shown of what the new program prints; the traceback of an import that fails has some thousand."""
SAYS: Table = {ABLE: Shape({"tricorn": log_line, "python": log_line}), UNABLE: Shape({"error": log_lines})}


class Outcome(Value):
    """How a check ended."""

    error: str
    """Why it failed, in one line; empty if it succeeded."""
    text: str = ""
    """The whole of what it said or printed, if it failed."""
    tricorn: str = ""
    """The new version."""
    python: str = ""


class Printed:
    """A pipe to which the new program prints, as much as it likes."""

    def __init__(self, wakeup: Wakeup, own: OwnDescriptors) -> None:
        """Raises OSError."""
        self._wakeup, self._own = wakeup, own
        reading, self.writing = os.pipe()
        """The end for the new program, to be closed when that has it."""
        self._file = own.keep(open(reading, "rb", buffering=0))  # noqa: SIM115  # closed by close
        os.set_blocking(reading, False)
        self._end = b""
        wakeup.watch(self._file, self)

    def attend(self, now: float) -> None:
        """Read a piece, so that the program can go on."""
        # The check may have ended in this very wake-up.
        if not self._file.closed and not self._read():
            self._wakeup.forget(self._file)

    def text(self) -> str:
        """The end of what was printed until now."""
        for _ in range(LAST_READS):
            self._read()
        return many_lines(self._end.decode(errors="replace").strip()[-SHOWN:])

    def _read(self) -> bool:
        """Returns whether there was anything."""
        piece = self._file.read(READ_SIZE) or b""
        # A character takes four bytes at most.
        self._end = (self._end + piece)[-4 * SHOWN :]
        return piece != b""

    def close(self) -> None:
        """Read no more."""
        self._wakeup.forget(self._file)
        self._own.close(self._file)


class Preflight:
    """One check, from its beginning on. Raises OSError if the child can't be forked."""

    def __init__(
        self, host: Host, own: OwnDescriptors, command: Command, around: Surroundings, state: Mapping[str, Any], seconds: float
    ) -> None:
        """``seconds``: how long it may take."""
        self.outcome: Outcome | None = None
        """None until it is over."""
        self.due = host.now() + seconds
        """When it has taken too long."""
        self._seconds = seconds
        self._host = host
        self._own = own
        # Not the workers' user: it has to read what only the supervisor may read. It becomes that user by itself.
        forker = Forker(host.wakeup, own, None)
        with ExitStack() as given, ExitStack() as undo:
            handed = states.write(state)
            given.callback(os.close, handed)
            self._printed = Printed(host.wakeup, own)
            undo.callback(self._printed.close)
            output = self._printed.writing
            given.callback(os.close, output)
            channel, theirs = forker.open_channel()
            undo.callback(own.close, channel)
            given.callback(theirs.close)
            self._pid = forker.fork_with(theirs, lambda link: execute(command, around, handed, link, output))
            undo.pop_all()
        self._is_reaped = False
        self._link = Link(channel, SAYS)
        host.call_when_reaped(self._pid, self._reaped)
        host.wakeup.watch(channel, self)

    def attend(self, now: float) -> None:
        """There is something to read."""
        if self.outcome is not None:
            return
        try:
            messages = self._link.read(now)
        except Violation as violation:
            self._end(Outcome(f"it wrote to the supervisor {violation}"))
            return
        for message in messages:
            if self.outcome is None:
                self._end(self._understand(message))
        if self._link.is_over and self.outcome is None:
            # Its exit code is about to come.
            self._host.wakeup.forget(self._link.channel)

    def look(self, now: float) -> None:
        """End it if it takes too long."""
        if self.outcome is None and now >= self.due:
            self._end(Outcome(f"it did not answer within --timeout-worker-startup {self._seconds:g} s", self._printed.text()))

    def call_off(self) -> None:
        """End it, whatever it would have said."""
        if self.outcome is None:
            self._end(Outcome("called off"))

    def _understand(self, message: Mapping[str, Any]) -> Outcome:
        if message["kind"] == ABLE:
            return Outcome("", "", message["tricorn"], message["python"])
        # Of an error with a traceback, the first line says what failed, and the last one why.
        first, *others = message["error"].strip().split("\n")
        return Outcome(one_line(": ".join([first, *others[-1:]])), message["error"])

    def _reaped(self, status: int) -> None:
        self._is_reaped = True
        if self.outcome is None:
            words = self._link.read_last(self._host.now())
            if words:
                self._end(self._understand(words[0]))
            elif text := self._printed.text():
                self._end(Outcome(one_line(text.rpartition("\n")[2]), text))
            else:
                self._end(Outcome(f"it ended without a word ({describe_exit(status, lambda: False)})"))

    def _end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._host.wakeup.forget(self._link.channel)
        self._own.close(self._link.channel)
        self._printed.close()
        # With what the application has started at its import. As long as that is there, no other group has the number.
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except OSError:
            if not self._is_reaped:
                # It has no group of its own yet.
                os.kill(self._pid, signal.SIGKILL)


def execute(command: Command, around: Surroundings, state: int, link: socket.socket, output: int) -> NoReturn:
    """In the child: execute the new program."""
    try:
        # A group of its own, so that it can be killed with its children; and no Ctrl-C reaches it.
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for number, fd in enumerate((null, output, output)):
            os.dup2(fd, number)
        states.pass_on([state, link.fileno()], True)
        os.chdir(around.directory)
        environ = {**around.environ, UPGRADE: f"{CHECK} {os.getpid()} {state} {link.fileno()}"}
        os.execve(command.path, command.arguments, environ)
    except OSError as error:
        os.write(2, f"{error.filename or command.path}: {error.strerror}\n".encode(errors="replace"))
    os._exit(EXIT_FAILED)
