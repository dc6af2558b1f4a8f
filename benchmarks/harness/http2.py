"""HTTP/2 scenarios, by prior knowledge or over TLS. wrk does not speak it: the client is h2load, which tells no percentiles."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from . import processes
from .load import Load, MeasurementFailed
from .servers import HOST

_COUNTS = re.compile(r"^requests: .* (\d+) done, \d+ succeeded, (\d+) failed, \d+ errored, (\d+) timeout$", re.M)
_TIME = re.compile(r"^finished in ([\d.]+)(us|ms|s|min),", re.M)
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "min": 6e7}


@dataclass(frozen=True)
class Http2Load(Load):
    """``connections`` with ``streams`` requests at once on each; a POST if there is a ``body`` of so many bytes."""

    connections: int = 8
    streams: int = 8
    body: int = 0
    default: bool = False
    kind: str = "http2"
    metrics: tuple[str, ...] = ("cpu_us", "rps", "busy", "others", "errors")

    def run(self, port: int, seconds: int, cores: set[int] | None) -> Mapping[str, float]:
        """As Load's, by h2load."""
        if shutil.which("h2load") is None:
            raise MeasurementFailed("h2load is not installed: `apt-get install nghttp2-client`")
        command = ["h2load", "-D", str(seconds), "-c", str(self.connections), "-m", str(self.streams)]
        with tempfile.NamedTemporaryFile() as body, processes.on_cores(cores):
            if self.body:
                body.write(b"x" * self.body)
                body.flush()
                command += ["-d", body.name]
            done = subprocess.run(
                [*command, f"http{'s' * self.tls}://{HOST}:{port}{self.path}"], capture_output=True, text=True
            )
        counts, time = _COUNTS.search(done.stdout), _TIME.search(done.stdout)
        if done.returncode or counts is None or time is None:
            raise MeasurementFailed(f"h2load failed: {(done.stderr or done.stdout).strip()}")
        answered, failed, late = map(int, counts.groups())
        none = dict.fromkeys(("connect", "read", "write"), 0.0)
        return none | {
            "requests": answered,
            "duration_us": float(time[1]) * _UNITS[time[2]],
            "status": failed,
            "timeout": late,
            **dict.fromkeys(("p50_us", "p90_us", "p99_us", "p999_us"), 0.0),
        }


HTTP2_LOADS: tuple[Load, ...] = (
    Http2Load("h2", "HTTP/2, bare GET, 8 connections of 8 streams, 1 worker"),
    Http2Load("h2-100", "HTTP/2, bare GET, 1 connection of 100 streams, 1 worker", connections=1, streams=100),
    Http2Load("h2-post", "HTTP/2, POST of 1 KB, 8 connections of 8 streams, 1 worker", "/post", body=1024),
    Http2Load("h2-large", "HTTP/2, response of 100 KB, 8 connections of 8 streams, 1 worker", "/large"),
    Http2Load("h2-stream", "HTTP/2, stream of 20 pieces of 1 KB, 8 connections of 8 streams, 1 worker", "/stream"),
    Http2Load("h2-tls", "HTTP/2 over TLS, bare GET, 8 connections of 8 streams, 1 worker", tls=True),
)
