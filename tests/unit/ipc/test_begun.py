"""The requests that a worker began last, as another process reads them."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator

import pytest
from tricorn.ipc import begun


@pytest.fixture
def file() -> Iterator[int]:
    with tempfile.TemporaryFile() as made:
        os.truncate(made.fileno(), begun.SIZE)
        yield made.fileno()


def told(file: int) -> list[str]:
    return begun.read(os.pread(file, begun.SIZE, 0))


def test_nothing_was_begun(file: int) -> None:
    assert told(file) == []
    begun.Begun(file, 0)
    assert told(file) == []


def test_the_last_one_comes_first_and_queries_are_left_out(file: int) -> None:
    notes = begun.Begun(file, 0)
    for target in (b"/a?token=secret", b"/b", b"*"):
        notes.note("GET", target)
        assert notes.last == target
    assert told(file) == ["GET *", "GET /b", "GET /a"]


def test_only_the_last_ones_are_kept(file: int) -> None:
    notes = begun.Begun(file, 0)
    for number in range(100):
        notes.note("POST", b"/%d" % number)
    assert told(file) == [f"POST /{number}" for number in range(99, 99 - begun.NOTES, -1)]


def test_a_long_path_is_cut(file: int) -> None:
    begun.Begun(file, 0).note("GET", b"/" + b"x" * 5000)
    (text,) = told(file)
    assert text.startswith("GET /xxx")
    assert len(text) <= 130


def test_what_a_worker_has_spoilt_is_harmless() -> None:
    noise = b"\x1b[31m\n\xff" * 1000
    assert all(text.isprintable() for text in begun.read(noise))
    assert begun.read(b"") == begun.read(b"abc") == []
    number = struct.Struct("<Q120s").pack(2**64 - 1, b"GET /")
    assert begun.read(number) == ["GET /"]
