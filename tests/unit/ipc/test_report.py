"""A worker's report: what is written can be read, and nothing that it may hold is trusted."""

from __future__ import annotations

import time

import pytest
from tricorn.ipc.report import LOOP_TURNS, MAX_LISTED, InFlight, read_report, write_request

LIMIT = 1000
HUNG = """Thread 0x00007f2 (most recent call first):
  File "/usr/lib/python3.12/threading.py", line 5 in wait

Current thread 0x00007f1 (most recent call first):
  File "/usr/lib/python3.12/socket.py", line 700 in readinto
  File "/srv/.venv/lib/python3.12/site-packages/client.py", line 9 in get
  File "/srv/shop/main.py", line 12 in pay
  File "/srv/shop/main.py", line 40 in app
Request in flight: POST /pay (61 s, from 10.0.0.1:5000)
"""


@pytest.mark.parametrize(
    "request_",
    [
        InFlight("GET", "/", "127.0.0.1:1", 0.0),
        InFlight("WebSocket", "/a b (3 s, from x)", "[::1]:80", 86400.0),
        InFlight("M-SEARCH", "/%20%22", "unknown:0", 3.0),
    ],
)
def test_what_is_written_can_be_read(request_: InFlight) -> None:
    assert read_report(write_request(request_), LIMIT).requests == (request_,)


def test_the_query_is_not_written() -> None:
    assert write_request(InFlight("GET", "/a?token=1", "", 2)) == "Request in flight: GET /a (2 s, from -)"


@pytest.mark.parametrize(
    "line",
    [
        "Request in flight: ",
        "Request in flight: GET",
        "Request in flight: GET /",
        "Request in flight: GET / (x s, from 1)",
        "Request in flight: GET / (-1 s, from 1)",
        "Request in flight: GET / (\u0663\u00b2 s, from 1)",
        "Request in flight: GET / (" + "9" * 5000 + " s, from 1)",
        "Request in flight: GET / (1 s, from 1",
        "request in flight: GET / (1 s, from 1)",
    ],
)
def test_a_line_that_makes_no_sense_is_left_out(line: str) -> None:
    assert read_report(f"{line}\nRequest in flight: GET /b (1 s, from c)\n", LIMIT).requests == (InFlight("GET", "/b", "c", 1),)


def test_what_it_holds_is_bounded_and_printable() -> None:
    long = f"Request in flight: {'G' * 9999} /{'p' * 9999}\x1b[31m?token (1 s, from {'c' * 9999}\x07)\n"
    begun = time.process_time()
    report = read_report(long * 50 + "Request in flight: GET / (1 s, from c)\n" * 20_000 + "\x1b" * 100_000, LIMIT)
    assert time.process_time() - begun < 2
    assert len(report.requests) == MAX_LISTED
    for request in report.requests:
        assert len(request.method) < 100
        assert len(request.path) < 1000
        assert len(request.client) < 300
        assert (request.method + request.path + request.client).isprintable()
        assert "token" not in request.path
    assert len(report.text) < LIMIT * 5


def test_the_line_of_a_hung_worker_is_the_applications_own() -> None:
    report = read_report(HUNG, LIMIT)
    assert not report.loop_turns
    assert report.line == "/srv/shop/main.py:12 pay"
    assert report.requests == (InFlight("POST", "/pay", "10.0.0.1:5000", 61),)


def test_an_import_that_hangs_is_shown_where_the_application_imports() -> None:
    frame = '  File "<frozen importlib._bootstrap_external>", line 147 in _path_stat\n'
    hung = HUNG.replace("(most recent call first):\n", f"(most recent call first):\n{frame}")
    assert read_report(hung, LIMIT).line == "/srv/shop/main.py:12 pay"


def test_without_a_line_of_the_applications_it_is_the_innermost() -> None:
    assert (
        read_report(HUNG.replace("/srv/shop", "/usr/lib/python3.12"), LIMIT).line
        == "/usr/lib/python3.12/socket.py:700 readinto"
    )


def test_the_answer_of_the_loop_counts_more_than_what_a_signal_wrote_before() -> None:
    report = read_report(f"{HUNG}{LOOP_TURNS}\nRequest in flight: GET /new (0 s, from c)\n", LIMIT)
    assert report.loop_turns
    assert report.line == ""
    assert report.text == "Request in flight: GET /new (0 s, from c)"


@pytest.mark.parametrize("text", ["", "\n\n", "Current thread", "Current thread 0x1 (most recent call first):"])
def test_an_empty_report_says_nothing(text: str) -> None:
    report = read_report(text, LIMIT)
    assert (report.loop_turns, report.requests, report.line) == (False, (), "")
