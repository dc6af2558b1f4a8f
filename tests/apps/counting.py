"""Counts its requests with prometheus_client."""

from __future__ import annotations

import os

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("app_requests", "Requests.", ["path"])
SIZES = Histogram("app_sizes", "Sizes.", buckets=(1, 10))
BUSY = Gauge("app_busy", "How busy.", multiprocess_mode="livesum")
PEAK = Gauge("app_peak", "The largest.", multiprocess_mode="max")


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    REQUESTS.labels(scope["path"]).inc()
    SIZES.observe(5)
    BUSY.set(1)
    if scope["query_string"]:
        # A request without a number would put the peak back to zero.
        PEAK.set(float(scope["query_string"]))
    body = b"%d" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
