"""The picture of ``top``: a pure function of what is known, of the terminal's size, and of whether colours are wanted."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...config.frozen import Value
from .. import show
from .history import Row

RESET, BOLD, REVERSE = "\x1b[0m", "\x1b[1m", "\x1b[7m"
RED, YELLOW = "\x1b[31m", "\x1b[33m"
SLOW = 1.0
"""Seconds of lag from which the figure is red: the loop has missed a beat."""
MAX_NEWS_SHOWN = 6
"""Lines of news, if the workers leave so much room."""
KEYS = "q quit   up/down select   Enter requests and stacks   sort: s r i c p l u m a d"
DETAIL_KEYS = "Esc back   Space look again   up/down, page up/down scroll   q quit"


class Detail(Value):
    """What one worker is doing."""

    title: str
    lines: tuple[str, ...]
    top: int = 0
    """The first line that is shown."""


class View(Value):
    """All that is shown."""

    fleet: Mapping[str, Any]
    """The ``supervisor`` of ``status``."""
    rows: tuple[Row, ...]
    """In the order in which they are shown."""
    clock: str
    sort: str = "slot"
    selected: int | None = None
    """The id of the worker that Enter is about."""
    news: tuple[str, ...] = ()
    trouble: str = ""
    """Why the figures may be old."""
    detail: Detail | None = None
    """Shown instead of the workers."""


class Column(Value):
    """A column of the table."""

    name: str
    """The attribute of :class:`Row`."""
    heading: str
    width: int
    text: Callable[[Row], str]
    key: str = ""
    """Sorts by it."""
    descends: bool = True
    """Whether the largest comes first."""
    color: Callable[[Row], str] | None = None
    goes: int = 0
    """Columns with the highest number go first if the terminal is too narrow; those with 0 stay."""


def _phase_color(row: Row) -> str:
    return {"ready": "", "hung": RED, "killed": RED}.get(row.phase, YELLOW)


COLUMNS = (
    Column("slot", "SLOT", 4, lambda row: str(row.slot), key="s", descends=False),
    Column("pid", "PID", 7, lambda row: number(row.pid), goes=1),
    Column("generation", "GEN", 3, lambda row: number(row.generation), goes=5),
    Column("phase", "PHASE", 8, lambda row: row.phase, color=_phase_color),
    Column("rate", "REQ/S", 5, lambda row: decimal(row.rate), key="r"),
    Column("in_flight", "ACT", 4, lambda row: number(row.in_flight), key="i"),
    Column("connections", "CONNS", 5, lambda row: number(row.connections), key="c", goes=3),
    Column("p50", "P50", 5, lambda row: milliseconds(row.p50), goes=2),
    Column("p99", "P99", 5, lambda row: milliseconds(row.p99), key="p"),
    Column("lag", "LAG", 4, lambda row: decimal(row.lag), key="l", color=lambda row: RED if (row.lag or 0) >= SLOW else ""),
    Column("cpu", "CPU", 4, lambda row: share(row.cpu), key="u"),
    Column("memory", "MEM", 4, lambda row: size(row.memory), key="m"),
    Column("age", "AGE", 4, lambda row: age(row.age), key="a", goes=4),
    Column("restarts", "DIED", 4, lambda row: number(row.restarts), key="d", color=lambda row: YELLOW if row.restarts else ""),
)
"""What the table shows, from the left; with the spaces between them they fit into 80 columns."""


def number(value: int | None) -> str:
    """A whole number."""
    return "-" if value is None else str(value) if value < 100_000_000 else f"{value:.0e}"


def decimal(value: float | None) -> str:
    """A number with as many digits as tell something: 0.04, 3.1, 250."""
    if value is None:
        return "-"
    if value < 0.005:
        return "0"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def milliseconds(value: float | None) -> str:
    """Seconds as milliseconds."""
    return decimal(None if value is None else value * 1000)


def age(seconds: float) -> str:
    """A time in four characters or so."""
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "m"), (100 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds) // unit}{name}"
    return f"{int(seconds) // 86400}d"


def share(value: float | None) -> str:
    """A part of one, in per cent."""
    return "-" if value is None else f"{value * 100:.0f}%"


def size(value: int | None) -> str:
    """Bytes, in four characters or so."""
    if value is None:
        return "-"
    mib = value / show.MIB
    return f"{mib:.0f}M" if mib < 1000 else f"{mib / 1024:.1f}G"


# ------------------------------------------------------------------------------------------------------------------- lines


class Line:
    """One line of the screen: pieces of text, each in a style, cut to the width."""

    def __init__(self, width: int, colors: bool) -> None:
        self._left = width
        self._colors = colors
        self._pieces: list[str] = []

    def add(self, text: str, style: str = "") -> Line:
        """Append ``text``, as far as there is room."""
        shown, self._left = clip(text, self._left)
        if style in (RED, YELLOW) and not self._colors:
            style = ""
        self._pieces.append(f"{style}{shown}{RESET}" if style and shown else shown)
        return self

    def fill(self, style: str = "") -> Line:
        """Append spaces up to the width."""
        return self.add(" " * self._left, style)

    def __str__(self) -> str:
        return "".join(self._pieces)


def clip(text: str, width: int) -> tuple[str, int]:
    """As much of ``text`` as fits into ``width`` columns, made printable, and the columns that are left."""
    shown = []
    for char in text:
        char = char if char.isprintable() else "?"
        columns = 0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if columns > width:
            break
        width -= columns
        shown.append(char)
    return "".join(shown), width


def draw(view: View, width: int, height: int, colors: bool) -> list[str]:
    """The lines of the screen: ``height`` of them, none wider than ``width``."""

    def make(text: str, style: str = "") -> str:
        return str(Line(width, colors).add(text, style))

    lines = [make(text, style) for text, style in _head(view, width)]
    if view.detail is not None:
        lines += _detail(view.detail, width, height - len(lines) - 1, make)
        keys = DETAIL_KEYS
    else:
        lines += _table(view, width, height - len(lines) - 1, colors)
        keys = KEYS
    lines = lines[: height - 1]
    lines += [""] * (height - 1 - len(lines))
    return [*lines, make(keys, REVERSE)][-height:]


def _head(view: View, width: int) -> Iterable[tuple[str, str]]:
    fleet = view.fleet
    place = f"{fleet['app']} on {', '.join(fleet['listeners'])}"
    space = max(0, width - len(view.clock) - 1)
    yield f"{place[:space]:<{space}} {view.clock}", BOLD
    yield (
        f"[{fleet['pid']}] up {show.duration(fleet['uptime'])}, {fleet['stage']}, {fleet['ready']} of "
        f"{fleet['wanted']} ready, generation {fleet['generation']}{_last_reload(fleet)}",
        "",
    )
    rate, in_flight, connections, memory = (
        sum(getattr(row, name) or 0 for row in view.rows) for name in ("rate", "in_flight", "connections", "memory")
    )
    cpu = sum(row.cpu or 0 for row in view.rows)
    work = f"{decimal(rate)} requests/s, {in_flight} in flight, {connections} connections"
    yield f"{work}, CPU {share(cpu)}, memory {size(memory)}", ""
    yield view.trouble, RED


def _last_reload(fleet: Mapping[str, Any]) -> str:
    reload = fleet["last_reload"]
    return f"; reload {reload['result']} ({show.duration(reload['seconds'])})" if reload is not None else ""


# ------------------------------------------------------------------------------------------------------------------- table


def columns_for(width: int) -> list[Column]:
    """The columns that fit, in their order."""
    columns = list(COLUMNS)
    while sum(column.width + 1 for column in columns) - 1 > width:
        last = max(columns, key=lambda column: column.goes)
        if not last.goes:
            break
        columns.remove(last)
    return columns


def _table(view: View, width: int, room: int, colors: bool) -> list[str]:
    columns = columns_for(width)
    below = [(row.blocked, RED) for row in view.rows if row.blocked] + [(text, "") for text in view.news[-MAX_NEWS_SHOWN:]]
    # The workers come first; of the rest the newest.
    below = below[len(below) - min(len(below), max(0, room - 2 - len(view.rows))) :]
    lines = [_heading(columns, view.sort, width, colors)]
    space = max(0, room - 1 - (len(below) + 1 if below else 0))
    for row in _visible(view, space):
        lines.append(_row(row, columns, row.id == view.selected, width, colors))
    lines += [""] * (room - len(lines) - len(below))
    return lines + [str(Line(width, colors).add(text, style)) for text, style in below]


def _visible(view: View, space: int) -> Sequence[Row]:
    """The rows that have room, with the selected one among them."""
    at = next((index for index, row in enumerate(view.rows) if row.id == view.selected), 0)
    first = max(0, min(at - space // 2, len(view.rows) - space))
    return view.rows[first : first + space]


def _heading(columns: Sequence[Column], sort: str, width: int, colors: bool) -> str:
    line = Line(width, colors)
    for index, column in enumerate(columns):
        line.add(" " if index else "")
        line.add(f"{column.heading:>{column.width}}", REVERSE if column.name == sort else BOLD)
    return str(line)


def _row(row: Row, columns: Sequence[Column], is_selected: bool, width: int, colors: bool) -> str:
    line = Line(width, colors)
    for index, column in enumerate(columns):
        text = f"{column.text(row):>{column.width}}"
        if index == 0 and is_selected:
            text = f">{text[1:]}"
        line.add(" " if index else "", REVERSE if is_selected else "")
        line.add(text, REVERSE if is_selected else column.color(row) if column.color is not None else "")
    return str(line.fill(REVERSE) if is_selected else line)


# ------------------------------------------------------------------------------------------------------------------ detail


def _detail(detail: Detail, width: int, room: int, make: Callable[..., str]) -> list[str]:
    shown = detail.lines[detail.top : detail.top + max(0, room - 1)]
    return [make(detail.title, BOLD), *(make(line) for line in shown)]


def last_top(detail: Detail, height: int) -> int:
    """How far a detail can be scrolled on a screen of ``height`` lines."""
    # The four lines of the head, the title and the keys take room, too.
    return max(0, len(detail.lines) - max(1, height - 6))
