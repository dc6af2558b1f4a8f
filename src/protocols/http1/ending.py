"""How an HTTP connection ends, so that the client gets what was written and can tell whether that is all.

Written once for whatever the reason is: a last response, a refusal, a response that breaks off, a deadline.
"""

from __future__ import annotations

from ...errors import BadRequest
from ..context import Service
from ..delivery import ALERT_TIME, is_blocked, reset_when_closed
from ..exchange import Exchange
from ..progress import SENDFILE, UNSENT
from .framing import BodyReader
from .output import BROKEN, CLOSED, DISCARD, EXCHANGE, IDLE, LINGER, Output
from .response import Framing, plain

NEVER = float("inf")
MOST_DISCARDED = 256 * 1024
"""How much of an unwanted body is read and thrown away so that the connection can persist."""
MOST_LINGERED = 16 * 1024 * 1024
"""How much is thrown away after a last response: many clients read it only when they have sent all of their body."""

Refusal = tuple[int, str, bytes]
"""Status, reason, and further header lines."""
TOO_MANY: Refusal = (503, "too many connections", b"retry-after: 1\r\n")
SPEAKS_TLS: Refusal = (400, "plain HTTP sent to a port that speaks TLS: ask for https", b"")


class Ending(Output):
    """What the end of a connection needs of it, and the end; the base of the connection."""

    # Slots: of more attributes than thirty without, each would be found the slow way.
    __slots__ = ("_body", "_buffer", "_eof", "_exchange", "_last", "_surplus", "client", "deadline")

    client: str

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._buffer = b""
        """Received and not interpreted yet: the start of a head, or pipelined requests."""
        self._body: BodyReader | None = None
        """Reads the current request's body; None when there is none or it is complete."""
        self._exchange: Exchange | None = None
        self._eof = False
        """The client sends no more."""
        self._last = False
        """After what has come there is nothing more to wait for: the client sends no more, or the worker stops."""
        self._surplus = 0
        """Bytes thrown away since the response."""
        self.deadline = NEVER

    def _regulate(self) -> None:
        """Read on only while what waits in memory is within bounds."""
        raise NotImplementedError

    def _leave(self) -> None:
        """No further request is taken: give the connection to another worker, or close it."""
        raise NotImplementedError

    def _refuse(self, status: int, reason: str, extra: bytes = b"", *, method: str | None = None) -> None:
        """Answer the client's mistake; nothing after it on the connection is interpreted.

        ``extra``: further header lines. ``method``: that of the request, if its exchange had begun (and has logged it);
        otherwise what has come of it tells.
        """
        # RFC 9110 section 9.3.2: no content in a response to HEAD, whatever its status is.
        is_head = method == "HEAD" if method is not None else self._buffer.startswith(b"HEAD ")
        self._buffer = b""
        self.write_last(plain(status, reason, self._service.defaults, extra=extra, with_body=not is_head))
        if self._service.access is not None and method is None:
            self._service.access(self.client, "-", "-", "1.1", status, None)
        self._linger()

    def _fail(self, error: BadRequest) -> None:
        """The body of the current request turned out malformed."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            # It has been answered, and the rest of its body was being thrown away.
            self._close()
            return
        answerable = exchange.phase in UNSENT
        exchange.disconnect(error.status if answerable else exchange.status)
        if answerable:
            self._refuse(error.status, error.reason, method=exchange.request.method)
        else:
            self._close()

    def _linger(self) -> None:
        """Close for writing, and go on reading for a while.

        Closing at once would reset the connection and could destroy the response before the client has read it (RFC 9112
        section 9.6).
        """
        if self._eof or self.transport.is_closing():
            self._close()
            return
        self._phase = LINGER
        self._surplus = 0
        self._body = None
        self._buffer = b""
        self.deadline = self._service.now + 1 + self._service.limits.linger_time
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._regulate()

    def _close(self) -> None:
        """Close once all that is written has been sent."""
        self._phase = CLOSED
        self.deadline = NEVER
        self._close_transport()

    def is_owed(self) -> bool:
        return self._phase in (IDLE, DISCARD, LINGER, CLOSED) and is_blocked(self.transport)

    def delivered(self) -> None:
        phase, service = self._phase, self._service
        if phase is IDLE and self._last:
            self._leave()
        elif phase is IDLE:
            self.deadline = service.idle_until
        elif phase is DISCARD or phase is LINGER:
            self.deadline = service.now + 1 + service.limits.linger_time
        elif phase is BROKEN:
            self.abort()
        elif phase is CLOSED:
            self.deadline = service.now + ALERT_TIME
        elif self._exchange is not None and self._exchange.phase is SENDFILE:
            # There is more, which the disk is slower to give than the client to take.
            service.deliveries.watch(self)

    def cut_off(self) -> None:
        if is_blocked(self.transport):
            reset_when_closed(self.transport)
        elif self._phase is EXCHANGE:
            # It does not keep us from sending more.
            return
        self.abort()

    def _throw_away(self, size: int) -> None:
        self._surplus += size
        if self._phase is DISCARD and self._surplus > MOST_DISCARDED:
            self._linger()
        elif self._surplus > MOST_LINGERED:
            self.abort()

    def broken(self, framing: Framing) -> None:
        """The response can't be completed."""
        self._exchange = None
        self._uncork()
        if framing is not Framing.CLOSE:
            self._close()
            return
        # Where the connection's end is that of the body, only a reset says that it came too soon.
        reset_when_closed(self.transport)
        if self._service.deliveries.is_due(self):
            # It would destroy what the client's system has not confirmed yet: whole responses, too, if they were pipelined.
            self._phase = BROKEN
            self._body = None
            self._buffer = b""
        else:
            self.abort()

    def abort(self) -> None:
        self._phase = CLOSED
        self.transport.abort()
