"""Notices saved files: what the watcher's process runs.

It is a process of its own because reading the states of all files takes longer than a signal may wait, and because watchfiles,
which it uses where the kernel is not Linux, runs threads. Directories are watched one by one and not as trees, so what is
pruned costs nothing. After a new directory everything is scanned again.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from ...config.options import Config
from ...ipc.channel import LOADED, Decoder, Shape, Table, encode, flag, names, number, pieces
from .fsevents import WatchfilesWaiter
from .inotify import InotifyWaiter
from .polling import PollingWaiter
from .selection import Selection, State, needs_polling, state_of

logger = logging.getLogger("tricorn.error")

CHANGED = "changed"
"""From the watcher: files were saved."""
SAYS: Table = {CHANGED: Shape({"files": names, "at": number, "settings": flag})}
"""All that the watcher says."""
HEARS: Table = {LOADED: Shape({"files": names})}
QUIET = 10
"""Milliseconds for which a saved file must stay as it is: some editors write twice, or slowly."""
LONGEST = 500
"""Milliseconds after which changes are reported even if they go on."""
LISTEN = 0.5
"""Seconds between two looks at the channel."""


class Waiter(Protocol):
    """Waits for changes. It watches each directory and its entries, but nothing below them."""

    def wait(self, timeout: float) -> set[str] | None:
        """Wait at most ``timeout`` seconds; the paths of which there is news, None if everything must be looked at again."""

    def close(self) -> None:
        """Watch no longer."""


class Watcher:
    """Watches until the supervisor is gone.

    ``since`` (as of ``time.time``): files saved later are reported. ``imported``: files that the application has imported, as
    far as is known. ``settings``: the files that the configuration comes from.
    """

    def __init__(
        self, config: Config, link: socket.socket, since: float, imported: Iterable[str] = (), settings: Iterable[str] = ()
    ) -> None:
        self._selection = Selection(config, settings)
        self._selection.imported.update(imported)
        self._link = link
        self._link.setblocking(False)
        self._decoder = Decoder(HEARS)
        self._poll = config.reload_poll or os.environ.get("WATCHFILES_FORCE_POLLING", "").lower() in ("1", "true")
        self._delay = config.reload_delay
        self.waiter: Waiter | None = None
        """What waits for changes; None until everything was looked at once."""
        self._missing: set[str] = set()
        """Roots that were missing at the last scan."""
        self._next = 0.0
        """When the next reload may be asked for."""
        self._pending: dict[str, float] = {}
        """Files saved and not reported yet, and when they were."""
        # This comes first, so that nothing saved from now on is missed.
        self.directories, self.files = self._selection.scan()
        """What is watched, with the state of each file when it was looked at last."""
        self._note(path for path, (saved, _, _) in self.files.items() if since < saved / 1e9 <= time.time())

    def run(self) -> int:
        """Report changes until the supervisor closes the channel; returns the exit code."""
        waiter = self._rebuild()
        logger.info("Watching %s for changes%s", ", ".join(self._selection.roots), " by polling" if self._poll else "")
        while self._listen():
            waiter = self.waiter or self._rebuild()
            self._take(waiter.wait(self._timeout()))
            self._report()
        return 0

    def _timeout(self) -> float:
        return max(0.001, min(LISTEN, self._next - time.monotonic())) if self._pending else LISTEN

    # ------------------------------------------------------------------------------------------------------------- watch

    def _rebuild(self) -> Waiter:
        """Watch all directories there are, then compare all files: one may have been saved in the meantime."""
        watched: set[str] | None = None
        while watched is None or not self._places() <= watched:
            watched = self._places()
            if self.waiter is not None:
                # The old one is closed first: both together may exceed the kernel's limits.
                self.waiter.close()
            self.waiter = waiter = self._watch(sorted(watched))
            self._missing = set(self._selection.awaited())
            self.directories, files = self._selection.scan()
            before, self.files = self.files, files
            self._note(path for path in before.keys() | files.keys() if before.get(path) != files.get(path))
        return waiter

    def _places(self) -> set[str]:
        """The directories to watch, with those in which a missing root may be created."""
        return self.directories | set(self._selection.awaited().values())

    def _watch(self, directories: list[str]) -> Waiter:
        mounts = _read("/proc/self/mountinfo")
        self._poll = self._poll or any(needs_polling(directory, mounts) for directory in directories)
        if not self._poll:
            try:
                return (InotifyWaiter if sys.platform == "linux" else WatchfilesWaiter)(directories)
            except (OSError, RuntimeError) as error:
                cause = getattr(error, "strerror", None) or error
                logger.warning("Watching by polling, for %d directories can't be watched: %s", len(directories), cause)
                self._poll = True
        return PollingWaiter(directories, lambda: self.files)

    def _take(self, paths: set[str] | None) -> None:
        """Find out which of ``paths`` were saved, and whether directories came or went."""
        if paths is None:
            self._rebuild()
            return
        saved = []
        rebuild = False
        for path in paths:
            if path in self.directories:
                # A link may point elsewhere now.
                rebuild = rebuild or not os.path.isdir(path) or os.path.islink(path)
            elif os.path.isdir(path):
                came = any(f"{root}/".startswith(f"{path}/") for root in self._missing)
                rebuild = rebuild or came or self._selection.holds(path)
            elif self._is_saved(path):
                saved.append(path)
        self._note(saved)
        if rebuild:
            self._rebuild()

    def _is_saved(self, path: str) -> bool:
        """Whether the file has changed. Permissions do not count."""
        selection = self._selection
        elsewhere = path in selection.imported or path in selection.settings
        if not selection.wants(path) or not (elsewhere or selection.holds(_parent(path))):
            return False
        state, before = state_of(path), self.files.get(path)
        if state is None:
            self.files.pop(path, None)
        else:
            self.files[path] = state
        return state != before

    # ------------------------------------------------------------------------------------------------------------ report

    def _note(self, paths: Iterable[str]) -> None:
        for path in paths:
            saved = self.files[path][0] / 1e9 if path in self.files else 0.0
            # A file that was moved here may be old.
            ago = min(max(0.0, time.time() - saved), LONGEST / 1000) if saved else 0.0
            self._pending.setdefault(path, time.monotonic() - ago)

    def _wait_for_quiet(self) -> None:
        """Wait until the saved files stay as they are."""
        deadline = time.monotonic() + LONGEST / 1000
        states: dict[str, State | None] = {}
        while time.monotonic() < deadline:
            before, states = states, {path: state_of(path) for path in self._pending}
            if states == before:
                break
            time.sleep(QUIET / 1000)
        for path, state in states.items():
            # What was written until now is part of this save.
            if state is not None:
                self.files[path] = state

    def _report(self) -> None:
        if not self._pending or time.monotonic() < self._next:
            return
        self._wait_for_quiet()
        now = time.monotonic()
        files = next(pieces(sorted(map(_shown, self._pending))))[:100]
        settings = not self._selection.settings.isdisjoint(self._pending)
        message = encode(CHANGED, files=files, at=min(self._pending.values()), settings=settings)
        self._pending.clear()
        self._next = now + self._delay
        self._link.setblocking(True)
        self._link.sendall(message)
        self._link.setblocking(False)

    def _listen(self) -> bool:
        """Read which files the application has imported; returns False when the supervisor is gone."""
        imported: set[str] = set()
        while True:
            try:
                data = self._link.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                return False
            if not data:
                return False
            for message in self._decoder.feed(data):
                imported.update(message["files"])
        # A file that is watched already may have been imported by another name, through a symbolic link.
        new = {path for path in imported - self._selection.imported if not {path, os.path.realpath(path)} & self.files.keys()}
        if new:
            self._selection.imported |= new
            states = {path: state for path in new if (state := state_of(path)) is not None and self._selection.wants(path)}
            # Changes are compared with the state at the import.
            self.files |= states
            if {_parent(path) for path in states} - self.directories:
                self.directories |= {_parent(path) for path in states}
                self._rebuild()
        return True


def _parent(path: str) -> str:
    return os.path.dirname(path)


def _shown(path: str) -> str:
    """The path for the log: relative if that is shorter."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def main(config: Config, link: socket.socket, since: float, imported: Iterable[str] = (), settings: Iterable[str] = ()) -> int:
    """The watcher's process, from fork to exit code."""
    # Ctrl-C reaches the whole process group. The supervisor decides, and closes the channel.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return Watcher(config, link, since, imported, settings).run()
    except (BrokenPipeError, ConnectionResetError):
        return 0
