"""A reader made of ``websockets``' sans-IO protocol (https://websockets.readthedocs.io/en/stable/howto/sansio.html)."""

from __future__ import annotations

import codecs
import logging
from collections import deque

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from . import frames
from .deflate import Agreement
from .frames import Event
from .pieces import Pieces

_logger = logging.getLogger("tricorn.websockets")
_logger.disabled = True
"""It would log every closed connection; ours does so already."""
_SLICE = 4096
"""Bytes that are parsed at once. It inflates all frames that it is fed, and a small frame may inflate to a large message."""
_decoder = codecs.getincrementaldecoder("utf-8")


class WebsocketsReader:
    """A reader (see frames.py) that leaves all frames to the package websockets."""

    def __init__(self, max_size: int, agreement: Agreement | None) -> None:
        """``max_size``: bytes that a message may have, after inflation."""
        self._protocol = Protocol(SERVER, state=OPEN, max_size=max_size, logger=_logger)
        if agreement is not None:
            self._protocol.extensions = [
                PerMessageDeflate(
                    remote_no_context_takeover=not agreement.client_takeover,
                    # Nothing is sent through it; so it need not keep a compressor, of 70 KiB, for every connection.
                    local_no_context_takeover=True,
                    remote_max_window_bits=max(agreement.client_window or 15, 9),
                    local_max_window_bits=agreement.server_window,
                )
            ]
        self._data = b""
        self._at = 0
        """Up to here ``_data`` was given to the protocol."""
        self._frames: deque[Frame] = deque()
        self._text: codecs.IncrementalDecoder | None = None
        """Decodes the current message, if it is a text."""
        self._pieces: Pieces | None = None

    def take(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data
        self._at = 0

    feed = take

    def next(self) -> Event | None:
        if self._frames or self._parse():
            return self._event(self._frames.popleft())
        if self._protocol.parser_exc is None:
            return None
        if (close := self._protocol.close_rcvd) is not None:
            # It takes a closing frame in the middle of a message for an error, which RFC 6455 section 5.4 does not.
            return frames.Close(int(close.code), close.reason)
        close = self._protocol.close_sent
        assert close is not None
        return frames.Violation(int(close.code), close.reason)

    def close(self) -> None:
        # Its parser is a generator of its own method, and the error that ended it refers to the frames that it came through.
        self._protocol.parser.close()
        self._protocol.parser_exc = None

    def _parse(self) -> bool:
        """Whether there is another frame in what was fed."""
        while not self._frames and self._at < len(self._data) and self._protocol.parser_exc is None:
            self._protocol.receive_data(self._data[self._at : self._at + _SLICE])
            self._at += _SLICE
            self._frames += [event for event in self._protocol.events_received() if isinstance(event, Frame)]
            # It answers pings and closing frames of its own accord; the connection does so for all readers.
            self._protocol.data_to_send()
        return bool(self._frames)

    def _event(self, frame: Frame) -> Event:
        payload = bytes(frame.data)
        if frame.opcode is Opcode.PING:
            return frames.Ping(payload)
        if frame.opcode is Opcode.PONG:
            return frames.Pong(payload)
        if frame.opcode is Opcode.CLOSE:
            close = self._protocol.close_rcvd
            assert close is not None
            return frames.Close(int(close.code), close.reason)
        if frame.opcode is not Opcode.CONT:
            self._text = _decoder() if frame.opcode is Opcode.TEXT else None
        try:
            piece = payload if self._text is None else self._text.decode(payload, frame.fin)
        except UnicodeDecodeError as error:
            self._frames.clear()
            return frames.Violation(frames.BAD_PAYLOAD, str(error))
        if self._pieces is None:
            if frame.fin:
                return piece
            self._pieces = Pieces(isinstance(piece, str))
        self._pieces.add(piece)
        if not frame.fin:
            return frames.PART
        pieces, self._pieces = self._pieces, None
        return pieces.whole()
