"""What a forked worker runs, from fork to exit code."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from ..config import Config
from .scoreboard import Scoreboard


@dataclass(frozen=True, slots=True)
class Birth:
    """All a worker gets from the supervisor that forked it."""

    id: int
    """Never used again."""
    slot: int
    """0..N-1, kept across restarts."""
    generation: int
    """The reload it was born in, from 0."""
    channel: socket.socket
    """The worker's end of the socketpair (see channel.py)."""
    listeners: tuple[socket.socket, ...]
    scoreboard: Scoreboard
    row: int
    """Its row's index in the scoreboard."""
    autopsy: int
    """Descriptor of the file to which all stacks are written when the supervisor sends AUTOPSY_SIGNAL."""


def main(config: Config, birth: Birth) -> int:
    """Serve until told to stop; returns the process's exit code."""
    raise NotImplementedError
