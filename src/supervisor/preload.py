"""The processes of ``--preload``'s templates, which the fleet starts and ends (see ``templates.py``)."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress

from ..config.options import Config
from ..ipc.channel import Message, Violation
from ..worker import preload
from ..worker.forking import FORKED, GIVEN, Heritage
from ..worker.main import name_process
from .asking import Askings
from .forker import Forker
from .link import Link
from .messages import Fact, StartTemplate, TemplateGone, TemplateLost, TemplateReady
from .wakeup import Wakeup

logger = logging.getLogger("tricorn.error")

MAX_NAMES = 20_000
"""Modules of one generation that are remembered: more than any application imports."""
MAX_ATTEMPTS = 6
"""Templates of one generation that may say that the next one does better. Each gets what its predecessors found out."""
MAX_TOLD = 20
"""Harmful modules of one generation that the log names."""


class Knowledge:
    """What the templates of one generation have found out."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.without: dict[str, None] = {}
        self.is_surveyed = False
        """Whether an attempt to import the application is over."""
        self.attempts = 0
        self.told: set[str] = set()
        """Harmful modules that the log has named."""

    def for_template(self) -> preload.Known:
        """What the next template is born with."""
        return preload.Known(list(self.names) if self.is_surveyed else None, list(self.without))


class TemplateProcess:
    """One template's process, forked and not yet reaped."""

    def __init__(self, order: StartTemplate, pid: int, channel: socket.socket, since: float) -> None:
        self.template = order.template
        self.generation = order.generation
        self.mode = order.config.preload
        self.pid = pid
        self.since = since
        self.link = Link(channel, preload.SAYS)
        self.has_learned = False
        """Whether it said that the next one does better."""

    @property
    def name(self) -> str:
        """How the log names it."""
        return f"Template [{self.pid}]"


class TemplateProcesses:
    """All of them. ``heritage`` is what they pass on to workers, ``askings`` the workers that they are asked for."""

    def __init__(self, wakeup: Wakeup, forker: Forker, heritage: Heritage, askings: Askings) -> None:
        self._wakeup, self._forker, self._heritage, self._askings = wakeup, forker, heritage, askings
        self._all: dict[int, TemplateProcess] = {}
        self._knowledge: dict[int, Knowledge] = {}
        """By generation."""
        preload.look_up_directories()

    def __iter__(self) -> Iterator[TemplateProcess]:
        return iter(self._all.values())

    @property
    def pids(self) -> set[int]:
        """The pids of all their processes."""
        return {process.pid for process in self}

    def pid_of(self, template: int) -> int | None:
        """The pid of a template; None if it is gone."""
        process = self._all.get(template)
        return process.pid if process is not None else None

    def link_to(self, template: int) -> Link | None:
        """The link to a template; None if it is gone."""
        process = self._all.get(template)
        return process.link if process is not None else None

    def start(self, order: StartTemplate, now: float) -> list[Fact]:
        """Fork a template."""
        self._forget_old(order.generation)
        knowledge = self._knowledge.setdefault(order.generation, Knowledge())
        knowledge.attempts += 1
        config, generation, known = order.config, order.generation, knowledge.for_template()
        try:
            pid, channel = self._forker.fork(lambda link: self._live(config, generation, link, known))
        except OSError as error:
            return [TemplateGone(order.template, f"could not be forked: {error}")]
        self._all[order.template] = TemplateProcess(order, pid, channel, now)
        self._wakeup.watch(channel, ("template", order.template))
        return []

    def _live(self, config: Config, generation: int, link: socket.socket, known: preload.Known) -> int:
        name_process("tricorn: template")
        return preload.main(config, generation, link, self._heritage, known)

    def _forget_old(self, generation: int) -> None:
        """Of the generations before ``generation``, only those that have a template may need another one."""
        kept = {process.generation for process in self} | {generation}
        for old in [known for known in self._knowledge if known not in kept]:
            del self._knowledge[old]

    def end(self, template: int) -> None:
        """Kill it; it is reaped as workers are."""
        process = self._all.get(template)
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)

    def end_all(self) -> list[Fact]:
        """Kill and reap all."""
        facts: list[Fact] = [TemplateGone(process.template, "ended for an upgrade", is_excused=True) for process in self]
        for process in list(self):
            os.kill(process.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(process.pid, 0)
            self._askings.lose(process.template)
            self._close(process)
        return facts

    # ---------------------------------------------------------------------------------------------------------------- hear
    def hear(self, template: int, now: float) -> list[Fact]:
        """What a template says. If it must not say that, it is lost."""
        process = self._all.get(template)
        if process is None:
            return []
        try:
            messages = process.link.read(now)
        except Violation as violation:
            self._wakeup.forget(process.link.channel)
            return self._lose(process, f"wrote to the supervisor {violation}; killed")
        if process.link.is_over:
            self._wakeup.forget(process.link.channel)
        return [fact for message in messages for fact in self._understand(process, message, now)]

    def _understand(self, process: TemplateProcess, message: Message, now: float) -> list[Fact]:
        knowledge = self._knowledge[process.generation]
        match message["kind"]:
            case preload.HARM:
                self._tell_harm(process, knowledge, message["module"], message["why"])
            case preload.FOUND:
                _add(knowledge.names, message["names"])
            case preload.WITHOUT:
                _add(knowledge.without, message["names"])
            case kind if kind in (FORKED, GIVEN):
                if wrong := self._askings.hear(process.template, message):
                    return self._lose(process, wrong)
            case preload.STALE:
                self._knowledge[process.generation] = Knowledge()
                why = "is outdated: installed packages have changed"
                return self._lose(process, why, is_outdated=True)
            case preload.AGAIN:
                knowledge.is_surveyed = process.has_learned = True
            case preload.LOADED:
                what = "the application" if message["app"] else "installed packages"
                took = (now - process.since) * 1000
                logger.info(
                    "%s: workers share %s, loaded in %.0f ms (%d modules)", process.name, what, took, message["modules"]
                )
                return [TemplateReady(process.template, message["app"])]
        return []

    def _lose(self, process: TemplateProcess, why: str, is_outdated: bool = False) -> list[Fact]:
        """The template is of no use any more."""
        self._askings.lose(process.template)
        return [TemplateLost(process.template, why, is_outdated)]

    @staticmethod
    def _tell_harm(process: TemplateProcess, knowledge: Knowledge, module: str, why: str) -> None:
        if module not in knowledge.told and len(knowledge.told) < MAX_TOLD:
            knowledge.told.add(module)
            whom = "the application" if process.mode == "app" else "it"
            logger.warning("--preload %s: %s %s; each worker imports %s itself", process.mode, module, why, whom)

    def exited(self, pid: int, cause: str, now: float) -> list[Fact]:
        """If ``pid`` was a template: its last words, and that it is gone."""
        process = next((process for process in self if process.pid == pid), None)
        if process is None:
            return []
        facts = [fact for message in process.link.read_last(now) for fact in self._understand(process, message, now)]
        self._askings.lose(process.template)
        self._close(process)
        can_learn = self._knowledge[process.generation].attempts < MAX_ATTEMPTS
        return [*facts, TemplateGone(process.template, cause, process.has_learned and can_learn)]

    def _close(self, process: TemplateProcess) -> None:
        self._wakeup.forget(process.link.channel)
        self._forker.own.close(process.link.channel)
        del self._all[process.template]


def _add(known: dict[str, None], names: list[str]) -> None:
    known.update(dict.fromkeys(names[: max(0, MAX_NAMES - len(known))]))
