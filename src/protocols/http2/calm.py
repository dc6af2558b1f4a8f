"""Bounds how many frames a client may send that advance no request (RFC 9113 section 10.5)."""

from __future__ import annotations

from collections.abc import Callable

from .frames import ENHANCE_YOUR_CALM, ConnectionFault

BURST = 1000.0
"""Points that a client has at first and at most. A page's worth of cancelled requests, or some hundred acknowledged pings, are
within it; each costs us about as much as an empty request, so all of it is 10 ms of work."""
RATE = 100.0
"""Points that come back in a second: an attacker's steady state costs a thousandth of a processor."""

EARNED = 4.0
"""Points that come back for a response or a frame of its body: for each, clients may send a WINDOW_UPDATE and a PING."""
TURN = 400.0
"""What one connection may cost in one turn of the event loop, in frames. One read may bring 26,000 small ones, and each takes a
microsecond or two, so this is half a millisecond. A good client sends less at once: a megabyte's frames are 64."""


class Calm:
    """A client's allowance: points that useless frames cost and useful ones give back; and its share of a loop's turn.

    It ends the floods of the last years: streams opened and reset (CVE-2023-44487), and frames without end of SETTINGS, PING,
    PRIORITY, WINDOW_UPDATE, or without content (CVE-2019-9511 to 9518).
    """

    __slots__ = ("_clock", "_points", "_since", "left", "useful")

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` tells seconds."""
        self._clock = clock
        self._points = BURST
        self._since = clock()
        self.useful = 0
        """Responses, and frames of bodies, sent since points were last added up. To count here costs less than a call."""
        self.left = TURN
        """What is left of this turn. Frames count 1, and points as many."""

    def spend(self, points: float = 1.0) -> None:
        """Take points away. Raises :class:`ConnectionFault` when there are not that many."""
        self.left -= points
        self._points -= points
        if self._points >= 0:
            return
        now = self._clock()
        self._points = min(BURST, self._points + (now - self._since) * RATE + self.useful * EARNED)
        self._since, self.useful = now, 0
        if self._points < 0:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many frames that bring no request any further")
