"""An application that does to its worker what no application should: GET /NAME does so, answers, and goes on."""

import asyncio
import os
import random
import select
import signal
import socket
import threading
import time

from tricorn.ipc import channel
from tricorn.ipc.scoreboard import WIDTH


def birth():
    """What the supervisor gave to this worker; a signal's handler knows it."""
    handler = signal.getsignal(signal.SIGUSR2)
    return next(cell.cell_contents for cell in handler.__closure__)  # type: ignore[union-attr]


def write(data):
    """Write ``data`` to the supervisor, also if it takes long; in a thread, so that the event loop turns."""

    def run():
        link = os.dup(birth().channel.fileno())
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(link, rest) :]
            except BlockingIOError:
                time.sleep(0.0005)

    threading.Thread(target=run, daemon=True).start()


def write_without_end(make):
    def run():
        link = os.dup(birth().channel.fileno())
        while True:
            try:
                os.write(link, make())
            except BlockingIOError:
                time.sleep(0.0002)

    threading.Thread(target=run, daemon=True).start()


def board():
    """All cells of the scoreboard."""
    return birth().scoreboard.cells


def spoil(make, seconds=3.0):
    """Write ``make()`` to the first cells of the scoreboard, in a thread, again and again."""

    def run():
        cells, end = board(), time.monotonic() + seconds
        while time.monotonic() < end:
            for cell in range(WIDTH * 8):
                cells[cell] = make()
            time.sleep(0.0005)

    threading.Thread(target=run, daemon=True).start()


def random_double():
    return random.choice((float("nan"), float("inf"), -1.0, 0.0, 1.0, 1e9, 1e300, time.monotonic(), random.random() * 1e6))


def be_immortal():
    """Beat in the future, then hang."""
    row = birth().scoreboard.row(birth().row)
    row[1] = time.monotonic() + 1e6
    time.sleep(60)


def hang_with(report):
    report(birth().hang_report)
    print(f"hang begins in {os.getpid()}", flush=True)
    time.sleep(60)


def fill(fd):
    try:
        while os.write(fd, b"\x1b[31m\0 filled " * 65536):
            pass
    except OSError:
        pass


def stretch(fd):
    try:
        os.truncate(fd, 4 << 40)
    except OSError:
        pass


def swap(fd):
    os.dup2(os.open("/dev/zero", os.O_RDWR), fd)


def swallow():
    """Read what the supervisor says, so that the worker never does."""
    asyncio.get_running_loop().remove_reader(birth().channel.fileno())

    def run():
        link = os.dup(birth().channel.fileno())
        while True:
            select.select([link], [], [])
            os.read(link, 65536)

    threading.Thread(target=run, daemon=True).start()


def replace_link():
    ours, theirs = socket.socketpair()
    os.dup2(ours.fileno(), birth().channel.fileno())
    globals()["kept"] = ours, theirs


RETIRE = channel.encode(channel.RETIRE, reason="again")
ATTACKS = {
    # Each is a violation on the channel.
    "nested": lambda: write(b"[" * 100_000 + b"\n"),
    "nested_field": lambda: write(b'{"kind": "retire", "reason": ' + b'{"a":' * 30_000 + b"\n"),
    "wrong_type": lambda: write(b'{"kind": "retire", "reason": {"error": [1e999]}}\n'),
    "no_kind": lambda: write(b'{"error": "\\u001b[31m"}\n'),
    "terminal": lambda: write(b"\x1b]0;owned\x07\x1b[2J\n"),
    "ready_again": lambda: write(channel.encode(channel.READY)),
    "long_line": lambda: write(b"x" * (50 << 20)),
    "long_error": lambda: write(channel.encode(channel.FAILED, error="x" * (50 << 20))),
    "retire_flood": lambda: write_without_end(lambda: RETIRE * 1000),
    "flood_of_bytes": lambda: write_without_end(lambda: b"x" * 65536),
    "drops": lambda: write_without_end(lambda: b"x"),
    "noise": lambda: write(random.Random(1).randbytes(100_000)),
    "close": lambda: os.close(birth().channel.fileno()),
    "shut": lambda: birth().channel.shutdown(socket.SHUT_RDWR),
    "over": replace_link,
    "swallow": swallow,
    # On the scoreboard.
    "nan": lambda: spoil(lambda: float("nan")),
    "large": lambda: spoil(lambda: 1e9),
    "random": lambda: spoil(random_double),
    # On the report.
    "immortal": be_immortal,
    "fill": lambda: hang_with(fill),
    "stretch": lambda: hang_with(stretch),
    "swap": lambda: hang_with(swap),
}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    attack = ATTACKS.get(scope["path"].strip("/"))
    if attack is not None:
        attack()
    body = str(os.getpid()).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
