"""Orders to the fleet, from signals, clients and files, as frozen values. Pure.

Signals map to them (see ``wakeup.py``), and so do commands of the control socket (``control/commands.py``), a saved file with
``--reload``, and the end of a program that embeds the supervisor. To the fleet an order is one more fact.

A *ticket* is the number under which a client waits for the answer (see ``answers.py``); an order without one is not answered.
"""

from __future__ import annotations

from ..config.frozen import Value
from ..config.options import Config
from .canary import Wish

MAX_SIZE = 2048
"""Workers that a resize may ask for: half of the scoreboard's rows, so that all can be replaced at once."""
MAX_NAMED = 3
"""Saved files that the log names in one line; of more it says how many."""


class Reload(Value):
    """Replace all workers by a new generation, born with ``config`` (None: with the one in use)."""

    config: Config | None = None
    changed: tuple[str, ...] = ()
    """The saved files that are the reason, if any."""
    since: float | None = None
    """When they were saved, in seconds of CLOCK_MONOTONIC."""
    afresh: bool = True
    """Whether the configuration is read again first. False if only the application's files were saved."""
    broken: str = ""
    """Why the configuration can't be used: then nothing is reloaded."""
    canary: Wish = Wish()
    """The canary as the client asked for it; the rest is as the options say."""
    ticket: int | None = None

    @property
    def saved(self) -> str:
        """The saved files in words; empty if there are none."""
        more = len(self.changed) - MAX_NAMED
        return f"{', '.join(self.changed[:MAX_NAMED])}{f' and {more} more' if more > 0 else ''}"


class Resize(Value):
    """Change the number of wanted workers by ``by``, which may be negative, or to ``to``."""

    by: int
    to: int | None = None
    ticket: int | None = None


class Restart(Value):
    """Replace the worker of ``slot``: its successor is ready before it drains."""

    slot: int
    ticket: int | None = None


class Reopen(Value):
    """Open the log files again: they were moved away."""

    ticket: int | None = None


class SetLogLevel(Value):
    """Log only from ``level`` on, in all processes."""

    level: str
    ticket: int | None = None


class Upgrade(Value):
    """Replace the supervisor itself by the Tricorn and the Python that are installed now (see ``upgrade/``)."""

    reload: bool = False
    """Whether a reload follows."""
    ticket: int | None = None


class Stop(Value):
    """Finish what is in flight and exit. A second wish to stop (see ``wishes.py``) means: exit at once."""

    delayed: bool = True
    """Whether ``--shutdown-delay`` applies. It does for SIGTERM, which a load balancer's host sends, and not for Ctrl-C."""
    typed: bool = False
    """Whether somebody typed Ctrl-C at our terminal."""
    ticket: int | None = None
    """An order with a ticket is never a second wish to stop: clients send ``StopNow``."""


class StopNow(Value):
    """Exit at once."""

    ticket: int | None = None


Order = Reload | Resize | Restart | Reopen | SetLogLevel | Upgrade | Stop | StopNow
