"""What a stalled worker writes, and how that is read: it may be anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tricorn
from tricorn.worker.stalls import read_samples

OURS = Path(tricorn.__file__ or "").parent
HEAD = "Stack (most recent call first):\n"
LIBRARY = os.__file__
BELOW = f'  File "{OURS}/worker/endure.py", line 24 in run\n  File "/usr/bin/tricorn", line 8 in <module>\n'


def stack(*frames: tuple[str, int, str]) -> str:
    return HEAD + "".join(f'  File "{file}", line {line} in {function}\n' for file, line, function in frames) + BELOW


APP = ("/srv/app.py", 7, "handler")
CONVERSE = (f"{OURS}/protocols/application.py", 50, "converse")
LOOP = (f"{Path(LIBRARY).parent}/asyncio/base_events.py", 1900, "_run_once")


@pytest.mark.parametrize(
    ("frames", "place"),
    [
        ([APP, CONVERSE, LOOP], "/srv/app.py:7 handler"),
        # The innermost frame of the application, not of a library.
        ([(LIBRARY, 1, "wait"), APP, CONVERSE], "/srv/app.py:7 handler"),
        ([(LIBRARY, 1, "wait"), CONVERSE], f"{LIBRARY}:1 wait"),
        # The event loop turns, or it is our own code that runs, or that imports.
        ([LOOP], ""),
        ([CONVERSE, LOOP], ""),
        (
            [(LIBRARY, 1, "<module>"), ("<frozen importlib._bootstrap>", 241, "_call"), (f"{OURS}/worker/kept.py", 1, "next")],
            "",
        ),
        ([], ""),
    ],
)
def test_a_place(frames: list[tuple[str, int, str]], place: str) -> None:
    assert read_samples(stack(*frames) + "Request: GET /a?secret=1\n") == ([place], "GET /a")


def test_a_directory_that_is_gone_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert read_samples(stack(APP))[0] == ["/srv/app.py:7 handler"]


def test_several_samples_and_the_last_request() -> None:
    text = stack(APP, CONVERSE) + stack(LOOP) + "Request: GET /a\nRequest: GET /b\n"
    assert read_samples(text) == (["/srv/app.py:7 handler", ""], "GET /b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0" * 100,
        HEAD * 1000,
        HEAD + '  File "' + '", line ' * 10_000,
        HEAD + '  File "x", line 99999999999999999999 in \x1b[31m\n',
        "Request: \x1b]0;title\x07" + "x" * 100_000,
        stack(("\x1b[2J" + "y" * 5000, 1, "f")),
    ],
)
def test_nothing_that_is_written_hurts(text: str) -> None:
    places, request = read_samples(text)
    assert all(place.isprintable() and len(place) < 500 for place in places)
    assert request.isprintable()
    assert len(request) < 500
