"""For how long an event loop has not turned, by a worker's row of the scoreboard."""

from __future__ import annotations

import pytest
from tricorn.ipc.scoreboard import ACTIVE_PERIOD, BEAT_PERIOD, Field, Scoreboard
from tricorn.supervisor.control.status import lag

NOW = 100.0


@pytest.mark.parametrize(
    ("beat", "told", "active", "expected"),
    [
        (0.0, 3.0, 0, 0.0),
        (NOW - BEAT_PERIOD, 0.0, 0, 0.0),
        (NOW - BEAT_PERIOD - 2.0, 0.5, 0, 2.0),
        (NOW - 0.5, 0.7, 0, 0.7),
        # With requests in flight it beats more often.
        (NOW - ACTIVE_PERIOD - 2.0, 0.0, 1, 2.0),
        # Rows that were made up.
        (NOW + 1, 3.0, 0, 0.0),
        (float("nan"), float("nan"), float("nan"), 0.0),
        (-1.0, 1e300, 1, 0.0),
    ],
)
def test_lag(beat: float, told: float, active: float, expected: float) -> None:
    board = Scoreboard(rows=1)
    row = board.row(board.claim())
    row[Field.BEAT], row[Field.LAG], row[Field.ACTIVE] = beat, told, active
    assert lag(row, NOW) == pytest.approx(expected)
