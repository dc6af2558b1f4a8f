"""Auxiliaries: processes that work for the supervisor and are no workers. They may die at any time, and are made anew."""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

from ..ipc.channel import LEVEL, REOPEN, Message, Table, Violation, encode
from ..worker.main import name_process
from .backoff import Backoff
from .forker import Forker
from .jitter import chance
from .link import Link
from .messages import Fact
from .own_descriptors import Closable
from .wakeup import Wakeup

logger = logging.getLogger("tricorn.error")

MAX_POSTED = 1000
"""Messages that may wait for a process that does not read. With more, the oldest are dropped, or the process is replaced."""
WORKER_EXIT = "worker exit"
"""The host tells :meth:`Auxiliary.learn` that a worker is gone, with the values of :class:`tricorn.hooks.Worker`."""


class Auxiliary(Protocol):
    """What one kind of auxiliary does, in its own process and in the supervisor."""

    name: str
    """For the log."""
    wanted: bool
    """Whether there should be a process now."""
    lasting: bool
    """Whether the process is needed until no worker is left. It opens log files again when told, and must not hold the
    listeners. What it is told waits for it; other processes are born with what they must know."""
    says: Table
    """All that the process may say."""

    @property
    def keeps(self) -> Collection[Closable]:
        """What the process keeps of the supervisor's own descriptors."""

    def main(self, link: socket.socket) -> int:
        """The process, from fork to exit code. It ends when ``link`` does."""

    def hear(self, message: Message) -> list[Fact]:
        """In the supervisor: the facts for the fleet in what the process said. Raises Violation if it must not say that."""

    def learn(self, message: Message) -> bytes | None:
        """In the supervisor: there is news of a worker; returns what to tell the process, if anything.

        The news is what the application imported (see ``worker/modules.py``), or WORKER_EXIT.
        """

    def died(self, now: float) -> None:
        """In the supervisor: the process is gone, at the wall-clock time ``now``."""


class Process:
    """An auxiliary's process, or the wait until there is one again."""

    def __init__(self, auxiliary: Auxiliary) -> None:
        self.auxiliary = auxiliary
        self.backoff = Backoff()
        self.pid: int | None = None
        """Its pid, from fork to reaping."""
        self.link: Link | None = None
        """The supervisor's end of the channel to it."""
        self.outbox: deque[bytes] = deque(maxlen=MAX_POSTED)
        """What the process is to be told as soon as it can be."""

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another supervisor needs to go on with the process, fit for JSON; ``give`` is told of the descriptor."""
        link = None if self.link is None else self.link.state(give)
        return {"pid": self.pid, "link": link, "outbox": [one.decode("latin-1") for one in self.outbox]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from this :meth:`state`."""
        self.pid = state["pid"]
        self.link = None if state["link"] is None else Link.restored(state["link"], self.auxiliary.says)
        self.outbox.extend(one.encode("latin-1") for one in state["outbox"])

    @property
    def is_due(self) -> bool:
        """Whether it is wanted and not there."""
        return self.auxiliary.wanted and self.pid is None

    @property
    def is_overfull(self) -> bool:
        """Whether the process has left so much unread that a further message is lost."""
        return len(self.outbox) == MAX_POSTED

    @property
    def is_told(self) -> bool:
        """Whether the process has, or will find, all that it is to be told."""
        return not self.outbox and (self.link is None or self.link.is_sent)

    def deliver(self) -> None:
        """Pass on what is in the outbox, as far as the process takes it."""
        if self.link is not None and not self.link.is_sent:
            return
        while self.link is not None and self.outbox and self.link.send(self.outbox[0]):
            self.outbox.popleft()


