"""The picture of ``tricornctl top``: what is known and the terminal's size give the lines, and nothing else does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tricorn.config.frozen import replace
from tricorn.control.top.history import Row
from tricorn.control.top.screen import COLUMNS, Detail, View, age, columns_for, decimal, draw, last_top, size

FLEET = {
    "app": "main:app",
    "listeners": ["http://127.0.0.1:8000"],
    "pid": 4242,
    "stage": "serving",
    "uptime": 11520.0,
    "ready": 2,
    "wanted": 3,
    "generation": 2,
    "last_reload": {"result": "complete", "seconds": 0.93},
}
STUCK = "Worker 1 [4194304] has not turned for 31s: GET /pay, at main.py:12 pay"
ROWS = (
    Row(7, 0, 4250, 2, "ready", 1234.5, 3, 140, 0.001, 0.42, 43012096, 0.00052, 0.0123, 7260.0, 0),
    Row(8, 1, 4194304, 2, "hung", 0.0, 1, 12, 31.2, 0.0, 2 * 1024**3, 10.0, 10.0, 61.0, 3, STUCK),
    Row(9, 2, None, 3, "starting", None, None, None, None, None, None, None, None, 0.2, 0),
)
NEWS = ("11:59:58 Worker 1 [4251] is gone: killed by SIGKILL", "12:00:00 Reload")
VIEW = View(FLEET, ROWS, "12:00:01", selected=8, news=NEWS)

PICTURE = """\
main:app on http://127.0.0.1:8000                                       12:00:01
[4242] up 3h12m, serving, 2 of 3 ready, generation 2; reload complete (0.9s)
1234 requests/s, 4 in flight, 152 connections, CPU 42%, memory 2.0G

SLOT     PID GEN    PHASE REQ/S  ACT CONNS   P50   P99  LAG  CPU  MEM  AGE DIED
   0    4250   2    ready  1234    3   140  0.52  12.3    0  42%  41M   2h    0
>  1 4194304   2     hung     0    1    12 10000 10000 31.2   0% 2.0G   1m    3
   2       -   3 starting     -    -     -     -     -    -    -    -   0s    0






Worker 1 [4194304] has not turned for 31s: GET /pay, at main.py:12 pay
11:59:58 Worker 1 [4251] is gone: killed by SIGKILL
12:00:00 Reload
q quit   up/down select   Enter requests and stacks   sort: s r i c p l u m a d"""


def plain(lines: list[str]) -> list[str]:
    """Without styles."""
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in lines]


def styled(lines: list[str], style: str) -> list[str]:
    """The pieces of text in this style."""
    return [piece for line in lines for piece in re.findall(rf"\x1b\[{style}m(.*?)\x1b\[0m", line)]


def test_the_picture() -> None:
    assert "\n".join(plain(draw(VIEW, 80, 18, True))) == PICTURE


@pytest.mark.parametrize("width", [1, 10, 40, 79, 80, 81, 200])
@pytest.mark.parametrize("height", [1, 2, 5, 6, 24, 60])
@pytest.mark.parametrize("detail", [None, Detail("Worker 0", tuple(f"line {number} " + "x" * 300 for number in range(50)), 7)])
def test_it_fills_the_terminal_and_nothing_more(width: int, height: int, detail: Detail | None) -> None:
    lines = draw(replace(VIEW, detail=detail, trouble="t" * 300), width, height, True)
    assert len(lines) == height
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= width for line in lines)


def test_colours_mean_trouble_and_can_be_left_out() -> None:
    view = replace(VIEW, selected=None, trouble="The supervisor has not answered for 3 s")
    colored = draw(view, 80, 24, True)
    assert [text.strip() for text in styled(colored, "31")] == [
        "The supervisor has not answered for 3 s",
        "hung",
        "31.2",
        STUCK,
    ]
    assert [text.strip() for text in styled(colored, "33")] == ["3", "starting"]
    without = draw(view, 80, 24, False)
    assert not styled(without, "31")
    assert not styled(without, "33")
    assert plain(without) == plain(colored)


def test_text_from_others_can_do_nothing_to_the_terminal() -> None:
    evil = "\x1b[2J\x07\u202e"
    fleet = FLEET | {"app": evil, "listeners": [evil]}
    lines = draw(View(fleet, ROWS, "12:00:01", news=(evil,), detail=Detail(evil, (evil,))), 80, 24, True)
    assert all(line.isprintable() for line in plain(lines))


def test_wide_characters_count_twice() -> None:
    lines = draw(replace(VIEW, news=("\u6f22" * 100,)), 80, 24, False)
    assert plain(lines)[-2] == "\u6f22" * 40


def test_what_does_not_fit_into_the_width_goes_least_important_first() -> None:
    assert columns_for(80) == list(COLUMNS)
    names = [column.name for column in columns_for(60)]
    assert "generation" not in names
    assert {"slot", "phase", "rate", "in_flight", "lag", "cpu", "memory", "restarts"} <= set(names)
    assert columns_for(1)


def test_more_workers_than_lines_leave_the_selected_one_in_sight() -> None:
    rows = tuple(replace(ROWS[0], id=number, slot=number) for number in range(100))
    for selected in (0, 50, 99):
        lines = plain(draw(View(FLEET, rows, "", selected=selected, news=("news",)), 80, 24, False))
        assert [line for line in lines if line.startswith(f">{selected:>3}")]
        assert "news" not in lines


def test_details_stand_in_the_place_of_the_workers() -> None:
    detail = Detail("Worker 1 [4251], ready", tuple(f"line {number}" for number in range(100)))
    lines = plain(draw(replace(VIEW, detail=detail), 80, 24, False))
    assert lines[4] == "Worker 1 [4251], ready"
    assert lines[5] == "line 0"
    last = plain(draw(replace(VIEW, detail=replace(detail, top=last_top(detail, 24))), 80, 24, False))
    assert last[-2] == "line 99"
    assert last[5] == "line 82"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0, "0"), (0.004, "0"), (0.04, "0.04"), (3.14, "3.1"), (250.4, "250")]
)
def test_numbers_have_the_digits_that_tell_something(value: Any, text: str) -> None:
    assert decimal(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0s"), (59.9, "59s"), (3599, "59m"), (359999, "99h"), (360000, "4d")])
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0, "0M"), (999 * 1024**2, "999M"), (1.5 * 1024**3, "1.5G")])
def test_sizes(value: Any, text: str) -> None:
    assert size(value) == text
