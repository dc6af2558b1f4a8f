"""``--otlp-endpoint``: what a collector receives."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest
from support.harness import PATIENCE, Client, Server, wait_until

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from tricorn.admin.otlp import interval_of, url_of
from tricorn.config.packages import require_later
from tricorn.errors import ConfigError
from tricorn.ipc.counts import BOUNDS
from tricorn.metrics.table import METRICS, Type

APP = "tests.apps.counted:app"
CUMULATIVE = 2
"""AggregationTemporality of opentelemetry/proto/metrics/v1/metrics.proto."""


class Collector:
    """A collector that remembers what it is sent. It answers with ``status``, and only while ``open`` is set."""

    def __init__(self, port: int = 0) -> None:
        self.pushes: list[Any] = []
        self.heads: list[tuple[str, dict[str, str]]] = []
        self.status = 200
        self.open = Event()
        self.open.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.heads.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                if self.headers["content-encoding"] == "gzip":
                    body = gzip.decompress(body)
                collector.open.wait(PATIENCE)
                if collector.status == 200:
                    collector.pushes.append(ExportMetricsServiceRequest.FromString(body))
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def metrics(self) -> dict[str, Any]:
        """The metrics of the last push, by name."""
        (resource,) = self.pushes[-1].resource_metrics
        (scope,) = resource.scope_metrics
        assert scope.scope.name == "tricorn"
        return {metric.name: metric for metric in scope.metrics}

    def requests(self) -> dict[tuple[str, str], int]:
        """Requests by method and status, as of the last push."""
        found = {}
        for point in self.metrics()["tricorn_http_requests_total"].sum.data_points:
            labels = attributes(point)
            found[labels["method"], labels["status"]] = point.as_int
        return found

    def identity(self) -> dict[str, str]:
        return attributes(self.pushes[-1].resource_metrics[0].resource)


def attributes(point: Any) -> dict[str, str]:
    return {one.key: one.value.string_value or str(one.value.int_value) for one in point.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def admin_of(server: Server, workers: int) -> int:
    def alone() -> set[int]:
        serving = set(server.serving())
        others = set(server.workers()) - serving
        return others if len(serving) == workers and len(others) == 1 else set()

    (admin,) = wait_until(alone)
    return admin


def test_a_collector_gets_what_the_metrics_show(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20YTpi")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with Server(APP, "--workers", "2", "--otlp-endpoint", collector.url) as server:
        server.wait_for_ready(2)
        for _ in range(7):
            Client(server.port).get("/")
        Client(server.port).get("/?404")
        wait_until(lambda: collector.pushes and collector.requests() == {("GET", "200"): 7, ("GET", "404"): 1})
        # It is read beside.
        wait_until(lambda: "tricorn_memory_bytes" in collector.metrics())
        path, head = collector.heads[-1]
        assert (path, head["authorization"], head["content-encoding"]) == ("/v1/metrics", "Basic YTpi", "gzip")
        assert head["content-type"] == "application/x-protobuf"
        metrics, identity = collector.metrics(), collector.identity()
        assert identity.keys() == {
            "service.name",
            "service.instance.id",
            "host.name",
            "process.pid",
            "deployment.environment.name",
        }
        assert (identity["service.name"], identity["process.pid"]) == ("tricorn", str(server.pid))
        assert server.stop() == 0
    assert set(metrics) == set(METRICS)
    kinds = {Type.COUNTER: "sum", Type.GAUGE: "gauge", Type.HISTOGRAM: "histogram"}
    starts = set()
    for name, metric in metrics.items():
        assert metric.WhichOneof("data") == kinds[METRICS[name].type], name
        assert metric.unit == {"seconds": "s", "bytes": "By", "": ""}[METRICS[name].unit]
        assert metric.description == METRICS[name].help
        data = getattr(metric, metric.WhichOneof("data"))
        if METRICS[name].type is not Type.GAUGE:
            assert data.aggregation_temporality == CUMULATIVE
            starts |= {point.start_time_unix_nano for point in data.data_points}
    assert metrics["tricorn_http_requests_total"].sum.is_monotonic
    (begin,) = starts
    assert 0 < time.time() - begin / 1e9 < 3600
    (durations,) = metrics["tricorn_http_request_duration_seconds"].histogram.data_points
    assert attributes(durations) == {"method": "GET"}
    assert list(durations.explicit_bounds) == list(BOUNDS)
    assert durations.count == sum(durations.bucket_counts) == 8
    assert len(durations.bucket_counts) == len(BOUNDS) + 1
    assert durations.sum > 0
    assert not durations.HasField("min")


def test_a_fleet_is_one_series_whatever_dies(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    with Server(APP, "--workers", "2", "--otlp-endpoint", f"{collector.url}/v1/metrics") as server:
        server.wait_for_ready(2)
        asked: Counter[tuple[str, str]] = Counter()
        for turn in range(4):
            for _ in range(10):
                Client(server.port).get("/")
                asked["GET", "200"] += 1
            # What is in flight when a worker is killed may be missing, and a client has its answer before it is counted.
            wait_until(lambda: collector.pushes and collector.requests() == asked, what=f"{asked}")
            died = server.serving()[0] if turn % 2 else admin_of(server, 2)
            os.kill(died, signal.SIGKILL)
            server.wait_until_left(died)
        wait_until(lambda: collector.pushes and collector.requests() == asked, what=f"{asked}")
        assert server.stop() == 0
    seen = Counter(str(push.resource_metrics[0].resource) for push in collector.pushes)
    assert len(seen) == 1
    assert collector.identity()["service.name"] == "shop"
    starts, before = set(), 0
    for push in collector.pushes:
        points = push.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
        starts |= {point.start_time_unix_nano for point in points}
        now = sum(point.as_int for point in points)
        assert now >= before
        before = now
    assert len(starts) == 1
    assert {path for path, _ in collector.heads} == {"/v1/metrics"}


def test_what_is_counted_last_is_pushed_at_the_end(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_METRIC_EXPORT_INTERVAL")
    with Server(APP, "--otlp-endpoint", collector.url) as server:
        server.wait_for_ready(1)
        wait_until(lambda: bool(collector.pushes), what="the first push")
        # The next one is due in a minute.
        Client(server.port).get("/")
        assert server.stop() == 0
    assert collector.requests() == {("GET", "200"): 1}


def test_a_collector_that_is_away_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Server(APP, "--admin-bind", "127.0.0.1:0", "--otlp-endpoint", f"http://127.0.0.1:{port}") as server:
        server.wait_for_ready(1)
        server.wait_for_log(r"--otlp-endpoint: \S+ does not take the metrics: .*refused")
        Client(server.port).get("/")
        collector = Collector(port)
        try:
            server.wait_for_log("--otlp-endpoint: the metrics are taken again")
            wait_until(lambda: collector.requests() == {("GET", "200"): 1})
            collector.status = 400
            server.wait_for_log(r"does not take the metrics: .*400")
        finally:
            collector.close()
        assert server.stop() == 0
        assert server.log.count("does not take") == 2
        assert "Traceback" not in server.log
        assert "Transient" not in server.log.replace("does not take the metrics: Transient", "")


def test_a_collector_that_does_not_answer_holds_nothing_up(collector: Collector) -> None:
    collector.open.clear()
    with Server(APP, "--admin-bind", "127.0.0.1:0", "--otlp-endpoint", collector.url) as server:
        port = server.wait_for_log(r"Admin listener on http://[^:]*:(\d+)").group(1)
        server.wait_for_ready(1)
        wait_until(lambda: bool(collector.heads), what="the first push")
        for _ in range(20):
            assert Client(server.port).get("/").status == 200
            assert Client(int(port)).get("/livez").status == 200
        # The exporter would wait for ten seconds.
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 9


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/metrics"),
        ("http://c:4318/", "http://c:4318/v1/metrics"),
        ("https://c/otlp", "https://c/otlp/v1/metrics"),
        ("https://c/otlp/v1/metrics", "https://c/otlp/v1/metrics"),
    ],
)
def test_the_path_for_metrics_may_be_left_out(endpoint: str, url: str) -> None:
    assert url_of(endpoint) == url


@pytest.mark.parametrize(("text", "seconds"), [("", 60.0), ("500", 0.5), ("0", 60.0), ("-1", 60.0), ("1s", 60.0)])
def test_the_interval_is_opentelemetrys(text: str, seconds: float) -> None:
    assert interval_of(text) == seconds


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        require_later("--otlp-endpoint http://c", "opentelemetry.missing.http", "opentelemetry-exporter-otlp-proto-http")
    said = "--otlp-endpoint http://c: opentelemetry-exporter-otlp-proto-http is not installed (pip install 'tricorn[otlp]')"
    assert str(caught.value) == said


@pytest.mark.parametrize("endpoint", ["c:4318", "http://user:word@c", "http://c?token=1", "http://", "ftp://c", "http://c d"])
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    server = Server(APP, "--otlp-endpoint", endpoint, "--check-config")
    server.start()
    try:
        assert server.process.wait(timeout=PATIENCE) == 2
        assert f"Error: --otlp-endpoint {endpoint}: must be a URL" in server.log
    finally:
        server.__exit__(None)
