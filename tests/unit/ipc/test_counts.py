"""What workers count: nothing is lost or counted twice when a row is taken back, and nonsense in a row harms nobody."""

from __future__ import annotations

import math
from random import Random

import pytest
from tricorn.ipc.counts import (
    BLOCK,
    BLOCKS,
    BOUNDS,
    BUCKETS,
    FIRST_BUCKET,
    METHODS,
    WIDTH,
    Cell,
    Counts,
    RowWriter,
    WorkerCounts,
    key_of,
    name_key,
    quantile,
)


def by_label(counts: Counts) -> dict[tuple[str, str], float]:
    return {name_key(key): sum(values[1:]) for key, values in counts.blocks.items()}


def test_a_block_is_three_cache_lines_and_has_room_for_all_buckets() -> None:
    assert BLOCK * 8 == 3 * 64
    assert BLOCK >= FIRST_BUCKET + BUCKETS
    assert list(BOUNDS) == sorted(BOUNDS)


@pytest.mark.parametrize("method", [*METHODS, "BREW"])
@pytest.mark.parametrize("status", [0, 100, 200, 499, 999, 7, 1000])
def test_a_key_names_its_method_and_status(method: str, status: int) -> None:
    name = method if method in METHODS else "other"
    assert name_key(key_of(method, status)) == (name, str(status) if 100 <= status <= 999 else "other")


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.0011, 0.3, 10.0, 11.0, 1e6])
def test_a_duration_is_in_the_bucket_of_the_next_bound(seconds: float) -> None:
    area = WorkerCounts(1)
    RowWriter(area.row(1)).counter("GET", 200)(seconds)
    durations = area.read([1]).durations()
    expected = next((index for index, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))
    assert durations == [float(index == expected) for index in range(BUCKETS)]


def test_what_workers_counted_is_exact_over_any_number_of_lives() -> None:
    random = Random(3)
    area, lent, expected = WorkerCounts(8), dict[int, RowWriter](), dict[tuple[str, str], float]()
    last = 0.0
    for _ in range(5000):
        free = [index for index in range(1, 9) if index not in lent]
        if free and random.random() < 0.1:
            index = random.choice(free)
            lent[index] = RowWriter(area.row(index))
        elif lent and random.random() < 0.1:
            index = random.choice(list(lent))
            del lent[index]
            area.fold(index)
        elif lent:
            writer, method = random.choice(list(lent.values())), random.choice(["GET", "POST", "BREW"])
            status = random.choice([200, 201, 404, 500])
            writer.received += 10
            writer.counter(method, status)(random.random() * 2)
            label = (method if method != "BREW" else "other", str(status))
            expected[label] = expected.get(label, 0) + 1
        total = area.read(lent)
        total.add_all(area.departed)
        assert by_label(total) == expected
        assert last <= total.requests() == sum(total.durations()) == sum(expected.values())
        assert total.plain[Cell.RECEIVED] == 10 * total.requests()
        last = total.requests()


def test_methods_and_statuses_beyond_the_room_of_a_row_share_blocks() -> None:
    area = WorkerCounts(1)
    writer = RowWriter(area.row(1))
    for status in range(100, 600):
        for method in ("GET", "POST", "BREW"):
            writer.counter(method, status)(0.1)
    counts = area.read([1])
    assert counts.requests() == 1500
    labels = by_label(counts)
    assert len(labels) < BLOCKS
    for name in ("GET", "POST", "other"):
        assert sum(count for (method, _), count in labels.items() if method == name) == 500
        assert labels[name, "other"] > 0


def test_a_worker_killed_between_two_cells_leaves_whole_numbers() -> None:
    area = WorkerCounts(1)
    RowWriter(area.row(1)).counter("GET", 200)(0.1)
    # The next block has a key already, and no request.
    area.row(1)[2 * BLOCK] = key_of("POST", 200)
    assert by_label(area.fold(1)) == {("GET", "200"): 1, ("POST", "200"): 0}


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, -1.0, 1e300, 1.5])
def test_nonsense_in_a_row_is_not_counted_and_does_not_stay(nonsense: float) -> None:
    area = WorkerCounts(2)
    RowWriter(area.row(2)).counter("GET", 200)(0.1)
    row = area.row(1)
    for index in range(WIDTH):
        row[index] = nonsense
    counts = area.read([1, 2])
    assert counts.requests() == 1
    assert all(math.isfinite(value) and value >= 0 for value in counts.plain)
    area.fold(1)
    assert not any(area.row(1).tolist())
    area.row(1)[BLOCK] = key_of("GET", 200)
    for offset in range(1, BLOCK):
        area.row(1)[BLOCK + offset] = nonsense
    assert area.read([1]).requests() in (0, 1.5 * BUCKETS)
    assert by_label(area.read([2])) == {("GET", "200"): 1}


def test_a_reader_never_shows_less_than_before() -> None:
    before, now = Counts(), Counts()
    before.plain[Cell.SENT] = 7
    before.add(key_of("GET", 200), [2.0] + [3.0] * BUCKETS)
    now.add(key_of("GET", 200), [1.0] + [4.0] + [2.0] * (BUCKETS - 1))
    now.never_below(before)
    assert now.plain[Cell.SENT] == 7
    assert now.blocks[key_of("GET", 200)] == [2.0, 4.0] + [3.0] * (BUCKETS - 1)


def test_a_quantile_is_taken_as_even_within_a_bucket() -> None:
    assert quantile([0] * BUCKETS, 0.5) is None
    assert quantile([10] + [0] * (BUCKETS - 1), 0.5) == pytest.approx(0.0005)
    assert quantile([0] * (BUCKETS - 1) + [3], 0.99) == BOUNDS[-1]
    assert quantile([50, 50] + [0] * (BUCKETS - 2), 0.75) == pytest.approx(0.001 + 0.0015 / 2)


def test_messages_are_shown_when_asked_and_stay_when_the_worker_is_gone() -> None:
    area = WorkerCounts(1)
    writer = RowWriter(area.row(1))
    writer.messages_received += 3
    writer.messages_sent += 2
    writer.show()
    writer.show()
    counts = area.fold(1)
    assert (counts.plain[Cell.MESSAGES_RECEIVED], counts.plain[Cell.MESSAGES_SENT]) == (3, 2)
