"""Carries an upgrade out: the last observer of each decision, so that all others have been told when we leave."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...config.frozen import replace
from ...errors import ConfigError
from ...version import __version__
from ..answers import DONE, FAILED
from ..messages import Answer, Fact
from ..orders import Upgrade
from ..own_descriptors import OwnDescriptors
from ..phases import RUNNING
from ..snapshot import Snapshot
from .course import Course, Phase, Step, following
from .parts import Parts

if TYPE_CHECKING:
    from ..origin import Start
    from .arrival import Arrival
    from .preflight import Preflight

logger = logging.getLogger("tricorn.error")

LATE = [f"tricorn.supervisor.upgrade.{name}" for name in ("departure", "preflight", "trust")]
LATE += ["tricorn.supervisor.control.workers", "tricorn.metrics.processes"]
"""Modules that an upgrade, or a client of the control socket, needs; they must be ours, not those that were installed since."""


class Upgrader:
    """Upgrades a supervisor of these ``parts``, which was started by ``origin``. ``arrival``: the upgrade that has made it."""

    def __init__(self, parts: Parts, origin: Start | None, own: OwnDescriptors, arrival: Arrival | None) -> None:
        self.due: float | None = None
        """When a check has taken too long, or when there is something to tell."""
        self._parts = parts
        self._origin = origin
        self._own = own
        self._course = Course()
        self._preflight: Preflight | None = None
        self._arrival = arrival
        """Until those that wait for it were told."""
        if arrival is not None:
            self.due = parts.host.now()

    def take(self, facts: list[Fact]) -> list[Fact]:
        """``facts`` without the orders to upgrade; those that come after an order to stop are the fleet's to refuse."""
        found = [fact for fact in facts if isinstance(fact, Upgrade)]
        if self._parts.fleet.stage in RUNNING:
            for order in found:
                self._ask(order)
            facts = [fact for fact in facts if not isinstance(fact, Upgrade)]
        if self._arrival is not None:
            facts = [*self._tell_arrived(self._arrival), *facts]
            self._arrival = None
        return facts

    def look(self, snapshot: Snapshot, now: float) -> None:
        """Do what is to be done now."""
        if self._preflight is not None:
            self._look_at_check(self._preflight, now)
        match self._course.next(snapshot, self._parts.host.is_quiet):
            case Step.CHECK:
                self._check()
            case Step.LEAVE:
                self._leave()
            case Step.CALL_OFF:
                self._fail("the server stops", "")
        self.due = self._preflight.due if self._preflight is not None else None
        if self._arrival is not None or self._parts.notifier.is_upgrading != (self._course.phase is not Phase.IDLE):
            # It is told at the next decision.
            self._parts.notifier.is_upgrading = self._course.phase is not Phase.IDLE
            self.due = now

    # ------------------------------------------------------------------------------------------------------------- before

    def _ask(self, order: Upgrade) -> None:
        if self._course.phase is Phase.IDLE:
            logger.info("Upgrade: checking what is installed now")
        self._course.ask(order)
        self._parts.notifier.is_upgrading = True

    def _check(self) -> None:
        """Begin the check, if there is any chance."""
        parts = self._parts
        try:
            # Late, because most supervisors are never upgraded.
            from . import departure as departure
            from .preflight import Preflight
            from .trust import check_trust

            if not hasattr(os, "memfd_create"):
                raise ConfigError("this system can't hand memory over to another program (memfd_create); restart the server")
            if parts.config.reload:
                raise ConfigError("with --reload there is none; restart the server")
            if self._origin is None:
                raise ConfigError("it is not known how the server was started")
            command, around = self._origin.command(), self._origin.surroundings()
            check_trust(parts.identity, command, around)
            # What the application writes at its import does not belong among the metrics of the workers.
            environ = {name: value for name, value in around.environ.items() if value != parts.app_metrics}
            around = replace(around, environ=environ)
            seconds = parts.fleet.wanted.settled.config.timeout_worker_startup
            self._preflight = Preflight(parts.host, self._own, command, around, self._state(), seconds)
        except ImportError as error:
            self._fail(f"our own files were replaced before they were loaded ({error}); restart the server", "")
        except Exception as error:
            self._fail(self._describe(error), "")

    @staticmethod
    def _describe(error: Exception) -> str:
        """Why there is no upgrade. If that is neither the operator's nor the system's fault, it is our bug: log where it is."""
        if isinstance(error, ConfigError):
            return str(error)
        if isinstance(error, OSError):
            return error.strerror or repr(error)
        logger.error("Upgrade: an error of ours", exc_info=error)
        return repr(error)

    def _look_at_check(self, preflight: Preflight, now: float) -> None:
        preflight.look(now)
        if (outcome := preflight.outcome) is None:
            return
        self._preflight = None
        if outcome.error:
            self._fail(outcome.error, outcome.text)
        else:
            logger.info("Upgrade: Tricorn %s on Python %s can take over", outcome.tricorn, outcome.python)
            self._course.checked()

    def _fail(self, error: str, text: str) -> None:
        """Tell that nothing is upgraded, because of ``error``; ``text`` says more."""
        preflight, self._preflight = self._preflight, None
        if preflight is not None:
            preflight.call_off()
        tickets = self._course.end()
        logger.error("Upgrade refused: %s; Tricorn %s goes on", error, __version__)
        for ticket in tickets:
            self._parts.host.perform(Answer(ticket, FAILED, {"error": text or error, "tricorn": __version__}))

    def _state(self) -> dict[str, Any]:
        assert self._origin is not None
        orders = [[order.reload, order.ticket] for order in self._course.orders]
        origin = self._origin
        command, earlier, directory = origin.command(), origin.earlier(), origin.surroundings().directory
        commands = {"command": command.state(), "earlier": earlier.state(), "directory": directory}
        return {**self._parts.state(), **commands, "orders": orders}

    def _leave(self) -> None:
        from .departure import leave

        assert self._origin is not None
        parts, host = self._parts, self._parts.host
        parts.notify_socket.allow_silence()
        held = host.wakeup.hold()
        try:
            command, around = self._origin.command(), self._origin.surroundings()
            environ = {**around.environ, **parts.notify_socket.variables}
            state = self._state()
            state["processes"]["wakeup"] = held
            logger.info("Upgrade: executing %s", " ".join(command.arguments))
            host.sources.end_templates()
            leave(state, command, replace(around, environ=environ))
        except Exception as error:
            host.wakeup.listen(held)
            parts.notify_socket.allow_silence(False)
            self._fail(f"it can't be executed: {self._describe(error)}", "")

    # -------------------------------------------------------------------------------------------------------------- after

    def _tell_arrived(self, arrival: Arrival) -> list[Fact]:
        """Answer those that wait for the upgrade; returns the orders that answer the others."""
        self._parts.notify_socket.allow_silence(False)
        state: Mapping[str, Any] = arrival.state
        orders = [Upgrade(reload, ticket) for reload, ticket in state["orders"]]
        if arrival.failure:
            error = f"Tricorn {state['tricorn']} goes on, because the new one can't take over: {arrival.failure}"
            for order in orders:
                if order.ticket is not None:
                    self._parts.host.perform(Answer(order.ticket, FAILED, {"error": error, "tricorn": __version__}))
            return []
        at_once, reloads = following(orders)
        for ticket in at_once:
            self._parts.host.perform(Answer(ticket, DONE, {"tricorn": __version__, "before": state["tricorn"]}))
        return [*reloads]
