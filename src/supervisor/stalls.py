"""``--report-stalls``: sees from outside that a worker's event loop does not turn, and says where it is.

A worker with requests in flight beats several times a second, in its row of the scoreboard, and says when it begins to. The
supervisor looks when such a beat is as old as a stall: so while all turn it wakes up once in that time, and not at all while no
request is in flight. A worker that stalls is sampled by a signal (see worker/stalls.py). When it turns again, it says for how
long it did not. Rows and messages may be false: a worker that lies gets signals, and lines in the log.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from ..config.frozen import Value
from ..ipc.channel import ACTIVE, Message
from ..ipc.scoreboard import Field, Scoreboard
from ..worker import main as worker_run
from .child import Child
from .report_file import ReportFile

logger = logging.getLogger("tricorn.error")

READING = 0.03
"""Seconds from the signal until the sample is read. The kernel delivers it within microseconds if there is a free processor."""
PAUSE = 2.0
"""A stall is sampled again when it has lasted so many times as long as at the last sample."""
MAX_PAUSE = 5.0
"""Seconds between two samples, at most."""
MINUTE = 60.0
"""Seconds in which a place is reported once."""
MAX_PLACES = 100
"""Places of one worker that are told apart; further ones count as one."""
SHOWN = 3
"""Places of one stall that its report names."""
ELSEWHERE = "elsewhere"


class Stall:
    """One stall of one worker, from the last beat before it."""

    def __init__(self, beat: float) -> None:
        self.beat = beat
        self.places: Counter[str] = Counter()
        """Samples by where they were taken."""
        self.request = ""
        self.sampled_at: float | None = None
        """When the signal was sent whose sample was not read yet."""
        self.is_urged = False
        """Whether the second signal was sent, because the first was not answered."""
        self.is_told = False
        """Whether it is in the log already."""

    @property
    def place(self) -> str:
        """Where most samples were taken; empty if there is none."""
        return self.places.most_common(1)[0][0] if self.places else ""

    def show_places(self) -> str:
        """The places, with their numbers if there are several."""
        if len(self.places) <= 1:
            return self.place
        total = self.places.total()
        return ", ".join(f"{place} ({count} of {total} samples)" for place, count in self.places.most_common(SHOWN))


class Blocked(Value):
    """What keeps a worker's event loop from turning."""

    seconds: float
    """Since it turned last."""
    request: str
    """Method and path without the query; empty if the worker does not say."""
    line: str
    """Where it is, as ``FILE:LINE FUNCTION``; empty if there is no sample yet."""


class Repeats:
    """Further stalls at a place within its minute."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.count = 0
        self.longest = 0.0


class Watched:
    """What is known of one worker."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.look_at: float | None = None
        """When to look at its beat; None while it has nothing in flight."""
        self.stall: Stall | None = None
        self.repeats: dict[str, Repeats] = {}
        """By place."""


