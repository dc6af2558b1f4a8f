"""The check before an upgrade: the new program is executed in a child, and has to say that it could take over.

It gets the state, but no descriptor of ours. Nothing that it says or writes is trusted: its word is one bounded line, and
what it prints goes to a file of fixed size, of which the last line is shown if it fails.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from typing import Any, NoReturn

from ...config.frozen import Value
from ...errors import EXIT_FAILED
from ...ipc.channel import Shape, Table, Violation, log_line, log_lines
from ...ipc.text import many_lines, one_line
from ..child import describe_exit
from ..early import UPGRADE
from ..forker import Forker
from ..host import Host
from ..link import Link
from ..own_descriptors import OwnDescriptors
from ..report_file import ReportFile
from . import state as states
from .arrival import ABLE, CHECK, UNABLE
from .command import Command, Surroundings

PRINTED = 256 * 1024
"""Bytes of what the new program prints: the traceback of an application that can't be imported has some thousand."""
SHOWN = 4000
"""Characters of it that are shown."""
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
        self._printed = own.keep(ReportFile(PRINTED))
        given = states.write(state)
        # Not the workers' user: it has to read what only the supervisor may read. It becomes that user by itself.
        forker = Forker(host.wakeup, own, None)
        channel, theirs = forker.open_channel()
        try:
            output = os.dup(self._printed.fileno())
            try:
                self._pid = forker.fork_with(theirs, lambda link: execute(command, around, given, link, output))
            finally:
                os.close(output)
        except BaseException:
            own.close(channel)
            own.close(self._printed)
            raise
        finally:
            theirs.close()
            os.close(given)
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
            self._end(Outcome(f"it did not answer within --timeout-worker-startup {self._seconds:g} s", self._text()))

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
            elif text := self._text():
                self._end(Outcome(one_line(text.rpartition("\n")[2]), text))
            else:
                self._end(Outcome(f"it ended without a word ({describe_exit(status, lambda: False)})"))

    def _text(self) -> str:
        return many_lines(self._printed.read().decode(errors="replace").strip(), SHOWN)

    def _end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._host.wakeup.forget(self._link.channel)
        self._own.close(self._link.channel)
        self._own.close(self._printed)
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
