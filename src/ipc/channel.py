"""The messages between supervisor and worker: lines of JSON over a socketpair, which keeps them in order.

What changes often, such as figures, goes by the scoreboard instead.

From the worker:

- ``ready``: it serves. With ``--reload`` perhaps with the error that it shows instead of the application.
- ``failed``: it could not start, with the error.
- ``retire``: it asks to be replaced, with the reason.
- ``waiting``: once a second while it drains, with what it waits for (see waits.py).
- ``alive``: the answer to ``probe``.
- ``active``: requests are in flight again, so stalls are to be looked for (see supervisor/stalls.py).
- ``stalled``: the event loop turns again, after so many seconds.
- ``reported``: the answer to ``report``.
- ``loaded``: with ``--reload``, what the application has imported.
- ``delivering``: with ``--reload``, once a second: it has drained, but clients still take responses.

To the worker:

- ``unready``: a stop is coming. Keep serving, and tell load balancers.
- ``drain``: stop accepting, finish and exit; patient or prompt, and whether a newer worker gets the idle connections.
- ``probe``: answer if your event loop turns.
- ``reopen``: log to these files, whose descriptors come with the message.
- ``report``: write down what you are doing, to the file of the hang report.
- ``level``: log only what is at least so severe.

End of file means that the peer is gone.

An application can write anything to its worker's end. So a reader trusts nothing: lines are bounded, each kind of message has a
declared shape, and anything else is a :class:`Violation`. Text for the log is escaped.
"""

from __future__ import annotations

import json
import math
import signal
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from . import text as log_text

Message = dict[str, Any]

READY = "ready"
FAILED = "failed"
RETIRE = "retire"
WAITING = "waiting"
ACTIVE = "active"
STALLED = "stalled"
LOADED = "loaded"
DELIVERING = "delivering"
ALIVE = "alive"
REPORTED = "reported"
DRAIN = "drain"
UNREADY = "unready"
REOPEN = "reopen"
PROBE = "probe"
REPORT = "report"
LEVEL = "level"

DRAIN_SIGNAL = getattr(signal, "SIGRTMIN", signal.SIGTERM)
"""Repeats ``drain`` to a worker that has not answered. An application that reads the channel takes messages, not signals.

SIGTERM would not do: it is often sent to a whole process group, so a worker takes it as a request to be replaced.
"""

MAX_LINE = 256 * 1024
"""Bytes of one message. The longest is an error of ``log_text.LINES`` characters, each up to twelve bytes in JSON."""
MAX_UNSENT = 1024 * 1024
"""Bytes kept for a peer that does not read, in addition to the kernel's buffer."""
MAX_NAMES = 20_000
"""Characters of all names in one message (files, modules); more names take several messages."""
NAME_OVERHEAD = 4
"""Characters beside each name: quotes, a comma, a space."""


class Violation(Exception):
    """The peer said something that it must not say; the text is one line, fit for the log."""


# --------------------------------------------------------------------------------------------------------------- shapes

Check = Callable[[Any], Any]
"""Returns the value as it may be used. Raises TypeError or ValueError if it may not be used."""


