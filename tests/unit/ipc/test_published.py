"""What the supervisor shows to other processes: exact, never half of a change, and beyond the workers' reach."""

from __future__ import annotations

from random import Random

import pytest
from tricorn.ipc.counts import BUCKETS, METHODS, WIDTH, Cell, RowWriter, WorkerCounts, key_of
from tricorn.ipc.published import MAX_TEXT, Published, read_all


def test_a_reader_sees_every_change_of_the_totals_once() -> None:
    random = Random(5)
    area, published = WorkerCounts(4), Published()
    lent, expected = dict[int, RowWriter](), 0
    area.lend(1)
    lent[1] = RowWriter(area.row(1))
    lent[1].counter("GET", 200)(0.0)
    area.fold(1)
    del lent[1]
    expected += 1
    # What was counted before is shown, too.
    area.show_to(published)
    for _ in range(2000):
        index = random.randint(1, 4)
        if index not in lent:
            area.lend(index)
            lent[index] = RowWriter(area.row(index))
        elif random.random() < 0.1:
            area.fold(index)
            del lent[index]
        else:
            lent[index].sent += 3
            lent[index].counter(random.choice(METHODS), random.randint(200, 210))(random.random())
            expected += 1
        seen = read_all(published, area.cells, WIDTH)
        assert seen is not None
        assert seen.requests() == expected
    total = area.read(lent)
    assert seen is not None
    total.add_all(area.departed)
    assert {key: values[1:] for key, values in seen.blocks.items()} == {key: v[1:] for key, v in total.blocks.items()}
    assert seen.plain[Cell.SENT] == 3 * (expected - 1)


def test_the_text_is_replaced_as_a_whole_and_is_bounded() -> None:
    published = Published()
    assert published.text() == b""
    assert published.show_text(b"one")
    assert published.text() == b"one"
    assert not published.show_text(bytes(MAX_TEXT + 1))
    assert published.text() == b"one"
    assert published.show_text(b"")
    assert published.text() == b""


def test_a_process_that_only_reads_can_not_write() -> None:
    published = Published()
    if published.fd < 0:
        pytest.skip("this system has no memfd_create")
    published.show_beat(7.0, 6.0)
    published.show_text(b"text")
    published.protect()
    assert (published.beat, published.worker_beat, published.text()) == (7.0, 6.0, b"text")
    with pytest.raises(TypeError):
        published.show_beat(8.0, 8.0)


def test_all_keys_there_can_be_are_shown() -> None:
    area, published = WorkerCounts(1), Published()
    area.show_to(published)
    for method in METHODS:
        for status in (0, *range(100, 1000)):
            area.departed.add(key_of(method, status), [0.5] + [1.0] * BUCKETS)
    area.show_to(published)
    seen = read_all(published, area.cells, WIDTH)
    assert seen is not None
    assert seen.blocks == area.departed.blocks
    published.begin()
    assert read_all(published, area.cells, WIDTH) is None
