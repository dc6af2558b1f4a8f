"""The pictures of ``docs/benchmarks.md``: which scenarios stand together, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

Panel = tuple[str, str]
"""A scenario and a metric."""


@dataclass(frozen=True)
class Chapter:
    """One picture. ``meaning`` stands below it, in Markdown."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    meaning: str
    growing: bool = False
    """Whether the panels are one line per server, over the number of workers."""


def costs(*scenarios: str) -> tuple[Panel, ...]:
    return tuple((scenario, "cpu_us") for scenario in scenarios)


CHAPTERS = (
    Chapter(
        "requests",
        "A request",
        costs("get", "browser", "post", "large", "stream", "get-log"),
        "The CPU time that a server spends on one request beside the application, in all its processes. An application does "
        "more than this one, so a server's share of a real request is smaller. `canned` parses nothing and calls no "
        "application: no server in Python can be below it.",
    ),
    Chapter(
        "bodies",
        "Streams, uploads, WebSocket",
        (*costs("tokens", "events", "upload", "upload-kept", "multipart"), ("ws-125", "cpu_us_message")),
        "`tokens` and `events` are what a language model's answer looks like: twenty small messages, each sent by itself, one "
        "for each turn of the event loop or one every 5 ms. In the first, writing to the socket is most of the cost.",
    ),
    Chapter(
        "connections",
        "New connections, TLS, HTTP/2",
        costs("close", "tls-close", "tls-large", "h2", "h2-post", "h2-tls"),
        "A connection per request is what a proxy without keep-alive makes of its clients. Over TLS the handshake is nearly "
        "all of it. A proxy in front of Tricorn had better keep its connections.",
    ),
    Chapter(
        "latency",
        "Latency under load",
        tuple((scenario, metric) for scenario in ("rate-50", "rate-80") for metric in ("p50_ms", "p99_ms", "p999_ms")),
        "Requests come at a constant rate, a half and four fifths of what the same server takes at most: the faster a server "
        "is, the more requests it has to answer here. Server and load generator share the CPUs.",
    ),
    Chapter(
        "fleet",
        "The fleet",
        (
            ("memory-4", "pss_mib"),
            ("idle-10000", "kib_connection"),
            ("ws-idle-10000", "kib_connection"),
            ("start-4", "start_ms"),
            ("kill", "answer_ms"),
            ("save", "save_ms"),
        ),
        "Memory, and how long one waits: for four workers to start, for a killed one's successor, for the code just saved.",
    ),
    Chapter(
        "workers",
        "More workers",
        costs("get-w2", "get-w8", "get-w16", "get-w32", "get-w64"),
        "What a request costs with more workers than there are CPUs. A flat line is right: a worker more is to cost the others "
        "nothing.",
        growing=True,
    ),
)

_TURNS = (
    "probably the scheduler's turns: a worker that has the CPU is asked again at once and keeps it, while others' connections "
    "wait; at a rate that leaves CPU time, Tricorn's p99 is the best (rate-80)"
)
_SPREAD = "within the spread of one run"

WHY = {
    "events": "a write and a timer of the event loop for each event; with no server around them they take 0.85 of Granian's",
    "close": "accepting, and an object of uvloop's for each connection",
    "tls-close": "OpenSSL's part of the handshake alone takes longer than all that Granian does (with rustls)",
    "tls-large": "Python's ssl module copies each record",
    "tls-idle-2000": "OpenSSL's own state of some 15 KiB",
    "h2-large": "frames are cut in Python",
    "upload-unread": "a read ends one body and begins the next request: its 256 KB are copied, in memory that the C library "
    "gives back each time (brk); Granian ends the connection (see its errors)",
    **dict.fromkeys(("get-n", "get-w2", "get-w8", "get-w16", "get-w32", "get-w64", "close-8-64"), _TURNS),
    "close-2-4": "a connection waits for the worker that was woken for it, also while that one waits for a CPU",
    "close-2-64": "accepting, and an object of uvloop's for each connection",
    **dict.fromkeys(
        ("rate-50", "rate-80"), "the rates are shares of each server's own highest, so Tricorn answers twice as many"
    ),
    **dict.fromkeys(("ws-broadcast-5000", "kill"), _SPREAD),
}
"""Why Tricorn loses in a scenario, where that is known."""