def flag(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError
    return value


def number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    if not math.isfinite(value) or abs(value) > 2**53:
        # A float holds no larger integers exactly, and no time or count is so large.
        raise ValueError
    return value


def whole(value: Any) -> int:
    """A count, a pid, an index."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if not 0 <= value <= 2**53:
        raise ValueError
    return value


def text(value: Any) -> str:
    """Text as it is, for use and not for the log."""
    if not isinstance(value, str):
        raise TypeError
    return value


def names(value: Any) -> list[str]:
    """Names as they are."""
    if not isinstance(value, list):
        raise TypeError
    return [text(name) for name in value]


def record(value: Any) -> dict[str, Any]:
    """Values by name, not checked further: only the supervisor sends them."""
    if not isinstance(value, dict):
        raise TypeError
    return value


def log_line(value: Any) -> str:
    """Text for one line of the log."""
    return log_text.one_line(text(value))


def log_lines(value: Any) -> str:
    """Text for many lines of the log."""
    return log_text.many_lines(text(value))


class Shape:
    """The fields of one kind of message, each with its check."""

    def __init__(self, required: Mapping[str, Check] | None = None, optional: Mapping[str, Check] | None = None) -> None:
        self.required = dict(required or {})
        """The fields that must be there."""
        self._checks = self.required | dict(optional or {})

    @property
    def fields(self) -> Collection[str]:
        """The names of all its fields."""
        return self._checks.keys()

    def apply(self, message: Message) -> Message:
        """The message with its values as they may be used. Raises Violation."""
        kind = message["kind"]
        if (missing := self.required.keys() - message.keys()) != set():
            raise Violation(f'a message "{kind}" without "{min(missing)}"')
        checked = {"kind": kind}
        for name, value in message.items():
            if name == "kind":
                continue
            if name not in self._checks:
                raise Violation(f'a message "{kind}" with the unknown field "{log_text.one_line(name, 40)}"')
            try:
                checked[name] = self._checks[name](value)
            except (TypeError, ValueError):
                raise Violation(f'a message "{kind}" whose "{name}" is {_shown(value)}') from None
        return checked


Table = Mapping[str, Shape]
"""All that one side may say, by kind."""

FROM_WORKER: Table = {
    READY: Shape(optional={"error": log_lines}),
    FAILED: Shape({"error": log_lines}),
    RETIRE: Shape({"reason": log_line}),
    WAITING: Shape({"requests": whole, "oldest": log_line, "age": number, "connections": whole}),
    ALIVE: Shape(),
    REPORTED: Shape(),
    ACTIVE: Shape(),
    STALLED: Shape({"seconds": number}),
}
FROM_WORKER_RELOADED: Table = {
    **FROM_WORKER,
    DELIVERING: Shape(),
    LOADED: Shape(optional={"files": names, "installed": names, "complete": flag}),
}
"""With ``--reload``."""
TO_WORKER: Table = {
    DRAIN: Shape(optional={"patient": flag, "hand_off": flag}),
    UNREADY: Shape(),
    PROBE: Shape(),
    REOPEN: Shape({"files": names}),
    REPORT: Shape({"stacks": flag}),
    LEVEL: Shape({"level": text}),
}


# ---------------------------------------------------------------------------------------------------------------- reader


def encode(kind: str, **details: Any) -> bytes:
    """One message as one line."""
    return json.dumps({"kind": kind, **details}).encode("ascii") + b"\n"


def pieces(names: Iterable[str]) -> Iterator[list[str]]:
    """``names`` in such pieces as fit into one message each."""
    piece: list[str] = []
    size = 0
    for name in names:
        if piece and size + len(name) > MAX_NAMES:
            yield piece
            piece, size = [], 0
        piece.append(name)
        size += len(name) + NAME_OVERHEAD
    if piece:
        yield piece


class Decoder:
    """Puts messages together from what the socket receives; ``table`` says which messages the peer may send."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._line = bytearray()
        """The beginning of a line whose end has not come yet."""

    @property
    def rest(self) -> bytes:
        """The beginning of a line whose end has not come yet."""
        return bytes(self._line)

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes, in order. Raises Violation, after which nothing can be understood any more."""
        *lines, rest = data.split(b"\n")
        messages = []
        for line in lines:
            self._append(line)
            messages.append(self._parse(bytes(self._line)))
            self._line.clear()
        self._append(rest)
        return messages

    def _append(self, piece: bytes) -> None:
        self._line += piece
        if len(self._line) > MAX_LINE:
            raise Violation(f"a line of more than {MAX_LINE} bytes: {_shown(bytes(self._line[:100]))}")

    def _parse(self, line: bytes) -> Message:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            raise Violation(f"what is no message: {_shown(line)}") from None
        kind = message.get("kind") if isinstance(message, dict) else None
        shape = self._table.get(kind) if isinstance(kind, str) else None
        if shape is None:
            raise Violation(f"what is no message: {_shown(line)}")
        return shape.apply(message)


def _shown(value: Any) -> str:
    """A value of the peer in one short line; of lists and objects only the type, because they may be nested deeply."""
    if isinstance(value, bytes | str | bool | int | float | None):
        return log_text.one_line(repr(value[:100] if isinstance(value, bytes | str) else value), 80)
    return f"of the type {type(value).__name__}"


DRAIN_BEGINS = encode(DRAIN)[:-2]
"""How a message that orders a drain begins."""


class Outbox:
    """Sends messages through a non-blocking socket, whole and in order. It never waits for a peer that does not read."""

    def __init__(self, link: socket.socket, unsent: bytes = b"") -> None:
        """``unsent``: what another outbox could not send before."""
        self._link = link
        self._unsent = bytearray(unsent)

    @property
    def is_empty(self) -> bool:
        """Whether the kernel has taken all."""
        return not self._unsent

    @property
    def unsent(self) -> bytes:
        """What the kernel has not taken yet."""
        return bytes(self._unsent)

    def send(self, message: bytes) -> bool:
        """Send ``message`` now or later. Returns False if the peer is gone, or has left too much unread."""
        if len(self._unsent) > MAX_UNSENT and (not self.flush() or len(self._unsent) > MAX_UNSENT):
            return False
        self._unsent += message
        return self.flush()

    def flush(self) -> bool:
        """Send what the socket takes now; returns whether the peer is there."""
        try:
            while self._unsent:
                del self._unsent[: self._link.send(self._unsent)]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True