class StallWatch:
    """Reports the stalls of all workers."""

    def __init__(self, scoreboard: Scoreboard, signal: Callable[[int, int | None], None]) -> None:
        """``signal`` sends the worker with this id a signal, by which it writes down where it is."""
        self._scoreboard = scoreboard
        self._signal = signal
        self._watched: dict[int, Watched] = {}

    def hear(self, child: Child, messages: Iterable[Message], now: float) -> None:
        """What the worker says of its event loop."""
        for message in messages:
            watched = self._watched.setdefault(child.worker, Watched(child))
            if message["kind"] == ACTIVE:
                # How old its beat is by now stands in its row.
                watched.look_at = now
            elif message["seconds"] >= child.config.report_stalls > 0:
                self._end(watched, message["seconds"], now)

    def look_soon(self, child: Child, now: float) -> None:
        """Whether the worker's requests are in flight is not known: look, as if it had said so."""
        self._watched[child.worker] = watched = Watched(child)
        watched.look_at = now

    def forget(self, child: Child) -> None:
        """The worker is gone."""
        self._watched.pop(child.worker, None)

    def blocked(self, worker: int, now: float) -> Blocked | None:
        """What keeps the worker's event loop from turning now; None if it turns, or has done so a moment ago."""
        watched = self._watched.get(worker)
        if watched is None or watched.stall is None:
            return None
        stall, beat = watched.stall, self._scoreboard.row(watched.child.row)[Field.BEAT]
        return Blocked(now - beat, stall.request, stall.place) if beat == stall.beat <= now else None

    def deadlines(self) -> list[float]:
        """When to call :meth:`look`."""
        times = [watched.look_at for watched in self._watched.values() if watched.look_at is not None]
        return times + [one.until for watched in self._watched.values() for one in watched.repeats.values()]

    def look(self, now: float) -> None:
        """Do what is due."""
        for watched in self._watched.values():
            if watched.look_at is not None and watched.look_at <= now:
                watched.look_at = self._look(watched, now)
            for place, repeats in [*watched.repeats.items()]:
                if repeats.until <= now:
                    del watched.repeats[place]
                    self._tell_repeats(watched.child, place, repeats)

    def _look(self, watched: Watched, now: float) -> float | None:
        """Look at the worker's beat; returns when to look again."""
        child, row = watched.child, self._scoreboard.row(watched.child.row)
        limit, beat = child.config.report_stalls, row[Field.BEAT]
        if row[Field.ACTIVE] != 1 or not 0 < beat <= now or limit <= 0:
            # It rests, or its row is spoilt.
            return None
        stall = watched.stall
        if now - beat < limit:
            # If it stalled, its message is on its way.
            return beat + limit
        if stall is None or stall.beat != beat:
            stall = watched.stall = Stall(beat)
        elif stall.sampled_at is not None:
            if not self._read(child.stalls, stall):
                if not stall.is_urged:
                    # Its main thread is in a call into C.
                    stall.is_urged = True
                    self._signal(child.worker, worker_run.STACK_SIGNAL)
                # A busy machine; or it is the machine that stands still.
                return now + max(READING, now - stall.sampled_at)
            if not stall.is_told and stall.place and now - beat >= PAUSE * limit:
                self._begin(watched, stall, now)
            return now + min(MAX_PAUSE, (now - beat) * (PAUSE - 1))
        child.stalls.begin()
        self._signal(child.worker, worker_run.SAMPLE_SIGNAL)
        stall.sampled_at, stall.is_urged = now, False
        return now + READING

    @staticmethod
    def _read(file: ReportFile, stall: Stall) -> bool:
        """Take the sample, if it is there and was not taken, and the request; returns whether no sample is waited for."""
        places, request = worker_run.read_samples(file.read().decode(errors="replace"))
        stall.request = request or stall.request
        if places and stall.sampled_at is not None:
            stall.sampled_at = None
            stall.places.update(filter(None, places[:1]))
        return stall.sampled_at is None

    def _begin(self, watched: Watched, stall: Stall, now: float) -> None:
        """Tell of a stall while it lasts, unless its place was told a moment ago."""
        if stall.place not in watched.repeats:
            stall.is_told = True
            what = _name(stall.request)
            logger.warning(
                "%s does not turn: %s, %.1f s so far, at %s", watched.child.name, what, now - stall.beat, stall.show_places()
            )

    def _end(self, watched: Watched, seconds: float, now: float) -> None:
        """Tell of a stall that is over, or count it."""
        stall, watched.stall = watched.stall, None
        if stall is None:
            return
        # Only now it may have said which request it was.
        self._read(watched.child.stalls, stall)
        place = stall.place
        if not place:
            # When the signal came, it turned again. Or it was the machine that stood still.
            return
        if place not in watched.repeats and len(watched.repeats) >= MAX_PLACES:
            place = ELSEWHERE
        known = watched.repeats.get(place)
        if known is None or stall.is_told:
            watched.repeats.setdefault(place, Repeats(now + MINUTE))
            self._tell(watched.child, stall, seconds)
        else:
            known.count += 1
            known.longest = max(known.longest, seconds)

    @staticmethod
    def _tell(child: Child, stall: Stall, seconds: float) -> None:
        what, where = _name(stall.request), stall.show_places()
        if child.config.reload:
            text = "%s held up all other requests for %.2f s at %s: await there, or let a thread do it"
            logger.warning(text, what[:1].upper() + what[1:], seconds, where)
        else:
            logger.warning("%s did not turn for %.2f s: %s, at %s", child.name, seconds, what, where)

    @staticmethod
    def _tell_repeats(child: Child, place: str, repeats: Repeats) -> None:
        if repeats.count:
            times = "once" if repeats.count == 1 else f"{repeats.count} times"
            text = "%s did not turn %s more within a minute, for %.2f s at most, at %s"
            logger.warning(text, child.name, times, repeats.longest, place)


def _name(request: str) -> str:
    return request or "an unknown request or task"
