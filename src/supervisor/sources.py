"""What workers are forked from: the supervisor itself, the template of their generation, or that of ``--reload``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from ..config.options import Config
from .asking import Askings
from .auxiliary import Auxiliaries
from .child import Child
from .forker import Forker
from .messages import Asked, EndTemplate, Exited, Fact, GiveUp, NotForked, Spawn, StartTemplate, TemplateGone, TemplateLost
from .orphans import Orphans
from .spawner import Spawner
from .wakeup import Wakeup

if TYPE_CHECKING:
    from ..worker.forking import Heritage
    from .origin import Origin
    from .preload import TemplateProcesses
    from .reload.development import Development

logger = logging.getLogger("tricorn.error")


class Sources:
    """Forks workers, or asks templates for them. ``heritage`` makes what a template passes on to workers.

    ``take_in`` gets each worker when it is there, ``tell`` the facts for the fleet; ``known`` gives the pids of our children.
    """

    def __init__(
        self,
        spawner: Spawner,
        forker: Forker,
        wakeup: Wakeup,
        orphans: Orphans,
        heritage: Callable[[], Heritage],
        take_in: Callable[[Child], None],
        tell: Callable[[Fact], None],
        known: Callable[[], set[int]],
    ) -> None:
        self._spawner, self._forker, self._wakeup, self._orphans = spawner, forker, wakeup, orphans
        self._heritage, self._take_in, self._tell, self._known = heritage, take_in, tell, known
        self._askings = Askings(spawner, take_in, tell, known)
        self._development: Development | None = None
        self.templates: TemplateProcesses | None = None
        """Those of ``--preload``, from the first on."""

    def develop(self, config: Config, origin: Origin | None, auxiliaries: Auxiliaries) -> None:
        """With ``--reload``: let auxiliaries watch files, and fork workers."""
        # Late, because production needs none of it.
        from .reload.development import Development

        if config.preload != "off":
            logger.info("--preload %s: not with --reload, which keeps installed packages imported by itself", config.preload)
        is_warm = config.reload_warm and self._orphans.adopt(set())
        self._development = Development(config, origin, self._heritage(), auxiliaries, self._askings if is_warm else None)

    @property
    def is_quiet(self) -> bool:
        """Whether no template owes a worker."""
        return self._askings.is_empty

    @property
    def pids(self) -> set[int]:
        """The pids of all templates, and of workers that were forked and are not known to be our children yet."""
        return self._askings.pids | (self.templates.pids if self.templates is not None else set())

    # ------------------------------------------------------------------------------------------------------------- workers

    def spawn(self, order: Spawn) -> None:
        """Fork the worker, or ask for it."""
        if self._development is not None:
            self._development.prepare(order.config)
        try:
            if order.template is not None:
                self._ask(order, order.template)
            elif self._development is not None and self._development.ask(order):
                self._tell(Asked(order.worker))
            else:
                self._take_in(self._spawner.spawn(order))
        except (OSError, IndexError) as error:
            # No process, memory or descriptor left: to the fleet this is a worker that died at once.
            self._tell(Exited(order.worker, f"could not be forked: {error}"))

    def _ask(self, order: Spawn, template: int) -> None:
        link = self._preload().link_to(template)
        if link is None:
            self._tell(NotForked(order.worker))
            self._tell(TemplateGone(template, "not there any more"))
            return
        try:
            self._askings.ask(order, link, template)
        except BrokenPipeError:
            self._tell(NotForked(order.worker))
            self._tell(TemplateLost(template, "does not read what it is told; killed"))

    def give_up(self, action: GiveUp, now: float) -> None:
        """Wait no more for a worker that was asked for."""
        self._askings.drop(action.worker)
        if action.is_late and self._development is not None:
            self._development.give_up_warm(now)

    def reaped(self, pid: int) -> None:
        """A child of ours is gone, which may have been a worker that nobody knew yet."""
        self._askings.reaped(pid)

    # ----------------------------------------------------------------------------------------------------------- templates

    def _preload(self) -> TemplateProcesses:
        if self.templates is None:
            # Late, because most do without.
            from ..worker.immortal import make_all_immortal
            from .preload import TemplateProcesses

            self._orphans.adopt(self._known())
            self.templates = TemplateProcesses(self._wakeup, self._forker, self._heritage(), self._askings)
            # So templates go on sharing with us what we have imported; otherwise each would have its own copy.
            make_all_immortal()
        return self.templates

    def start(self, action: StartTemplate, now: float) -> None:
        """Fork a template."""
        templates = self._preload()
        if not self._orphans.adopt(set()):
            # What it forks would not become our child, and we would take it for a lie.
            self._tell(TemplateGone(action.template, "the system does not make processes whose parents are gone our children"))
            return
        for fact in templates.start(action, now):
            self._tell(fact)

    def end(self, action: EndTemplate) -> None:
        """Kill a template; it is reaped as workers are."""
        self._preload().end(action.template)

    def hear(self, template: int, now: float) -> list[Fact]:
        """What a template says."""
        return self._preload().hear(template, now)

    def attend(self) -> None:
        """Take in the workers that are there and of which the template has not said so."""
        self._askings.attend()

    def deadlines(self, now: float) -> list[float]:
        """When :meth:`attend` has something to do."""
        return self._askings.deadlines(now)

    def hear_asked(self, now: float, dead: Iterable[int]) -> list[Fact]:
        """What the templates say that owe a worker. ``dead`` are the pids that were reaped just now."""
        if self._askings.is_empty:
            return []
        facts: list[Fact] = []
        self._askings.dead = frozenset(dead)
        for template in [process.template for process in self.templates or ()]:
            facts += self.hear(template, now)
        if self._development is not None:
            facts += self._development.hear_asked(now)
        self._askings.dead = frozenset()
        return facts

    def exited(self, pid: int, cause: str, now: float) -> list[Fact]:
        """A child of ours that is no worker is gone; if it was a template, the fleet is told."""
        return self.templates.exited(pid, cause, now) if self.templates is not None else []

    def end_templates(self) -> None:
        """Before an upgrade: end all templates, also those that hang. The new program makes its own."""
        if self.templates is not None:
            for fact in self.templates.end_all():
                self._tell(fact)

    def close(self) -> None:
        """End all templates, and all workers that they forked and nobody knows."""
        self.end_templates()
        self._askings.close()

    # ---------------------------------------------------------------------------------------------------------------- logs

    def tell_level(self, message: bytes) -> None:
        """Pass on what concerns the level of the log: workers that are forked later must have it."""
        for process in self.templates or ():
            process.link.send(message)

    def reopen_logs(self, message: bytes, descriptors: Mapping[str, int]) -> None:
        """Pass on log files that were opened again."""
        for process in self.templates or ():
            process.link.send_fds(message, list(descriptors.values()))
