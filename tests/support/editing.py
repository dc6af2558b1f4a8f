"""For tests of --reload: an application that is edited while it is served."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.harness import Server, children_of, get, is_alive

APPLICATION = """
VERSION = "{version}"

async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = VERSION.encode()
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}})
    await send({{"type": "http.response.body", "body": body}})
"""
BROKEN = "import asyncio\nasync def app(scope, receive, send:\n    pass  # <b>&\n"


class Project:
    """A folder with an application that tests edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("one")

    def save(self, text: str, name: str = "edited.py") -> None:
        """As most editors do: whole, by renaming."""
        (self.folder / f".{name}.new").write_text(text)
        (self.folder / f".{name}.new").rename(self.folder / name)

    def write(self, version: str) -> None:
        self.save(APPLICATION.format(version=version))

    def serve(self, *arguments: str) -> Server:
        folder = str(self.folder)
        watching = ("--app-dir", folder, "--reload", "--reload-dir", folder, "--reload-delay", "0")
        standard = (*watching, "--no-access-log", "--log-level", "debug")
        return Server("edited:app", *standard, *arguments)


def wait_until_watching(server: Server) -> None:
    server.wait_for_log("ready in|shows this error")
    server.wait_for_log("watching .* for changes")


def wait_for_answer(server: Server, body: bytes) -> None:
    server.wait_until(lambda: get(server.port).body == body, what=f"{body!r} is not answered")


def wait_until_replaced(server: Server, workers: int = 1) -> None:
    """Wait until the workers with the old code are gone, and with them all connections that they had."""
    server.wait_until(lambda: len(living_workers(server)) == workers, what=f"not {workers} workers are left")


def watcher_of(server: Server) -> int:
    """The pid of the watcher, which is the first process that the supervisor forks."""
    return next(pid for pid in children_of(server.pid) if pid not in living_workers(server))


def living_workers(server: Server) -> list[int]:
    """The pids of the workers that were ready and still live: the supervisor has other children, too."""
    named = {int(pid) for pid in re.findall(r"Worker \d+ \[(\d+)\] (?:ready|reloaded|shows|serves)", server.log)}
    return sorted(pid for pid in named if is_alive(pid))


@contextmanager
def new_connections(port: int) -> Iterator[list[object]]:
    """A client that opens a new connection every 10 ms; gives what it was answered, or the error."""
    answers: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.01):
            try:
                answers.append(get(port).body)
            except Exception as error:
                answers.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        done.set()
        for thread in threads:
            thread.join()
