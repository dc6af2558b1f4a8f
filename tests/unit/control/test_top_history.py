"""Rates and news of ``tricornctl top``, from what ``status`` says once a second; and its keys."""

from __future__ import annotations

from typing import Any

import pytest
from tricorn.control.top.history import WINDOW, History, Row, compare, sort_rows
from tricorn.control.top.keys import read_keys


def worker(id: int, slot: int = 0, **changes: Any) -> dict[str, Any]:
    told = {
        "slot": slot,
        "id": id,
        "pid": 100 + id,
        "generation": 0,
        "phase": "ready",
        "age": 5.0,
        "requests": 0,
        "in_flight": 0,
        "connections": 0,
        "lag": 0.0,
        "cpu_seconds": 0.0,
        "rss_bytes": 1,
        "restarts": 0,
        "last_death": None,
        "durations": [0.0] * 14,
        "blocked": None,
    }
    return told | changes


def status(*workers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    fleet = {"stage": "serving", "wanted": 1, "last_reload": None}
    return {"supervisor": fleet | changes, "workers": list(workers)}


def rows(*samples: tuple[float, dict[str, Any]]) -> list[Row]:
    history = History()
    for at, told in samples:
        history.add(told, at, "")
    return history.rows()


def test_rates_are_those_of_the_last_seconds() -> None:
    seen = [(float(at), status(worker(1, requests=100 * at**2, cpu_seconds=0.5 * at))) for at in range(20)]
    (row,) = rows(*seen)
    assert row.rate == (100 * 19**2 - 100 * (19 - WINDOW) ** 2) / WINDOW
    assert row.cpu == 0.5


def test_before_the_second_answer_there_are_no_rates() -> None:
    (row,) = rows((1.0, status(worker(1, requests=5))))
    assert (row.rate, row.cpu) == (None, None)


def test_a_new_worker_counts_from_its_first_answer() -> None:
    (row,) = rows(
        (1.0, status(worker(1, requests=900))), (2.0, status(worker(2, requests=10))), (3.0, status(worker(2, requests=30)))
    )
    assert row.rate == 20


def test_what_is_not_known_has_no_rate() -> None:
    (row,) = rows((1.0, status(worker(1))), (2.0, status(worker(1, requests=None, cpu_seconds=None, pid=None))))
    assert (row.rate, row.cpu, row.pid) == (None, None, None)


@pytest.mark.parametrize(
    ("before", "after", "news"),
    [
        (status(worker(1)), status(worker(1)), []),
        (status(), status(worker(1, phase="starting")), ["Worker 0 [101] starting"]),
        (status(worker(1, phase="starting")), status(worker(1)), ["Worker 0 [101] ready (was starting)"]),
        (status(worker(1)), status(), ["Worker 0 [101] is gone"]),
        (
            status(worker(1)),
            status(worker(2, restarts=1, last_death="killed by SIGKILL", phase="starting")),
            ["Worker 0 [101] is gone: killed by SIGKILL", "Worker 0 [102] starting"],
        ),
        (
            # A death of before is not the cause of this end.
            status(worker(1, restarts=1, last_death="killed by SIGKILL")),
            status(worker(2, restarts=1, last_death="killed by SIGKILL")),
            ["Worker 0 [101] is gone", "Worker 0 [102] ready"],
        ),
        (status(), status(stage="stopping"), ["The fleet is stopping (was serving)"]),
        (status(), status(wanted=3), ["3 workers are wanted (were 1)"]),
        (
            status(last_reload={"generation": 1, "result": "under way", "error": None}),
            status(last_reload={"generation": 1, "result": "abandoned", "error": "Traceback\n  x\nValueError: no\n"}),
            ["Reload abandoned, generation 1: ValueError: no"],
        ),
        (status(worker(1, pid=None, phase="starting")), status(), ["Worker 0 is gone"]),
    ],
)
def test_news(before: dict[str, Any], after: dict[str, Any], news: list[str]) -> None:
    assert list(compare(before, after)) == news


def test_latency_is_that_of_the_last_seconds() -> None:
    before = worker(1, durations=[1000.0] + [0.0] * 13)
    (row,) = rows((1.0, status(before)), (2.0, status(worker(1, durations=[1000.0, 0.0, 0.0, 10.0] + [0.0] * 10))))
    assert row.p50 == pytest.approx(0.0075)
    assert row.p99 == pytest.approx(0.00995)
    (row,) = rows((1.0, status(before)), (2.0, status(before)))
    assert (row.p50, row.p99) == (None, None)


def test_a_blocked_worker_says_by_what() -> None:
    what = {"seconds": 4.2, "request": "GET /pay", "line": "main.py:12 pay"}
    (row,) = rows((1.0, status(worker(1, blocked=what))))
    assert row.blocked == "Worker 0 [101] has not turned for 4.2s: GET /pay, at main.py:12 pay"


def test_rows_are_sorted_and_what_is_not_known_comes_last() -> None:
    given = rows((1.0, status(worker(1, 0, lag=0.5), worker(2, 1, lag=None), worker(3, 2, lag=2.0), worker(4, 3, lag=0.5))))
    assert [row.slot for row in sort_rows(given, "lag", True)] == [2, 0, 3, 1]
    assert [row.slot for row in sort_rows(given, "lag", False)] == [0, 3, 2, 1]
    assert [row.slot for row in sort_rows(given, "slot", False)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOB\r", ["up", "down", "enter"]),
        (b"\x1b", ["escape"]),
        (b"\x1b\x1b[B", ["escape", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[1~\x1b[F", ["page up", "page down", "home", "end"]),
        (b"\x1b[1;5Cz", ["z"]),
        (b" \x7f\x0c", ["space", "escape", "redraw"]),
        (b"\xc3\xa4\x00", ["\x00"]),
        (b"", []),
    ],
)
def test_keys(data: bytes, keys: list[str]) -> None:
    assert read_keys(data) == keys
