"""Pushes the metrics to a collector by OTLP over HTTP (``--otlp-endpoint``), with OpenTelemetry's own exporter.

The exporter waits for the network, and importing it takes a third of a second. So it lives in a thread of its own, and the
event loop only passes it the metrics.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..ipc.text import one_line
from ..metrics.exposition import Samples
from ..metrics.gather import gather
from .measures import Measures

PATH = "/v1/metrics"
"""Where collectors take metrics (OTLP specification, "OTLP/HTTP Request")."""
INTERVAL, EVERY = "OTEL_METRIC_EXPORT_INTERVAL", 60_000
"""OpenTelemetry's variable for the milliseconds between two pushes, and its default."""
LAST = 2.0
"""Seconds that the last push may take. The supervisor waits for as many and some more."""

logger = logging.getLogger("tricorn.error")


def url_of(endpoint: str) -> str:
    """The URL to send to. ``endpoint`` may leave out the path for metrics, as OTEL_EXPORTER_OTLP_ENDPOINT does."""
    stem = endpoint.rstrip("/")
    return stem if stem.endswith(PATH) else stem + PATH


def interval_of(text: str) -> float:
    """Seconds between two pushes, from what INTERVAL says."""
    if text.isdecimal() and int(text) > 0:
        return int(text) / 1000
    if text:
        logger.warning("%s=%s: must be a number of milliseconds; %d is taken", INTERVAL, one_line(text), EVERY)
    return EVERY / 1000


class Otlp:
    """Pushes what ``measures`` finds to ``endpoint``.

    ``pid``: the supervisor's. ``began``: when it started, in seconds of the wall clock; from then on its counters count.
    """

    def __init__(self, endpoint: str, measures: Measures, pid: int, began: float) -> None:
        self._measures = measures
        self._every = interval_of(os.environ.get(INTERVAL, ""))
        self._thread = ThreadPoolExecutor(1, "otlp")
        self._sender = Sender(url_of(endpoint), pid, began)

    async def run(self) -> None:
        """Push for ever, one push after the other."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._every
            await self._push()
            await asyncio.sleep(due - loop.time())

    async def finish(self) -> None:
        """Push for the last time. A collector that takes too long is not waited for."""
        await asyncio.wait([self._push()], timeout=LAST)

    def _push(self) -> asyncio.Future[None]:
        samples = gather(self._measures.facts())
        return asyncio.get_running_loop().run_in_executor(self._thread, self._sender.send, samples, time.time())


class Sender:
    """The thread's part. The exporter tries again by itself, for OTEL_EXPORTER_OTLP_TIMEOUT (10 s) in all."""

    def __init__(self, url: str, pid: int, began: float) -> None:
        self._url, self._pid, self._began = url, pid, began
        self._tools: tuple[Any, Any] | None = None
        """The exporter, and what names the fleet, from the first push on."""
        self._words = FirstWords()
        self._is_failing = False

    def send(self, samples: Samples, now: float) -> None:
        """Send what ``samples`` says; tell the log when that begins to fail, and when it works again."""
        self._words.text = ""
        try:
            has_arrived = self._export(samples, now)
        except Exception as error:
            # The package may be broken, or a variable may ask for what is not there.
            has_arrived, self._words.text = False, f"{type(error).__name__}: {error}"
        if has_arrived == self._is_failing:
            self._is_failing = not has_arrived
            if has_arrived:
                logger.info("--otlp-endpoint: the metrics are taken again")
            else:
                logger.warning("--otlp-endpoint: %s does not take the metrics: %s", self._url, one_line(self._words.text))

    def _export(self, samples: Samples, now: float) -> bool:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import MetricExportResult

        from .otlp_data import make_data, resource_of

        if self._tools is None:
            self._words.listen()
            self._tools = OTLPMetricExporter(endpoint=self._url), resource_of(self._pid, self._began)
        exporter, resource = self._tools
        return bool(exporter.export(make_data(samples, resource, self._began, now)) is MetricExportResult.SUCCESS)


class FirstWords(logging.Handler):
    """Remembers what OpenTelemetry logged first in a push: why an attempt failed. It goes on to log each attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def listen(self) -> None:
        """From now on its lines come here and nowhere else."""
        theirs = logging.getLogger("opentelemetry")
        theirs.propagate = False
        theirs.handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a line, if it is the first since ``text`` was empty."""
        self.text = self.text or record.getMessage()
