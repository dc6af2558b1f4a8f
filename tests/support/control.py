"""``tricornctl`` and bare clients of the control socket, for tests."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.harness import PATIENCE, ROOT, Server, environment


def ctl(server: Server, *arguments: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """Run ``tricornctl`` on ``server`` to its end."""
    return run_ctl("--pid", str(server.pid), *arguments, timeout=timeout)


def run_ctl(*arguments: str, timeout: float = PATIENCE, **details: Any) -> subprocess.CompletedProcess[str]:
    """Run ``tricornctl`` to its end."""
    command = [sys.executable, "-m", "tricorn.control", *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    details = {"cwd": ROOT, "env": environment(), **pipes, **details}
    return subprocess.run(command, text=True, check=False, timeout=timeout, **details)


def start_ctl(server: Server, *arguments: str) -> subprocess.Popen[str]:
    """Start ``tricornctl``; the caller waits for it."""
    command = [sys.executable, "-m", "tricorn.control", "--pid", str(server.pid), *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def status(server: Server) -> dict[str, Any]:
    """What ``status`` says, asked without a process."""
    with bare_client(server) as client:
        return client.ask(command="status")["answer"]  # type: ignore[no-any-return]


class BareClient:
    """A connection to the control socket that has read the greeting."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        # Without a time-out, with which it would not wait while others are to be accepted.
        self.socket.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.settimeout(PATIENCE)
        self._data = b""
        self.greeting = self.read()

    def send(self, **request: Any) -> None:
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    def read(self) -> dict[str, Any]:
        """The next message; empty at the end of the connection."""
        while b"\n" not in self._data:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return {}
            self._data += data
        line, _, self._data = self._data.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and read its answer, past any progress."""
        self.send(**request)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        while "progress" in (message := self.read()):
            pass
        return message


@contextmanager
def bare_client(server: Server) -> Iterator[BareClient]:
    client = BareClient(f"@tricorn/{server.pid}")
    try:
        yield client
    finally:
        client.socket.close()


def measured(action: Any) -> float:
    """Seconds that ``action`` takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began
