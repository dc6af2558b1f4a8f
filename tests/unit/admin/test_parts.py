"""The admin listener's decisions: whom it answers, and what the plots show."""

from __future__ import annotations

import pytest
from tricorn.admin.history import KEPT, History
from tricorn.admin.hosts import is_known
from tricorn.admin.page import Page
from tricorn.ipc.counts import BUCKETS, Counts, key_of
from tricorn.metrics.gather import Facts


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("", True),
        ("localhost", True),
        ("LOCALHOST:9000", True),
        ("localhost.", True),
        ("127.0.0.1:9000", True),
        ("10.0.0.7", True),
        ("[::1]:9000", True),
        ("[fe80::1%eth0]", True),
        ("ops.example", True),
        ("Ops.Example:80", True),
        ("evil.example", False),
        ("evil.example:9000", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("ops.example.evil.example", False),
        ("[evil", False),
        ("0x7f000001", False),
    ],
)
def test_a_page_of_another_name_is_not_answered(host: str, known: bool) -> None:
    assert is_known(host, {"ops.example"}) is known


def facts(requests: float, errors: float) -> Facts:
    counts = Counts()
    counts.add(key_of("GET", 200), [0.0, requests, *[0.0] * (BUCKETS - 1)])
    counts.add(key_of("GET", 503), [0.0, *[0.0] * (BUCKETS - 1), errors])
    return Facts(
        counts=counts,
        in_flight=2.0,
        connections=0.0,
        websockets=0.0,
        multiplexed=0.0,
        phases={"ready": 3},
        wanted=3,
        exits={},
        reloads={},
        generation=0,
        lag=0.0,
        accept_queues={},
        memory_bytes=7.0,
        cpu_seconds=None,
    )


def test_a_point_says_what_went_on_between_two_readings() -> None:
    history = History()
    assert history.add(facts(10, 0), now=5.0, wall=1000.0) is None
    point = history.add(facts(30, 20), now=7.0, wall=1002.0)
    assert point is not None
    assert point.row() == [1002.0, 20.0, 10.0, 0.001, 10.0, 2.0, 7.0, 3]


def test_a_quiet_time_has_no_latency_and_the_history_is_bounded() -> None:
    history = History()
    for second in range(KEPT + 10):
        history.add(facts(10, 0), now=float(second), wall=float(second))
    assert len(history.points) == KEPT
    assert history.points[-1].row() == [KEPT + 9, 0.0, 0.0, None, None, 2.0, 7.0, 3]


def test_the_policy_names_the_pages_own_script_and_style() -> None:
    page = Page()
    assert page.policy.count(b"sha256-") == 2
    assert b"unsafe" not in page.policy
    # Attributes with script or style would not run under it.
    assert b" style=" not in page.body
    assert b" onclick=" not in page.body
