"""Reads the state of all watched files again and again, where the kernel reports nothing.

Watchfiles' polling would not do: it compares times in whole seconds, so it misses the second of two saves in one second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping

from .selection import State, state_of

EVERY = 0.4
"""Seconds between two looks."""


class PollingWaiter:
    """Watches ``directories``; ``files`` gives the states to compare with."""

    def __init__(self, directories: Iterable[str], files: Callable[[], Mapping[str, State]]) -> None:
        self._directories = {directory: state_of(directory) for directory in directories}
        self._files = files

    def wait(self, timeout: float) -> set[str]:
        """Wait ``timeout`` seconds or until the next look; returns the changed paths."""
        time.sleep(min(EVERY, timeout))
        found = {path for path, state in self._files().items() if state_of(path) != state}
        for directory, state in self._directories.items():
            now = state_of(directory)
            if now != state:
                # Something was added, removed or renamed. What was removed is found above, as a file.
                self._directories[directory] = now
                found |= {entry.path for entry in _entries(directory)} - self._files().keys() | {directory}
        return found

    def close(self) -> None:
        """There is nothing to give back."""


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(directory))
    except OSError:
        return []
