"""The hook runner: a process of its own that calls the hooks of the fleet, one after another.

The supervisor imports nothing of the operator's, and no worker sees all the others; so it is neither. The functions are
imported when the first of them is to be called: by then a worker has imported them, and said what is wrong with them if
anything is.
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
from ..logs import files as log_files
from ..logs import setup as logs
from . import hooks
from .main import watch_lifeline

END = "end"
"""To the runner: there is nothing more to come."""
_OF_FLEET = Shape({"pid": whole, "size": whole, "generation": whole, "addresses": names})
_OF_WORKER = Shape({"slot": whole, "pid": whole, "generation": whole, "exit_code": number, "cause": text})
HEARS: channel.Table = {
    END: Shape(),
    channel.REOPEN: channel.TO_WORKER[channel.REOPEN],
    **{hook: _OF_FLEET if kind is Fleet else _OF_WORKER for hook, kind in IN_RUNNER.items()},
}


class HookRunner:
    def __init__(self, config: Config, link: socket.socket) -> None:
        self._config = config
        self._link = link
        self._received: list[int] = []
        """Descriptors that came with a message."""
        self._functions: dict[str, hooks.Function] | None = None
        # The same loop for all calls, so that a hook may keep what belongs to it, such as a client's connection.
        self._asyncio = asyncio.Runner()

    def run(self) -> int:
        """Call what the supervisor asks for, until it asks for nothing any more; returns the exit code."""
        decoder = channel.Decoder(HEARS)
        with self._asyncio:
            while data := self._receive():
                for message in decoder.feed(data):
                    if message["kind"] == END:
                        return 0
                    if message["kind"] == channel.REOPEN:
                        logs.adopt(dict(zip(message["files"], self._received, strict=False)))
                        self._received.clear()
                        continue
                    self._call(message.pop("kind"), message)
        return 0

    def _receive(self) -> bytes:
        """What the supervisor says next; nothing if it is gone."""
        # The channel is non-blocking since its end is watched for.
        select.select([self._link], [], [])
        try:
            data, descriptors, _, _ = socket.recv_fds(self._link, 65536, log_files.MAX_FILES)
        except ConnectionResetError:
            return b""
        self._received += descriptors
        return data

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
    """The process, from fork to exit code."""
    # A hook that hangs must not outlive the supervisor for ever.
    watch_lifeline(link)
    return HookRunner(config, link).run()
