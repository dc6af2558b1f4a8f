"""What all HTTP/1.1 connections of one worker share."""

from __future__ import annotations

from collections.abc import Callable

from ..context import Service
from ..request import RequestHead
from .codec import Codec
from .head_limits import Parse, lanes_within
from .reader import RequestReader
from .response import ResponseHeads


class Http1:
    """HTTP/1.1 as one worker speaks it: how it parses request heads, and the response heads that it remembers."""

    __slots__ = ("_codec", "_lane", "heads", "service")

    def __init__(self, service: Service, codec: Codec, fast: Callable[[], Parse] | None = None) -> None:
        """``codec`` parses whole request heads; ``fast`` makes the fast lane of a connection (see fast.py), if there is one."""
        self.service = service
        self.heads = ResponseHeads(service.defaults)
        self._codec = codec
        self._lane = lanes_within(service.limits, fast) if fast is not None else lambda: _not_plain

    def make_reader(self) -> RequestReader:
        """The reading half of a new connection."""
        return RequestReader(self._lane(), self._codec, self.service.limits)


def _not_plain(raw: bytes) -> RequestHead | None:
    """A fast lane that takes nothing."""
    return None
