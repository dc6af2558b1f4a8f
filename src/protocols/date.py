"""The time as HTTP writes it."""

from __future__ import annotations

import time

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(at: float) -> bytes:
    """``at``, in seconds since the epoch, as an IMF-fixdate (RFC 9110 section 5.6.7): Sun, 06 Nov 1994 08:49:37 GMT.

    ``time.strftime`` has names of its own in other languages, and ``email.utils`` takes a tenth of our start-up to import.
    """
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(at)
    date = f"{DAYS[weekday]}, {day:02} {MONTHS[month - 1]} {year:04}"
    return f"{date} {hour:02}:{minute:02}:{second:02} GMT".encode("ascii")
