"""The WebSocket client, a process of its own: prepares its frames beforehand and counts answers without decoding them.

python ws_client.py '{"port": 8000, "path": "/", "connections": 64, "size": 125, "deflate": false, "all": false}'

It prints READY when all connections are open and each has had one message, which it compared, or FAILED with the reason.
For each line with a number of seconds on its standard input it then keeps sending for so long, and prints a line RESULT
with JSON: ``messages`` that it received, ``rounds``, ``seconds``. It ends, closing properly, with the input.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import random
import select
import socket
import struct
import sys
import time
import zlib
from collections.abc import Iterator, Sequence

HOST = "127.0.0.1"
WINDOW = 12
"""log2 of the window that messages are compressed with: small enough for what the servers ask of their clients."""
CHUNK = memoryview(bytearray(256 * 1024))
"""What is received goes here first: asking for a bytes object of this size costs more than all else, each time."""
TAIL = b"\x00\x00\xff\xff"
MASK = b"\x12\x34\x56\x78"


class Unfit(Exception):
    """The server does not do what the scenario needs; the message says what."""


def text(size: int) -> bytes:
    """Always the same JSON-like ASCII of ``size`` bytes, compressible as such messages are."""
    chance, words, length = random.Random(6), [], 0
    while length < size:
        words.append(b'{"id": %d, "name": "%08x", "value": %.6f}, ' % (len(words), chance.getrandbits(32), chance.random()))
        length += len(words[-1])
    return b"".join(words)[:size]


def compressed(payload: bytes) -> bytes:
    """Without a reference to earlier messages, so that it may be sent any number of times: RFC 7692, section 7.2.1."""
    deflater = zlib.compressobj(6, zlib.DEFLATED, -WINDOW)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def frame(first: int, payload: bytes, masked: bool = True) -> bytes:
    """A whole frame (RFC 6455, section 5.2)."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    key = (MASK * (size // 4 + 1))[:size]
    return head + MASK + (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def header(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Of the server's frame that begins at ``at``: its first byte, where its payload begins, and that one's size."""
    if len(data) < at + 2:
        return None
    first, size = data[at], data[at + 1]
    if size < 126:
        return first, at + 2, size
    wide = "!H" if size == 126 else "!Q"
    end = at + 2 + struct.calcsize(wide)
    return None if len(data) < end else (first, end, struct.unpack_from(wide, data, at + 2)[0])


class Connection:
    """One WebSocket: what is still to be sent, and how far into the server's frames it has read."""

    def __init__(self, port: int, path: str, deflate: bool) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending: memoryview | None = None
        self.usual = b""  # a whole answer in one piece, which need not be looked into
        self._rest, self._left, self._last = b"", 0, False
        self._handshake(port, path, deflate)

    def _handshake(self, port: int, path: str, deflate: bool) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" if deflate else ""
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{offer}\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            if not (data := self.receive()):
                raise Unfit("it closes at the handshake")
            answer += data
        head = answer.lower()
        if not head.startswith(b"http/1.1 101"):
            raise Unfit(f"it answers the handshake with {answer.partition(bytes((13, 10)))[0].decode()}")
        if deflate != (b"permessage-deflate" in head):
            raise Unfit("no permessage-deflate" if deflate else "permessage-deflate, though not offered")

    def receive(self) -> bytes:
        """What there is, empty at the end of the connection."""
        return bytes(CHUNK[: self.socket.recv_into(CHUNK)])

    def send(self, data: bytes | memoryview) -> bool:
        """Whether all of it could be sent at once; the rest is ``pending``."""
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        self.pending = None if sent == len(data) else memoryview(data)[sent:]
        return self.pending is None

    def count(self, data: bytes) -> int:
        """How many messages end in ``data``, which follows what was counted before."""
        if data == self.usual and not self._left and not self._rest:
            return 1
        if self._rest:
            data, self._rest = self._rest + data, b""
        done, at = 0, 0
        while True:
            if self._left > len(data) - at:
                self._left -= len(data) - at
                return done
            at += self._left
            done += self._last
            self._left, self._last = 0, False
            if (found := header(data, at)) is None:
                self._rest = data[at:]
                return done
            first, at, self._left = found
            if first & 0x0F == 8:
                raise Unfit("it closes the WebSocket")
            self._last = first & 0x80 != 0 and not first & 0x08

    def read_message(self) -> bytes:
        """Waits for one, and takes it out of its frames."""
        data = b""
        while piece := self.receive():
            data += piece
            if self.count(piece):
                return payload_of(data)
        raise Unfit("it closes the connection")


def payload_of(data: bytes) -> bytes:
    """Of the frames of one message, inflated if it was compressed; control frames among them are left out."""
    payload, squeezed, at = b"", False, 0
    while (found := header(data, at)) is not None:
        first, begin, size = found
        at = begin + size
        if not first & 0x08:
            payload += data[begin:at]
            squeezed |= first & 0x40 != 0
    return zlib.decompressobj(-15).decompress(payload + TAIL) if squeezed else payload


class Client:
    """All connections, and the frame that they send."""

    def __init__(self, port: int, path: str, connections: int, size: int, deflate: bool, all: bool) -> None:
        """With ``all``, one message from the first connection is to come back on every one of them."""
        payload = text(size)
        self._frame = frame(0xC1, compressed(payload)) if deflate else frame(0x81, payload)
        self._all = all
        self._opened: list[Connection] = []
        for _ in range(connections):
            self._opened.append(Connection(port, path, deflate))
        for one in self._senders():
            one.socket.sendall(self._frame)
            for receiver in self._opened if all else [one]:
                if receiver.read_message() != payload:
                    raise Unfit("another message than expected")
        for one in self._opened:
            one.socket.setblocking(False)
            one.usual = b"" if deflate else frame(0x81, payload, masked=False)
        self._by_number = {one.socket.fileno(): one for one in self._opened}
        self._poll = select.epoll()
        for number in self._by_number:
            self._poll.register(number, select.EPOLLIN)

    def _senders(self) -> Sequence[Connection]:
        return self._opened[:1] if self._all else self._opened

    def _start(self, one: Connection, data: bytes | memoryview) -> None:
        if not one.send(data):
            self._poll.modify(one.socket, select.EPOLLIN | select.EPOLLOUT)

    def _received(self) -> Iterator[Connection]:
        """Waits, sends on what could not be sent before, and names each connection where a message has ended."""
        ready = self._poll.poll(20)
        if not ready:
            raise Unfit("no answer within 20 s")
        for number, events in ready:
            one = self._by_number[number]
            if events & select.EPOLLOUT and one.pending and one.send(one.pending):
                self._poll.modify(number, select.EPOLLIN)
            if events & ~select.EPOLLOUT:
                data = one.receive()
                if not data:
                    raise Unfit("it closes the connection")
                for _ in range(one.count(data)):
                    yield one

    def echo(self, seconds: float) -> dict[str, float]:
        """On every connection one message after the other, for ``seconds`` and until the last one came back."""
        started, messages, waiting, going = time.monotonic(), 0, len(self._opened), True
        for one in self._opened:
            self._start(one, self._frame)
        while waiting:
            going = going and time.monotonic() - started < seconds
            for one in self._received():
                messages += 1
                if going:
                    self._start(one, self._frame)
                else:
                    waiting -= 1
        return {"messages": messages, "rounds": messages, "seconds": time.monotonic() - started}

    def broadcast(self, seconds: float) -> dict[str, float]:
        """One message to all at a time: the next one is sent when all have the one before."""
        started, rounds = time.monotonic(), 0
        while time.monotonic() - started < seconds:
            self._start(self._opened[0], self._frame)
            waiting = len(self._opened)
            while waiting:
                waiting -= sum(1 for _ in self._received())
            rounds += 1
        return {"messages": rounds * len(self._opened), "rounds": rounds, "seconds": time.monotonic() - started}

    def run(self, seconds: float) -> dict[str, float]:
        return self.broadcast(seconds) if self._all else self.echo(seconds)

    def close(self) -> None:
        """With the closing handshake, so that the server has nothing left to do when this process ends.

        Not every server then closes the connection, as it should: together they get a second.
        """
        goodbye, until = frame(0x88, struct.pack("!H", 1000)), time.monotonic() + 1
        for one in self._opened:
            with contextlib.suppress(OSError):
                one.socket.settimeout(2)
                one.socket.sendall(goodbye)
        for one in self._opened:
            with contextlib.suppress(OSError):
                one.socket.settimeout(max(0.001, until - time.monotonic()))
                while one.receive():
                    pass
            one.socket.close()


def main(options: str) -> int:
    try:
        client = Client(**json.loads(options))
        gc.freeze()
        print("READY", flush=True)
        for line in sys.stdin:
            print("RESULT", json.dumps(client.run(float(line))), flush=True)
        client.close()
    except (Unfit, OSError) as error:
        print("FAILED", error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
