"""Workers that a template was asked for, until they are there. Nothing here waits: the template answers through its channel.

The template forks twice, and the process in between exits at once (see ``worker/forking.py``). So it answers twice:

    asked ----> named ------> taken in
      |           |
      +-----------+---------> dropped ----> forgotten

- *named*: the process in between says the pid. If the worker is our child by now, we know what that child is.
- *taken in*: the template says that the process in between is gone. So the worker is our child, and no lie. If the template
  hangs before it says so, we find out ourselves: by then the worker may serve, and must not be killed for that.
- *dropped*: nobody waits for it any more. A process that was forked for it all the same finds its channel closed and exits, or
  is killed as soon as it is named. What it would have had is lent to nobody until it, or the template, is gone.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from ..ipc.channel import Message, encode
from ..worker.forking import FORK, FORKED, GIVEN
from .child import Child
from .link import Link
from .messages import Fact, Forked, NotForked, Spawn
from .spawner import Berth, Spawner

LOOK = 0.02
"""Seconds between two looks whether a worker that was named is our child. The process in between needs some microseconds."""
LIE = "named a process that it has not forked; killed"
"""What a template does that must not be trusted. The application's code runs in it."""


class Asked:
    """One worker. ``template`` is the one that was asked; None for that of ``--reload``."""

    def __init__(self, berth: Berth, template: int | None) -> None:
        self.worker = berth.order.worker
        self.berth = berth
        self.template = template
        self.pid: int | None = None
        """Its pid, once it is named."""

    @property
    def child(self) -> int | None:
        """Its pid, if it is our child, also one that is dead and not yet reaped."""
        if self.pid is not None:
            # Any number may have been named.
            with suppress(OSError, OverflowError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                return self.pid
        return None


class Askings:
    """All of them.

    ``take_in`` gets the workers that are there, ``tell`` the facts for the fleet; ``known`` gives the pids of other children.
    """

    def __init__(
        self,
        spawner: Spawner,
        take_in: Callable[[Child], None],
        tell: Callable[[Fact], None],
        known: Callable[[], set[int]],
    ) -> None:
        self._spawner, self._take_in, self._tell, self._known = spawner, take_in, tell, known
        self._asked: dict[int, Asked] = {}
        """Those that somebody waits for, by the worker's id."""
        self._dropped: dict[int, Asked] = {}
        self.dead: frozenset[int] = frozenset()
        """Pids that were reaped just now, and of which :meth:`reaped` is not told yet."""

    @property
    def is_empty(self) -> bool:
        """Whether no template owes an answer."""
        return not self._asked and not self._dropped

    @property
    def pids(self) -> set[int]:
        """The pids of those that were named."""
        return {one.pid for one in (*self._asked.values(), *self._dropped.values()) if one.pid is not None}

    def ask(self, order: Spawn, link: Link, template: int | None) -> None:
        """Ask the template at the other end of ``link`` to fork the worker.

        Raises BrokenPipeError if the template can't be told. Another OSError, and IndexError, are as of ``Spawner.prepare``.
        """
        berth = self._spawner.prepare(order)
        if not link.send_fds(encode(FORK, birth=berth.details), berth.descriptors):
            self._spawner.abandon(berth)
            raise BrokenPipeError
        self._spawner.hand_out(berth)
        self._asked[order.worker] = Asked(berth, template)

    # ---------------------------------------------------------------------------------------------------------------- answers

    def hear(self, template: int | None, message: Message) -> str:
        """``template`` answers; returns what is wrong with that, if anything."""
        asked = self._asked.get(message["worker"]) or self._dropped.get(message["worker"])
        if asked is None and message["kind"] == GIVEN:
            # It was taken in before, or has lived and died meanwhile.
            return ""
        if asked is None or asked.template != template:
            return LIE
        if message["kind"] == FORKED:
            if asked.pid is not None or message["pid"] in self._known() | self.pids:
                return LIE
            asked.pid = message["pid"]
            return ""
        assert message["kind"] == GIVEN
        if (pid := asked.child) is None:
            # It may have been our child, and died already.
            return "" if asked.pid in self.dead else LIE
        if asked.worker in self._asked:
            self._arrive(asked, pid)
        else:
            os.kill(pid, signal.SIGKILL)
        return ""

    def attend(self) -> None:
        """Take in those that have become our children."""
        for asked in list(self._asked.values()):
            if (pid := asked.child) is not None:
                self._arrive(asked, pid)

    def deadlines(self, now: float) -> list[float]:
        """When :meth:`attend` may have something to do. The template says so sooner, unless it hangs."""
        return [now + LOOK] if any(one.pid is not None for one in self._asked.values()) else []

    def reaped(self, pid: int) -> None:
        """``pid`` was our child. If it was named, it was a worker, and perhaps nobody knew that yet."""
        asked = next((one for one in (*self._asked.values(), *self._dropped.values()) if one.pid == pid), None)
        if asked is None:
            return
        if asked.worker in self._asked:
            self._arrive(asked, pid)
        else:
            self._forget(asked)

    def _arrive(self, asked: Asked, pid: int) -> None:
        del self._asked[asked.worker]
        self._take_in(self._spawner.take_in(asked.berth, pid))
        self._tell(Forked(asked.worker))

    # ------------------------------------------------------------------------------------------------------------- no answers

    def drop(self, worker: int) -> None:
        """Nobody waits for this worker any more."""
        asked = self._asked.pop(worker, None)
        if asked is not None:
            self._dropped[worker] = asked
            self._spawner.let_go(asked.berth)
            if (pid := asked.child) is not None:
                os.kill(pid, signal.SIGKILL)

    def lose(self, template: int | None) -> None:
        """The template forks nothing more, and all that it said was heard."""
        for asked in [one for one in self._asked.values() if one.template == template]:
            if (pid := asked.child) is not None:
                self._arrive(asked, pid)
            else:
                self.drop(asked.worker)
                self._tell(NotForked(asked.worker))
        for asked in [one for one in self._dropped.values() if one.template == template]:
            # A child of ours is forgotten when it is reaped.
            if asked.child is None:
                self._forget(asked)

    def close(self) -> None:
        """End those that are there, and forget all. The templates are gone."""
        for asked in [*self._asked.values(), *self._dropped.values()]:
            if (pid := asked.child) is not None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            self._forget(asked)

    def _forget(self, asked: Asked) -> None:
        self._asked.pop(asked.worker, None)
        self._dropped.pop(asked.worker, None)
        self._spawner.abandon(asked.berth)
