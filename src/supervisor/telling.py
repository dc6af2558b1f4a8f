"""The lines that the fleet logs, as actions. Pure."""

from __future__ import annotations

from collections.abc import Callable

from .messages import Action, Level, Say
from .phases import Worker


class Teller:
    """Says what happens; remembers what need not be said again."""

    def __init__(self, act: Callable[[Action], None]) -> None:
        """``act`` takes the actions."""
        self._act = act
        self._error = ""
        """The start failure that was logged last: many workers report the same one, and it is logged once."""
        self._saved: str | None = None
        """The saved files that caused the last reload, in words; empty once that is logged, None if there were none."""

    def say(self, text: str, worker: Worker | None = None, level: Level = Level.INFO) -> None:
        """A line, of a ``worker`` if it is given."""
        self._act(Say(level, text, None if worker is None else worker.id))

    def start_failed(self, error: str, worker: Worker | None = None) -> None:
        """A start failed: one line, unless it was the same failure as before."""
        if error != self._error:
            self._error = error
            self.say(error, worker, Level.ERROR)

    def reload_begins(self, saved: str, text: str) -> None:
        """A reload begins: because of the ``saved`` files, in words, or by an order if that is empty. ``text`` is the line for
        an order."""
        self._error = ""
        self._saved = saved or None
        if saved:
            # The line for everybody comes when the new code serves.
            self.say(f"{saved} changed: reloading", level=Level.DEBUG)
        else:
            self.say(text)

    def serves_new_code(self, worker: Worker, took: float) -> None:
        """One line for a save, however many workers there are; a line for each worker after SIGHUP."""
        text = f"reloaded in {took * 1000:.0f} ms"
        if self._saved is None:
            self.say(text, worker)
            return
        if self._saved:
            self.say(f"{self._saved}: {text}")
            self._saved = ""
        self.say("serves the new code", worker, Level.DEBUG)
