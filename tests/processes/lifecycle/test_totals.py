"""The scoreboard's totals, read by one process while another changes them."""

from __future__ import annotations

import os

from tricorn.ipc.scoreboard import Field, Scoreboard

LIVES = 3000
"""Workers that come and go: enough for some hundred reads in the middle of it, on one core as well."""


def test_no_counter_runs_backwards_in_another_process() -> None:
    board = Scoreboard(rows=4)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writer, b"r")
            last = 0.0
            while last < LIVES * 10:
                total = board.totals()[Field.REQUESTS]
                if total < last:
                    os._exit(2)
                last = total
            code = 0
        finally:
            os._exit(code)
    assert os.read(reader, 1) == b"r"
    for _ in range(LIVES):
        index = board.claim()
        board.row(index)[Field.REQUESTS] = 10
        board.release(index)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(reader)
    os.close(writer)
