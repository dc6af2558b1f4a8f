"""From a client's bytes to request heads and bodies, without I/O."""

from __future__ import annotations

import re

from ...errors import BadRequest
from ..limits import Limits
from ..request import RequestHead
from . import head_limits
from .body import BodyReader, ChunkedReader, LengthReader
from .codec import Codec

END = b"\r\n\r\n"
CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


class RequestReader:
    """The reading half of one HTTP/1.1 connection, as a machine without transport, clock or task.

    It is driven in a circle. :meth:`take` gets what arrives until it returns a head. If the head's ``length`` is not 0,
    :meth:`begin_body` returns what has come of the body; while :attr:`body` is not None, :meth:`read` gets what arrives and
    returns more of it. What comes behind a request waits in :attr:`buffer` (:meth:`hold` adds to it) until :meth:`next` is
    asked for its head. Each of them raises :class:`BadRequest` for what can't become a valid request, as soon as that is
    certain; then nothing behind it may be interpreted.

    Two things keep it quick. What comes between two requests can be given to the *fast lane* (:attr:`fast`) before all else: it
    takes a plain head that came in one piece, without looking for its end. Of an unfinished head, what was checked once is not
    checked again, and bytes that can do no harm are only added: a thousand clients that send a byte at a time must cost little
    more than the loop needs to receive.
    """

    __slots__ = ("_checked", "_codec", "_lane", "_limits", "_unlooked", "body", "buffer", "fast")

    def __init__(self, fast: head_limits.Parse, codec: Codec, limits: Limits) -> None:
        """``fast`` returns None for heads that are not plain, or not within ``limits``; ``codec`` then reads them."""
        self._lane = fast
        self.fast = fast
        """To be tried first with what comes while nothing waits: the head, if that is all there is and it is plain."""
        self._codec = codec
        self._limits = limits
        self.buffer = b""
        """Received and not interpreted yet: the start of a head, or pipelined requests."""
        self.body: BodyReader | None = None
        """Reads the current request's body; None when there is none or it is complete."""
        self._checked = 0
        """Bytes of an unfinished head that are known to be good: to look at them again for each new byte would be quadratic."""
        self._unlooked = 0
        """How many more bytes of an unfinished head may come before it has to be checked again."""

    # Heads.

    def take(self, data: bytes) -> RequestHead | None:
        """The next request's head, once it is whole. ``data``: what has just arrived."""
        if not self.buffer:
            self.buffer = data
        else:
            self.buffer += data
            if len(data) <= self._unlooked and not CONTROLS.search(data):
                self._unlooked -= len(data)
                return None
        return self.next()

    def next(self) -> RequestHead | None:
        """The head at the start of what has come; None while it is not whole."""
        data = self.buffer
        if data[:2] == b"\r\n" and self.fast is not _decline:
            # RFC 9112 section 2.2: one empty line before the request line is ignored.
            self.fast = _decline
            self._checked = 0
            self.buffer = data = data[2:]
        end = data.find(END, max(0, self._checked - 3)) + 4
        if end < 4:
            self._unlooked = head_limits.check_unfinished(data, self._checked, self._limits)
            self._checked = len(data)
            return None
        raw = data[:end]
        # Called from a variable: CPython 3.11 finds an attribute slowly that is called and is no method.
        lane = self._lane
        head = lane(raw)
        if head is None:
            head_limits.check(raw, self._limits)
            head = self._codec(raw)
        self._checked = self._unlooked = 0
        self.fast = lane
        self.buffer = data[end:]
        return head

    @property
    def has_head(self) -> bool:
        """Whether what has come contains the end of a head."""
        return END in self.buffer

    # Bodies.

    def begin_body(self, length: int | None) -> bytes:
        """What has come of the body. ``length``: its bytes; None when it is chunked."""
        limits, data = self._limits, self.buffer
        self.buffer = b""
        if length is not None and limits.body is not None and length > limits.body:
            raise BadRequest(413, "request body too large")
        if length == len(data):
            # All of it is here already: there is nothing to wait for or to count.
            return data
        self.body = ChunkedReader(limits.trailers, limits.body) if length is None else LengthReader(length)
        return self.read(data) if data else b""

    def read(self, data: bytes) -> bytes:
        """What ``data`` brings of the body. What comes behind the body is in :attr:`buffer` then."""
        body = self.body
        assert body is not None
        try:
            piece = body.feed(data)
        except BadRequest:
            self.body = None
            raise
        if body.complete:
            self.body = None
            self.buffer = body.rest
        return piece

    @property
    def has_more(self) -> bool:
        """There is more of the body to read in what has come, when others have had their turn: by ``read(b"")``."""
        return self.body is not None and self.body.more

    def hold(self, data: bytes) -> None:
        """Keep what comes while a request is being answered."""
        self.buffer += data

    def clear(self) -> None:
        """Forget what has come, and the body: nothing of it is to be interpreted."""
        self.buffer = b""
        self.body = None


def _decline(raw: bytes) -> RequestHead | None:
    """The fast lane when the empty line that may stand before a request has been skipped: it takes nothing."""
    return None
