"""One forked process as the host sees it: its pid, its channel, its autopsy file, and how it ended."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import BinaryIO

from ..config import Config
from ..worker.channel import DELIVERING, FAILED, LOADED, READY, REOPEN, RETIRE, Decoder, Message, encode
from .messages import Delivering, Failed, Ready, Retire, WorkerFact

READ_SIZE = 65536

FACTS: dict[str, Callable[[int, Message], WorkerFact]] = {
    READY: lambda worker, message: Ready(worker, str(message["error"]) if message.get("error") else None),
    FAILED: lambda worker, message: Failed(worker, str(message.get("error", "the application failed to start"))),
    DELIVERING: lambda worker, message: Delivering(worker),
    RETIRE: lambda worker, message: Retire(worker, str(message.get("reason", "it asked for it"))),
}
"""What each message of a worker is to the fleet."""


def open_autopsy() -> BinaryIO:
    """A file without a name, for a worker's last words."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("tricorn-autopsy"), "r+b", buffering=0)
    # Late, for Linux needs none of it.
    import tempfile

    return tempfile.TemporaryFile(buffering=0)


def receive(channel: socket.socket, decoder: Decoder) -> tuple[list[Message], bool]:
    """The messages that came through a non-blocking ``channel``, and whether the other end has closed it."""
    messages: list[Message] = []
    while True:
        try:
            data = channel.recv(READ_SIZE)
        except BlockingIOError:
            return messages, False
        except OSError:
            return messages, True
        if not data:
            return messages, True
        messages += decoder.feed(data)


def hand_logs(channel: socket.socket, files: Mapping[str, int]) -> None:
    """Tell the process at the other end to log to ``files`` (descriptors, by option) from now on."""
    try:
        socket.send_fds(channel, [encode(REOPEN, files=list(files))], list(files.values()))
    except OSError:
        # It is gone, or has not listened for so long that it is hung.
        return


class Child:
    """A process forked and not yet reaped; so its pid is surely its own."""

    def __init__(
        self,
        worker: int,
        slot: int,
        generation: int,
        pid: int,
        row: int,
        config: Config,
        channel: socket.socket,
        autopsy: BinaryIO,
    ) -> None:
        """``row`` is the index of its row in the scoreboard, ``channel`` the supervisor's end, non-blocking."""
        self.worker = worker
        self.slot = slot
        self.generation = generation
        self.pid = pid
        self.row = row
        self.config = config
        self.channel = channel
        self.autopsy = autopsy
        self.autopsy_start: int | None = None
        """Where in the autopsy file the last autopsy began; None if there was none."""
        self.beat = 0.0
        """The last beat that the fleet was told."""
        self.decoder = Decoder()
        self.loaded: list[Message] = []
        """What it said of the modules that the application imported, and nobody has looked at yet."""

    @property
    def name(self) -> str:
        return f"Worker {self.slot} [{self.pid}]"

    def read(self) -> tuple[list[WorkerFact], bool]:
        """What the worker said since, and whether it has closed the channel."""
        messages, closed = receive(self.channel, self.decoder)
        facts: list[WorkerFact] = []
        for message in messages:
            # str(), for an application may have written anything to our descriptor, even what has no hash.
            kind = str(message["kind"])
            if kind == LOADED:
                self.loaded.append(message)
            elif kind in FACTS:
                facts.append(FACTS[kind](self.worker, message))
        return facts, closed

    def tell(self, kind: str, **details: bool) -> bool:
        """Send a message; returns whether it went out (not if the channel is full or closed)."""
        message = encode(kind, **details)
        try:
            return self.channel.send(message) == len(message)
        except OSError:
            return False

    def begin_autopsy(self) -> None:
        """Remember where in the file the worker is going to write."""
        self.autopsy_start = os.fstat(self.autopsy.fileno()).st_size

    def read_autopsy(self) -> str:
        """What the worker wrote since :meth:`begin_autopsy`; nothing if that was never called."""
        if self.autopsy_start is None:
            return ""
        size = os.fstat(self.autopsy.fileno()).st_size - self.autopsy_start
        # pread, for the file's offset is shared with the worker.
        return os.pread(self.autopsy.fileno(), size, self.autopsy_start).decode(errors="replace").strip()

    def close(self) -> None:
        self.channel.close()
        self.autopsy.close()


def describe_exit(status: int, is_oom: Callable[[], bool]) -> str:
    """What ``status`` (as of waitpid(2)) says, for people; ``is_oom`` is asked when it was SIGKILL."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"  # A real-time signal has no name of its own.
    core = " (core dumped)" if os.WCOREDUMP(status) else ""
    oom = " (out of memory: the cgroup's memory limit was reached)" if -code == signal.SIGKILL and is_oom() else ""
    return f"killed by {name}{core}{oom}"
