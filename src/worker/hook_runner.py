"""The hook runner: a process of its own that calls the hooks of the fleet, one after another.

It is not the supervisor, because that imports no code of the operator. It is no worker, because a worker does not see the
others. It imports the functions when the first call comes. By then a worker has imported them, and has reported any mistake.
"""

from __future__ import annotations

import asyncio
import inspect
import select
import socket
from collections.abc import Awaitable
from typing import Any

from ..config.options import Config
from ..errors import AppError
from ..hooks import IN_RUNNER, Fleet
from ..ipc import channel
from ..ipc.channel import Shape, names, number, text, whole
from ..logs import orders
from . import hooks
from .main import watch_lifeline

END = "end"
"""To the runner: there will be no more calls."""
_OF_FLEET = Shape({"pid": whole, "size": whole, "generation": whole, "addresses": names})
_OF_WORKER = Shape({"slot": whole, "pid": whole, "generation": whole, "exit_code": number, "cause": text})
HEARS: channel.Table = {
    END: Shape(),
    **orders.TABLE,
    **{hook: _OF_FLEET if kind is Fleet else _OF_WORKER for hook, kind in IN_RUNNER.items()},
}


class HookRunner:
    """Calls hooks as the supervisor asks for them."""

    def __init__(self, config: Config, link: socket.socket) -> None:
        self._config = config
        self._link = link
        self._log = orders.LogOrders(link)
        self._functions: dict[str, hooks.Function] | None = None
        # One loop for all calls, so that a hook may keep objects that belong to the loop, such as a client's connection.
        self._asyncio = asyncio.Runner()

    def run(self) -> int:
        """Call the hooks that the supervisor asks for, until it says that no more will come; returns the exit code."""
        decoder = channel.Decoder(HEARS)
        with self._asyncio:
            while data := self._receive():
                for message in decoder.feed(data):
                    if message["kind"] == END:
                        return 0
                    if not self._log.obey(message):
                        self._call(message.pop("kind"), message)
        return 0

    def _receive(self) -> bytes:
        """What the supervisor says next; empty if it is gone."""
        # watch_lifeline has made the channel non-blocking.
        select.select([self._link], [], [])
        try:
            return self._log.read()
        except ConnectionResetError:
            return b""

    def _call(self, hook: str, details: dict[str, Any]) -> None:
        if self._functions is None:
            try:
                self._functions = hooks.load(self._config)
            except AppError as error:
                hooks.logger.error("%s", error)
                return
        function = self._functions.get(hook)
        if function is None:
            return
        kind = IN_RUNNER[hook]
        if kind is Fleet:
            details["addresses"] = tuple(details["addresses"])
        try:
            value = function(kind(**details))
            if inspect.isawaitable(value):
                self._asyncio.run(_wait(value))
        except (Exception, SystemExit) as error:
            hooks.tell_failure(self._config.hooks, hook, error)


async def _wait(value: Awaitable[Any]) -> None:
    await value


def main(config: Config, link: socket.socket) -> int:
    """The hook runner's process, from fork to exit code."""
    # A hook that hangs must not outlive the supervisor.
    watch_lifeline(link)
    return HookRunner(config, link).run()
