"""The metrics' table, and their text."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from tricorn.ipc.counts import BOUNDS, BUCKETS, Cell, Counts, key_of
from tricorn.metrics.exposition import Distribution, expose, is_openmetrics
from tricorn.metrics.gather import EXITS, Facts, decode, encode, gather
from tricorn.metrics.table import METRICS, Type
from tricorn.supervisor.phases import ExitReason

ROOT = Path(__file__).resolve().parents[3]


def facts() -> Facts:
    counts = Counts()
    counts.add(key_of("GET", 200), [1.5, 2.0, *[0.0] * (BUCKETS - 2), 1.0])
    counts.add(key_of("GET", 404), [0.25, 0.0, 1.0, *[0.0] * (BUCKETS - 2)])
    counts.plain[Cell.SENT] = 2.0**53 - 1
    return Facts(
        counts=counts,
        in_flight=1.0,
        connections=3.0,
        websockets=1.0,
        multiplexed=1.0,
        phases={"ready": 2},
        wanted=2,
        exits={"crash": 1},
        reloads={},
        generation=4,
        lag=0.25,
        accept_queues={'a"b\\c\n': 7},
        memory_bytes=None,
        cpu_seconds=1.5,
    )


def test_the_table_keeps_the_rules_of_prometheus() -> None:
    for name, metric in METRICS.items():
        assert name.startswith("tricorn_")
        assert name.endswith("_total") == (metric.type is Type.COUNTER)
        assert not metric.unit or metric.unit in name
        assert metric.help.endswith(".")


def test_every_metric_has_a_value_or_none_that_is_known() -> None:
    assert set(METRICS) - set(gather(facts())) == {"tricorn_memory_bytes"}


def test_all_reasons_of_an_exit_are_shown() -> None:
    assert {reason.value for reason in ExitReason} == set(EXITS)


def test_the_page_of_the_documentation_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "metrics.py"))["page"]()
    assert (ROOT / "docs" / "metrics.md").read_text() == page, "run make pages"


def test_the_text_of_prometheus() -> None:
    lines = expose(gather(facts())).splitlines()
    assert 'tricorn_http_requests_total{method="GET",status="200"} 3' in lines
    assert 'tricorn_http_request_duration_seconds_bucket{method="GET",le="0.001"} 2' in lines
    assert 'tricorn_http_request_duration_seconds_bucket{method="GET",le="0.0025"} 3' in lines
    assert 'tricorn_http_request_duration_seconds_bucket{method="GET",le="+Inf"} 4' in lines
    assert 'tricorn_http_request_duration_seconds_sum{method="GET"} 1.75' in lines
    assert 'tricorn_http_request_duration_seconds_count{method="GET"} 4' in lines
    assert 'tricorn_connections{protocol="http1"} 1' in lines
    assert "tricorn_sent_bytes_total 9007199254740991" in lines
    assert 'tricorn_accept_queue{listener="a\\"b\\\\c\\n"} 7' in lines
    assert not [line for line in lines if "tricorn_memory_bytes" in line]
    assert len(lines) == len(set(lines))


def test_the_text_of_openmetrics() -> None:
    text = expose(gather(facts()), openmetrics=True)
    assert "# TYPE tricorn_http_requests counter\n" in text
    assert "# UNIT tricorn_sent_bytes bytes\n" in text
    assert text.endswith("# EOF\n")


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_parser_of_prometheus_reads_it(openmetrics: bool) -> None:
    pytest.importorskip("prometheus_client")
    from prometheus_client import parser as older
    from prometheus_client.openmetrics import parser as newer

    parse = newer.text_string_to_metric_families if openmetrics else older.text_string_to_metric_families
    families = {family.name: family for family in parse(expose(gather(facts()), openmetrics))}
    assert len(families) == len(METRICS) - 1


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", True),
        ("application/openmetrics-text;q=0.1, text/plain;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
    ],
)
def test_what_a_client_wants(accept: str, wanted: bool) -> None:
    assert is_openmetrics(accept) is wanted


def test_facts_travel_as_json() -> None:
    import json

    there = decode(json.loads(json.dumps(encode(facts()))), cpu_seconds=2.0)
    assert there.counts.blocks == facts().counts.blocks
    assert (there.cpu_seconds, there.lag) == (2.0, 0.25)
    assert isinstance(gather(there)["tricorn_http_request_duration_seconds"]["GET",], Distribution)
    assert len(BOUNDS) + 1 == BUCKETS
