"""The limit: what a Python server would cost that parsed nothing and called no application.

Each read from a connection is taken for one request and answered with bytes made beforehand, chosen by the first twelve
bytes of what was read. It is not a server for anything else; it shows how much of a figure is the kernel and the event loop.
Workers share one listening socket and nobody replaces them.
"""

import argparse
import asyncio
import os
import signal
import socket

from apps import CHUNK, CHUNKS, HELLO, LARGE, note_ready

HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: canned\r\ncontent-type: text/plain; charset=utf-8\r\n"
)


def plain(body: bytes, more: bytes = b"") -> bytes:
    return HEAD + more + b"content-length: %d\r\n\r\n" % len(body) + body


HELLO_ANSWER = plain(HELLO)
CLOSING = b"GET /closing"
ANSWERS = {
    b"GET /large H": plain(LARGE),
    b"GET /stream ": HEAD + b"transfer-encoding: chunked\r\n\r\n" + (b"400\r\n" + CHUNK + b"\r\n") * CHUNKS + b"0\r\n\r\n",
    b"POST /post H": plain(b"1024"),
    CLOSING: plain(HELLO, b"connection: close\r\n"),
}


class Canned(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        key = data[:12]
        self.transport.write(ANSWERS.get(key, HELLO_ANSWER))
        if key == CLOSING:
            self.transport.close()


async def serve(listener: socket.socket) -> None:
    server = await asyncio.get_running_loop().create_server(Canned, sock=listener, backlog=2048)
    note_ready()
    await server.serve_forever()


def worker(listener: socket.socket, loop: str) -> None:
    if loop == "uvloop":
        import uvloop

        uvloop.install()
    asyncio.run(serve(listener))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", options.port), backlog=2048)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for _ in range(options.workers - 1):
        if os.fork() == 0:
            break
    worker(listener, options.loop)


if __name__ == "__main__":
    main()
