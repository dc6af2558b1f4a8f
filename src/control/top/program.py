"""``tricornctl top``: asks for the status once a second, and draws it."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from typing import Any

from ..asking import DONE, NOBODY, Unusable
from ..connection import Connection
from ..find import connect
from .history import History, Row, sort_rows
from .keys import read_keys
from .screen import COLUMNS, Detail, View, draw, last_top
from .terminal import Ended, Terminal, is_usable

EVERY = 1.0
"""Seconds between two questions: workers show their figures as often."""
PATIENCE = 2.0
"""Seconds without an answer after which the screen says so."""


def run(given: argparse.Namespace) -> int:
    """Show the fleet until ``q``; returns the exit code. Raises Unusable, Ambiguous, NotThere."""
    if given.json:
        raise Unusable("top: has no --json; ask for status --json")
    if not is_usable():
        raise Unusable("top: needs a terminal; without one, ask for status")
    connection = connect(given.socket, given.pid)
    try:
        with Terminal() as terminal:
            Watch(connection, terminal, colors=not os.environ.get("NO_COLOR")).run()
    except Ended as ended:
        return ended.code
    except (EOFError, OSError):
        # The terminal is gone.
        return NOBODY
    finally:
        connection.close()
    return DONE


class Watch:
    """What is shown, and what the keys do to it."""

    def __init__(self, connection: Connection, terminal: Terminal, colors: bool) -> None:
        self._connection = connection
        self._terminal = terminal
        self._colors = colors
        self._history = History()
        self._sort, self._descends = "slot", False
        self._selected: int | None = None
        self._detail: Detail | None = None
        self._detail_of: Row | None = None
        self._is_over = False
        self._asked: str | None = None
        """The command that is not answered yet; one at a time."""
        self._asked_at = 0.0
        self._wanted: list[tuple[str, dict[str, Any]]] = []
        """What to ask next."""
        self._due = 0.0
        """When to ask for the status again."""

    def run(self) -> None:
        """Show the fleet and obey keys until ``q``. Raises NotThere when the supervisor goes away."""
        while not self._is_over:
            self._ask(time.monotonic())
            self._draw()
            typed, can_read = self._terminal.wait(self._connection.fileno(), self._due - time.monotonic())
            if can_read:
                self._read()
            for key in read_keys(typed):
                self._press(key)

    # ------------------------------------------------------------------------------------------------------------- answers

    def _ask(self, now: float) -> None:
        if now >= self._due:
            self._due = now + EVERY
            if self._asked is None:
                self._wanted.append(("status", {}))
        if self._asked is None and self._wanted:
            command, arguments = self._wanted.pop(0)
            self._connection.send(command, arguments)
            self._asked, self._asked_at = command, now

    def _read(self) -> None:
        """Take what has arrived; the rest of an answer comes later."""
        now = time.monotonic()
        message = self._connection.read()
        if message is None:
            return
        command, self._asked = self._asked, None
        answer = message.get("answer", {})
        if command == "status":
            self._history.add(answer, now, clock())
            self._keep_selection()
        elif command == "stacks" and self._detail_of is not None:
            self._detail = describe(self._detail_of, answer)
        self._ask(now)

    def _keep_selection(self) -> None:
        """If the selected worker is gone, select the first one."""
        rows = self._rows()
        if rows and self._selected not in [row.id for row in rows]:
            self._selected = rows[0].id

    def _rows(self) -> list[Row]:
        return sort_rows(self._history.rows(), self._sort, self._descends)

    # ---------------------------------------------------------------------------------------------------------------- keys

    def _press(self, key: str) -> None:
        if key == "q":
            self._is_over = True
        elif key == "redraw":
            self._terminal.redraw()
        elif self._detail is not None:
            self._press_in_detail(self._detail, key)
        else:
            self._press_in_table(key)

    def _press_in_table(self, key: str) -> None:
        rows = self._rows()
        at = next((index for index, row in enumerate(rows) if row.id == self._selected), 0)
        moves = {"up": at - 1, "down": at + 1, "home": 0, "end": len(rows) - 1}
        if key in moves and rows:
            self._selected = rows[max(0, min(moves[key], len(rows) - 1))].id
        elif key == "enter" and rows:
            self._detail_of = rows[at]
            self._detail = Detail(title_of(rows[at]), ("Asking ...",))
            self._look()
        else:
            self._sort_by(key)

    def _sort_by(self, key: str) -> None:
        column = next((column for column in COLUMNS if column.key == key), None)
        if column is not None:
            # The same key again turns the order round.
            self._descends = not self._descends if column.name == self._sort else column.descends
            self._sort = column.name

    def _press_in_detail(self, detail: Detail, key: str) -> None:
        _, height = self._terminal.size()
        page = max(1, height - 7)
        moves = {"up": -1, "down": 1, "page up": -page, "page down": page, "home": -len(detail.lines), "end": len(detail.lines)}
        if key in moves:
            top = max(0, min(detail.top + moves[key], last_top(detail, height)))
            self._detail = Detail(detail.title, detail.lines, top)
        elif key == "space":
            self._look()
        elif key in ("escape", "enter"):
            self._detail = self._detail_of = None

    def _look(self) -> None:
        # Once, and not every second: a worker whose loop is blocked can be asked only by a signal.
        if self._detail_of is not None:
            self._wanted.append(("stacks", {"slot": self._detail_of.slot}))

    # ---------------------------------------------------------------------------------------------------------------- draw

    def _draw(self) -> None:
        status = self._history.status
        if status is None:
            return
        width, height = self._terminal.size()
        view = View(
            status["supervisor"],
            tuple(self._rows()),
            clock(),
            self._sort,
            self._selected,
            tuple(self._history.news),
            self._trouble(),
            self._detail,
        )
        self._terminal.show(draw(view, width, height, self._colors))

    def _trouble(self) -> str:
        silent = time.monotonic() - self._asked_at if self._asked is not None else 0.0
        return f"The supervisor has not answered for {silent:.0f} s" if silent >= PATIENCE else ""


def clock() -> str:
    """The time of day."""
    return time.strftime("%H:%M:%S")


def title_of(row: Row) -> str:
    """The heading of a worker's details."""
    return f"Worker {row.slot} [{row.pid if row.pid is not None else '-'}], {row.phase}"


def describe(row: Row, answer: dict[str, Any]) -> Detail:
    """What one worker is doing, from the answer to ``stacks``."""
    workers: Sequence[dict[str, Any]] = answer.get("workers", [])
    worker = next((one for one in workers if one["pid"] == row.pid), None)
    if worker is None:
        return Detail(title_of(row), ("It is gone.",))
    how = "told by its event loop" if worker["answered_by"] == "loop" else "its event loop does not turn"
    return Detail(f"{title_of(row)} at {clock()}: {how}", tuple(worker["stacks"].splitlines()))
