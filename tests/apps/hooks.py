"""Hooks that write down what they were called with and where, in the file $HOOKS_TOLD, as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict
from typing import Any


def tell(hook: str, given: Any) -> None:
    modules = sorted(name for name in ("tests.apps.probe", "tests.apps.hooks") if name in sys.modules)
    line = json.dumps({"hook": hook, "in": os.getpid(), "modules": modules, **asdict(given)})
    with open(os.environ["HOOKS_TOLD"], "a") as file:
        file.write(line + "\n")


class All:
    def on_worker_start(self, worker: Any) -> None:
        tell("on_worker_start", worker)

    async def on_worker_ready(self, worker: Any) -> None:
        await asyncio.sleep(0)
        tell("on_worker_ready", worker)

    async def on_worker_stop(self, worker: Any) -> None:
        tell("on_worker_stop", worker)

    def on_worker_exit(self, worker: Any) -> None:
        tell("on_worker_exit", worker)

    async def on_fleet_ready(self, fleet: Any) -> None:
        await asyncio.sleep(0)
        self.ready = asyncio.get_running_loop()
        tell("on_fleet_ready", fleet)

    def on_fleet_reloaded(self, fleet: Any) -> None:
        tell("on_fleet_reloaded", fleet)

    async def on_fleet_stopping(self, fleet: Any) -> None:
        # The loop is one for all, unless a reload was in between.
        assert getattr(self, "ready", None) in (None, asyncio.get_running_loop())
        tell("on_fleet_stopping", fleet)

    def on_fleet_stopped(self, fleet: Any) -> None:
        tell("on_fleet_stopped", fleet)


class Raises:
    def on_worker_ready(self, worker: Any) -> None:
        raise LookupError("of the worker")

    def on_fleet_ready(self, fleet: Any) -> None:
        raise LookupError("of the fleet")

    def on_fleet_stopping(self, fleet: Any) -> None:
        tell("on_fleet_stopping", fleet)

    def on_fleet_stopped(self, fleet: Any) -> None:
        raise LookupError("of the end")


class RaisesAtStart:
    def on_worker_start(self, worker: Any) -> None:
        raise LookupError("no licence")


class Dies:
    def on_fleet_ready(self, fleet: Any) -> None:
        tell("on_fleet_ready", fleet)
        os._exit(9)

    def on_fleet_stopping(self, fleet: Any) -> None:
        tell("on_fleet_stopping", fleet)


class Hangs:
    def on_fleet_ready(self, fleet: Any) -> None:
        tell("on_fleet_ready", fleet)

    def on_fleet_stopped(self, fleet: Any) -> None:
        tell("on_fleet_stopped", fleet)
        while True:
            time.sleep(1)


class HangsInTheMiddle:
    def on_fleet_ready(self, fleet: Any) -> None:
        tell("on_fleet_ready", fleet)
        while True:
            time.sleep(1)

    def on_fleet_reloaded(self, fleet: Any) -> None:
        tell("on_fleet_reloaded", fleet)


class Unknown:
    def on_worker_redy(self, worker: Any) -> None:
        """Misspelt."""


class AsyncStart:
    async def on_worker_start(self, worker: Any) -> None:
        """There is no loop."""


class TooFew:
    def on_fleet_ready(self) -> None:
        """Takes nothing."""


class NotCallable:
    on_fleet_ready = "soon"


class NeedsMore:
    def __init__(self, address: str) -> None:
        """Can't be made without."""


class Exits:
    def __init__(self) -> None:
        sys.exit("no licence")


class RaisesWhenLookedUp:
    @property
    def on_fleet_ready(self) -> None:
        raise LookupError("no licence")


nothing = object()
