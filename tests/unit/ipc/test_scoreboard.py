"""The scoreboard: its columns, and totals that outlive the workers."""

from __future__ import annotations

import math
from random import Random

import pytest
from tricorn.ipc.scoreboard import COUNTERS, LINE, MAX_COUNT, WIDTH, Field, Kind, Scoreboard


def test_columns_follow_from_the_table() -> None:
    assert [int(field) for field in Field] == list(range(len(Field)))
    assert all(isinstance(field.kind, Kind) and field.help for field in Field)
    assert len(Field) <= WIDTH < len(Field) + LINE
    assert WIDTH % LINE == 0
    assert Field.BEAT.unit == "seconds"
    assert COUNTERS == (Field.REQUESTS,)


def test_a_row_that_is_taken_back_leaves_its_counters() -> None:
    board = Scoreboard(rows=4)
    index = board.claim()
    row = board.row(index)
    row[Field.REQUESTS], row[Field.CONNECTIONS] = 7, 3
    assert board.totals() == {Field.REQUESTS: 7}
    board.release(index)
    assert board.totals() == {Field.REQUESTS: 7}
    assert board.claim() == index
    assert (board.row(index)[Field.REQUESTS], board.row(index)[Field.CONNECTIONS]) == (0, 0)
    board.row(index)[Field.REQUESTS] = 5
    assert board.totals() == {Field.REQUESTS: 12}


def test_no_counter_ever_runs_backwards() -> None:
    random = Random(17)
    board, lent, last, answered = Scoreboard(rows=8), list[int](), 0.0, 0
    for _ in range(5000):
        if len(lent) < 8 and random.random() < 0.3:
            lent.append(board.claim())
        elif lent and random.random() < 0.3:
            board.release(lent.pop(random.randrange(len(lent))))
        elif lent:
            board.row(random.choice(lent))[Field.REQUESTS] += 1
            answered += 1
        total = board.totals()[Field.REQUESTS]
        assert last <= total == answered
        last = total


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, -1.0, MAX_COUNT * 2])
def test_nonsense_is_not_added(nonsense: float) -> None:
    board = Scoreboard(rows=2)
    first, second = board.claim(), board.claim()
    board.row(first)[Field.REQUESTS] = 7
    board.release(first)
    board.row(second)[Field.REQUESTS] = nonsense
    assert board.totals() == {Field.REQUESTS: 7}
    board.release(second)
    assert board.totals() == {Field.REQUESTS: 7}
