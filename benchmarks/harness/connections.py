"""What an idle persistent connection costs, in memory."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import time

from .load import MeasurementFailed, Sample
from .moments import Moment
from .servers import HOST, Running, Server

REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
ANSWER = b"Hello, world!"
PATIENCE = 20
"""Seconds that the client waits for an answer."""


def opened(stack: contextlib.ExitStack, running: Running, count: int) -> list[socket.socket]:
    """So many connections, each after one request; the end of ``stack`` closes them."""
    context = ssl._create_unverified_context() if running.tls else None
    return [stack.enter_context(contextlib.closing(asked(running.port, context))) for _ in range(count)]


def asked(port: int, context: ssl.SSLContext | None) -> socket.socket:
    """A connection after one request. Raises OSError for no answer."""
    one = socket.create_connection((HOST, port), PATIENCE)
    if context:
        one = context.wrap_socket(one)
    one.sendall(REQUEST)
    answer = b""
    while not answer.endswith(ANSWER):
        if not (piece := one.recv(4096)):
            raise ConnectionError("it closes the connection")
        answer += piece
    return one


def idle_connections(server: Server, workers: int, *, many: int, tls: bool) -> Sample | None:
    """KiB per connection: what ``many`` add to a server that has had some."""
    if not server.patient or (tls and not server.tls):
        return None
    with contextlib.ExitStack() as stack, Running(server, workers, tls=tls, patient=True) as running:
        with contextlib.ExitStack() as first:
            opened(first, running, 200)
        time.sleep(0.5)
        before = running.private_memory()
        held = opened(stack, running, many)
        after = running.private_memory()
        if closed := sum(map(ended, held)):
            raise MeasurementFailed(f"{server.name} had closed {closed:,} of {many:,} connections by then")
        return {"kib_connection": (after - before) / many / 1024, "private_mib": after / 2**20}


def ended(connection: socket.socket) -> bool:
    """Whether the server has closed it. (A TLS session's tickets may lie there to be read, and are no end.)"""
    connection.setblocking(False)
    try:
        return not connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def idle(many: int, tls: bool) -> Moment:
    title = f"Idle {'TLS ' if tls else ''}connections, {many:,}, 1 worker"
    measure = functools.partial(idle_connections, many=many, tls=tls)
    return Moment(f"{'tls-' if tls else ''}idle-{many}", title, ("kib_connection", "private_mib"), measure, default=False)


HELD = (idle(10_000, tls=False), idle(2_000, tls=True))
