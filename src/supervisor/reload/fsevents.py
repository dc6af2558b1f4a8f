"""Waits for saved files by watchfiles, where the kernel is not Linux: macOS, BSD."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ...config import packages

LONGEST, STEP = 500, 25
"""Milliseconds for which watchfiles collects changes, and between two looks that it takes."""


class WatchfilesWaiter:
    """Watches ``directories``, each by itself. Raises OSError or RuntimeError if that is not possible."""

    def __init__(self, directories: Iterable[str]) -> None:
        # Not ``import watchfiles``, which also loads asyncio and anyio.
        if (cause := packages.problem("watchfiles._rust_notify")) is not None:
            raise RuntimeError(f"watchfiles can't be imported ({cause})")
        from watchfiles._rust_notify import RustNotify

        there = [directory for directory in directories if os.path.isdir(directory)]
        self._notify = RustNotify(there, False, False, 0, False, False)

    def wait(self, timeout: float) -> set[str]:
        """Wait at most ``timeout`` seconds; returns the changed paths."""
        found = self._notify.watch(LONGEST, STEP, max(1, round(timeout * 1000)), None)
        return {path for _, path in found} if isinstance(found, set) else set()

    def close(self) -> None:
        """Watch no longer."""
        self._notify.close()
