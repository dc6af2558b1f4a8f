"""A connection to a supervisor's control socket, as docs/control.md describes it."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..ipc.control import PREFIX, VERSION, peer_of, socket_address

CONNECTING = 5.0
"""Seconds that a supervisor gets to accept and greet. Many clients at once, or a busy machine, may use up some of it."""
READ_SIZE = 65536


class NotThere(Exception):
    """No supervisor answers, or it went away; the text says which."""


class TimedOut(Exception):
    """The time that the user gave is over."""


class Connection:
    """A connection to the supervisor at ``address``. Raises NotThere."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._data = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # With settimeout, connect(2) would not wait while other clients are still to be accepted.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(CONNECTING), 0))
            self._socket.connect(socket_address(address))
            self.process, self.user = peer_of(self._socket)
            self._check_peer()
            greeting = json.loads(self._read_line(time.monotonic() + CONNECTING))
        except (OSError, TimedOut, ValueError, RecursionError) as error:
            self.close()
            cause = getattr(error, "strerror", None) or str(error) or "no answer"
            raise NotThere(f"no supervisor answers at {address}: {cause}") from None
        except NotThere:
            self.close()
            raise
        self._read_greeting(greeting)

    def _check_peer(self) -> None:
        """Check that the listener runs as our user or as root, and is the process that the address names. Raises NotThere.

        Any process may bind an abstract address.
        """
        if self.user not in (0, os.geteuid()) and os.geteuid() != 0:
            raise NotThere(f"what listens at {self.address} belongs to another user ({self.user})")
        named = self.address.removeprefix(PREFIX)
        if self.address.startswith(PREFIX) and self.process and named != str(self.process):
            raise NotThere(f"what listens at {self.address} is process {self.process}")

    def _read_greeting(self, greeting: Any) -> None:
        told = greeting if isinstance(greeting, dict) else {}
        pid, app = told.get("pid"), told.get("app")
        if told.get("version") != VERSION or not isinstance(pid, int) or not isinstance(app, str):
            self.close()
            error = told.get("error")
            raise NotThere(str(error) if error else f"what listens at {self.address} is no Tricorn of this version")
        self.pid, self.app = pid, app

    def ask(self, command: str, arguments: Mapping[str, Any], until: float | None = None) -> Iterator[dict[str, Any]]:
        """Send an order or a question. Yields the messages that come back: any number with ``progress``, one with ``answer``.

        ``until`` is in seconds of CLOCK_MONOTONIC. Raises NotThere if the supervisor goes away, TimedOut.
        """
        self.send(command, arguments)
        while True:
            message = self._understand(self._read_line(until))
            yield message
            if "answer" in message:
                return

    def _understand(self, line: bytes) -> dict[str, Any]:
        """A message; raises NotThere if the line is none."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict):
            is_answer = isinstance(message.get("answer"), dict) and isinstance(message.get("code"), int)
            if is_answer or isinstance(message.get("progress"), dict):
                return message
        raise NotThere(f"what listens at {self.address} can't be understood")

    def send(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Send an order or a question; :meth:`read` returns the messages that come back. Raises NotThere."""
        try:
            self._socket.settimeout(None)
            self._socket.sendall(json.dumps({"command": command, **arguments}).encode("ascii") + b"\n")
        except OSError:
            raise NotThere("the supervisor went away") from None

    def read(self) -> dict[str, Any] | None:
        """The next message, or None if it is not complete yet: for callers that wait for :meth:`fileno`. Raises NotThere."""
        if b"\n" not in self._data:
            self._receive()
        if b"\n" not in self._data:
            return None
        return self._understand(self._read_line(None))

    def fileno(self) -> int:
        """The descriptor that can be read when a message comes."""
        return self._socket.fileno()

    def wait_for_end(self, until: float | None = None) -> None:
        """Wait until the supervisor has closed the connection, as it does at its end. Raises TimedOut."""
        try:
            while True:
                self._read_line(until)
        except NotThere:
            return

    def _read_line(self, until: float | None) -> bytes:
        while (end := self._data.find(b"\n")) < 0:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise TimedOut
            self._socket.settimeout(left)
            self._receive()
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        return line

    def _receive(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except TimeoutError:
            raise TimedOut from None
        except OSError:
            data = b""
        if not data:
            raise NotThere("the supervisor went away")
        self._data += data

    def close(self) -> None:
        """Close it. What was ordered goes on."""
        self._socket.close()
