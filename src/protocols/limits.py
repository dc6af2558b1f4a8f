"""What a client may ask of a connection: sizes in bytes, times in seconds."""

from __future__ import annotations

from ..config.frozen import Value


class Limits(Value):
    """The limits of one worker; ``worker/assembly.py`` makes them from the options."""

    request_line: int = 16 * 1024
    """Method, target and version. RFC 9112 section 3 recommends to support at least 8000 octets; large load balancers forward
    16 KiB (AWS' application load balancers: 16 KiB a request line, 16 KiB a field, 64 KiB a head)."""
    head: int = 64 * 1024
    """The whole request head, request line included. This bounds what a slow client can hold before there is a request; the
    limits of its parts don't change that."""
    header_count: int = 200
    """Browsers send about 20 and proxies add some; 120 have been seen. Each costs about 150 bytes while the request lives."""
    field_size: int = 16 * 1024
    """One header line with its end, as large as load balancers forward: single sign-on makes cookies of 9 KB."""
    body: int | None = None
    """A whole request body; None for no limit."""
    concurrency: int | None = None
    """Connections at once, above which new ones are told 503; None for no limit."""
    trailers: int = 8 * 1024
    """The trailer section of a chunked body, and the extensions of one chunk."""
    buffer: int = 64 * 1024
    """How much of a request or a response may wait in memory before its producer is paused."""
    request_head_time: float = 10
    """From the first byte of a head (or the opening of the connection) to its last byte."""
    request_body_time: float = 60
    """How long a client may pause in the middle of a request's body, as nginx's client_body_timeout."""
    request_body_rate: float = 240
    """Bytes a second that a body must bring once ``request_body_time`` is used up, as Kestrel's; 0 for no least rate."""
    half_closed_time: float = 1
    """How long a client that has closed its side right behind its request may show no other sign of life. Then an application
    that waits for it to leave is told that it has. A second is enough for most answers."""
    keep_alive_time: float = 5
    """How long a connection may stay idle after a response."""
    linger_time: float = 2
    """How long unread input is thrown away after a last response, so that the client can read it (RFC 9112 section 9.6), and
    what an application sends after the client left."""
    send_time: float = 60
    """How long a client may take nothing of what waits for it, as nginx's send_timeout."""