class Auxiliaries:
    """All auxiliaries of one host, whose ``forker`` and ``wakeup`` they use; ``kill`` ends a process and reaps it."""

    def __init__(self, wakeup: Wakeup, forker: Forker, kill: Callable[[int], None]) -> None:
        self._all: dict[str, Process] = {}
        self._wakeup, self._forker, self._kill = wakeup, forker, kill
        self._retired: dict[int, Link] = {}
        """The links, by pid, to processes that end when they have done what they were told."""
        self._before: dict[str, Any] = {}
        """The processes, by name, of the supervisor whose place we have taken; until they are added."""

    def __iter__(self) -> Iterator[Process]:
        return iter(self._all.values())

    def add(self, auxiliary: Auxiliary) -> None:
        """From now on keep a process for ``auxiliary`` as long as it wants one."""
        process = self._all[auxiliary.name] = Process(auxiliary)
        if (state := self._before.pop(auxiliary.name, None)) is not None:
            process.restore(state)
            if process.link is not None:
                self._forker.own.keep(process.link.channel)
                self._wakeup.watch(process.link.channel, auxiliary.name)

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another supervisor needs to go on with those that are lasting, fit for JSON; ``give`` is told of descriptors."""
        return {
            "processes": {one.auxiliary.name: one.state(give) for one in self if one.auxiliary.lasting},
            "retired": [[pid, link.state(give)] for pid, link in self._retired.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from this :meth:`state`: :meth:`add` finds the processes there."""
        self._before = dict(state["processes"])
        for pid, link in state["retired"]:
            self._retired[pid] = Link.restored(link, {})
            self._forker.own.keep(self._retired[pid].channel)

    @property
    def pids(self) -> set[int]:
        """The pids of all their processes, including those that are about to end."""
        return {process.pid for process in self if process.pid is not None} | self._retired.keys()

    def link_to(self, auxiliary: Auxiliary) -> Link | None:
        """The link to its process; None if there is none."""
        return self._all[auxiliary.name].link

    def deadlines(self) -> list[float]:
        """When :meth:`attend` has something to do."""
        return [process.backoff.until for process in self if process.is_due]

    def attend(self, now: float) -> None:
        """Fork the missing processes, and tell all of them what they are to be told."""
        for process in self:
            if process.is_due and process.backoff.until <= now:
                self._try_to_start(process, now)
            process.deliver()

    def _try_to_start(self, process: Process, now: float) -> None:
        auxiliary = process.auxiliary
        try:
            process.pid, channel = self._forker.fork(lambda link: _live(auxiliary, link), auxiliary.keeps)
        except OSError as error:
            process.backoff.failed(now, chance)
            logger.warning("The %s could not be forked: %s", auxiliary.name, error)
            return
        process.link = Link(channel, auxiliary.says)
        self._wakeup.watch(channel, auxiliary.name)

    def hear(self, name: str, now: float) -> list[Fact]:
        """What the auxiliary ``name`` says. If it must not say that, its process is killed."""
        process = self._all[name]
        if process.link is None:
            return []
        link = process.link
        try:
            facts = [fact for message in link.read(now) for fact in process.auxiliary.hear(message)]
        except Violation as violation:
            self.blame(process.auxiliary, f"wrote to the supervisor {violation}", now)
            return []
        if link.is_over:
            self._wakeup.forget(link.channel)
        return facts

    def blame(self, auxiliary: Auxiliary, what: str, now: float) -> None:
        """Kill a process for ``what`` it did; it is made anew after a while."""
        logger.warning("The %s %s; killed", auxiliary.name, what)
        self._all[auxiliary.name].backoff.failed(now, chance)
        self.dismiss(auxiliary)

    def learn(self, messages: Iterable[Message], now: float) -> None:
        """There is news of a worker (see :meth:`Auxiliary.learn`)."""
        for message in messages:
            for process in self:
                news = process.auxiliary.learn(message)
                if news is None:
                    continue
                if process.auxiliary.lasting:
                    self.post(process.auxiliary, news)
                elif process.link is not None:
                    # Without a process there is nothing to send: the next process is forked with the news.
                    process.outbox.append(news)
                    process.deliver()
                    if process.is_overfull:
                        self.blame(process.auxiliary, "does not read what it is told", now)

    def exited(self, pid: int, now: float, cause: str) -> list[Fact]:
        """If ``pid`` was an auxiliary, make ready for the next one; returns its last words."""
        process = next((process for process in self if process.pid == pid), None)
        if (link := self._retired.pop(pid, None)) is not None:
            self._forker.own.close(link.channel)
        if process is None:
            return []
        last_words = process.link.read_last(now) if process.link is not None else []
        facts: list[Fact] = []
        with suppress(Violation):
            for message in last_words:
                facts += process.auxiliary.hear(message)
        self._forget(process)
        process.backoff.failed(now, chance)
        level = logging.DEBUG if cause == "exit code 0" else logging.WARNING
        logger.log(level, "The %s is gone (%s)", process.auxiliary.name, cause)
        process.auxiliary.died(time.time())
        return facts

    def dismiss(self, auxiliary: Auxiliary) -> None:
        """End the process; it is made anew if it is still wanted."""
        process = self._all[auxiliary.name]
        pid = process.pid
        self._forget(process)
        if pid is not None:
            self._kill(pid)
            auxiliary.died(time.time())

    def dismiss_all(self, lasting: bool = True) -> None:
        """End all, for good; without ``lasting`` only those that are not needed until the end."""
        for process in self:
            if lasting or not process.auxiliary.lasting:
                process.auxiliary.wanted = False
                self.dismiss(process.auxiliary)
        while lasting and self._retired:
            pid, link = self._retired.popitem()
            self._forker.own.close(link.channel)
            logger.warning("Process %d has not finished what it was told to do; killed", pid)
            self._kill(pid)

    def reopen_logs(self, files: Mapping[str, int]) -> None:
        """Log files were opened again, by name: pass their descriptors on, or make the process anew."""
        for process in self:
            if not process.auxiliary.lasting:
                self.dismiss(process.auxiliary)
            elif process.link is not None:
                process.link.send_fds(encode(REOPEN, files=list(files)), list(files.values()))

    def set_level(self, level: str) -> None:
        """The log's level has changed. What lasts is told; the others are made anew, as when log files are opened again."""
        for process in self:
            if not process.auxiliary.lasting:
                self.dismiss(process.auxiliary)
            else:
                self.post(process.auxiliary, encode(LEVEL, level=level))

    # ------------------------------------------------------------------------------------------------- those that are lasting

    @property
    def is_any_finishing(self) -> bool:
        """Whether a process that was told to end has still something to do."""
        return bool(self._retired)

    def post(self, auxiliary: Auxiliary, message: bytes) -> None:
        """Tell the process, or the next one if there is none now."""
        if auxiliary.wanted:
            process = self._all[auxiliary.name]
            process.outbox.append(message)
            process.deliver()

    def replace(self, auxiliary: Auxiliary, end: bytes) -> None:
        """Tell the process to ``end`` when it has done what it was told. If it is wanted, there will be a new one."""
        process = self._all[auxiliary.name]
        if process.pid is None or process.link is None:
            return
        process.outbox.append(end)
        process.deliver()
        if not process.is_told:
            # It does not listen.
            process.outbox.clear()
            self.dismiss(auxiliary)
            return
        # Not closed: a closed channel means that the supervisor is dead.
        self._retired[process.pid] = process.link
        self._wakeup.forget(process.link.channel)
        process.link = process.pid = None

    def bow_out(self, auxiliary: Auxiliary, end: bytes, now: float) -> None:
        """Let the process do what it was told, then ``end``, for good."""
        process = self._all[auxiliary.name]
        if process.outbox and process.is_due:
            self._try_to_start(process, now)
            process.deliver()
        self.replace(auxiliary, end)
        auxiliary.wanted = False

    def _forget(self, process: Process) -> None:
        if process.link is not None:
            self._wakeup.forget(process.link.channel)
            self._forker.own.close(process.link.channel)
        process.link = process.pid = None
        if not process.auxiliary.lasting:
            # The next process is born with it.
            process.outbox.clear()


def _live(auxiliary: Auxiliary, link: socket.socket) -> int:
    name_process(f"tricorn: {auxiliary.name}")
    return auxiliary.main(link)
