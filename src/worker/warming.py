"""``--warm-path``: a worker asks its own application before it serves, so that no client meets a cold or a broken one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from ..errors import AppError
from ..protocols.asgi import Message, Scope
from ..protocols.context import Service
from ..protocols.facts import Facts
from ..protocols.request import RequestHead, split_target
from ..protocols.scope import connection_scope, request_scope
from .loader import trimmed
from .places import place_of

logger = logging.getLogger("tricorn.error")

HEADERS = ((b"host", b"localhost"), (b"user-agent", b"tricorn"), (b"accept", b"*/*"), (b"x-tricorn-warm", b"1"))
"""The headers of these requests. The last one, and the client None in the scope, tell the application what they are."""
FAILURE = 500
"""Responses from this status on are failures. Below, the application works: a path may well want a user."""
MISTAKE = 400
"""Responses from this status on are worth a warning: perhaps the path is wrong."""
LEAST = 0.1
"""Seconds that a path gets at least, if the import has used up the start-up time but the supervisor still waits."""


class Asked:
    """One request that a worker makes of its own application: it keeps the status, and drops the body."""

    def __init__(self, path: str) -> None:
        self.status = 0
        """0 before the response has begun."""
        self._path = path
        self._is_over = asyncio.Event()
        self._has_asked = False

    def scope(self, service: Service) -> Scope:
        """What the application is called with."""
        target = self._path.encode("ascii")
        base, _ = connection_scope(service, Facts(client=None, server=("localhost", None)))
        return request_scope(service, base, RequestHead("GET", target, split_target(target), HEADERS))

    async def receive(self) -> Message:
        """The empty body; then http.disconnect, when the response is complete."""
        if not self._has_asked:
            self._has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._is_over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take what a response consists of (ASGI HTTP specification 2.3)."""
        kind = message["type"]
        # So the time-out also ends a response that never waits for anything else.
        await asyncio.sleep(0)
        if kind == "http.response.start":
            self.status = message["status"]
        elif kind == "http.response.pathsend" or (kind == "http.response.body" and not message.get("more_body", False)):
            self._is_over.set()

    @property
    def is_answered(self) -> bool:
        """Whether the response is complete."""
        return self._is_over.is_set()


async def warm_up(service: Service, paths: Sequence[str], seconds: float) -> None:
    """Ask the application for ``paths``, one after the other, within ``seconds`` in all.

    Raises AppError if the application raises, answers with a status of 500 or more, or is not done in time.
    """
    end = time.monotonic() + seconds
    for path in paths:
        began = time.monotonic()
        status = await _ask(service, path, max(LEAST, end - began))
        took = (time.monotonic() - began) * 1000
        level = logging.WARNING if status >= MISTAKE else logging.DEBUG
        logger.log(level, "--warm-path %s: answered %d in %.0f ms", path, status, took)


async def _ask(service: Service, path: str, seconds: float) -> int:
    """The status of the answer. Raises AppError as :func:`warm_up`."""
    what, asked = f"--warm-path {path}", Asked(path)
    context = service.clean_context()
    # A task of its own, in the context that a client's request would have.
    task = service.loop.create_task(_call(service, asked), name="tricorn warm path", context=context)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        where = place_of(task)
        task.cancel()
        raise AppError(f"{what}: no answer within --timeout-worker-startup{f', it waits at {where}' if where else ''}")
    if task.cancelled():
        raise AppError(f"{what}: the application cancelled the request")
    if (error := task.exception()) is not None:
        failure = AppError(f"{what}: the application failed\n{trimmed(error)}")
        failure.__context__ = error
        raise failure
    if not asked.is_answered:
        raise AppError(f"{what}: the application returned without completing its response")
    if asked.status >= FAILURE:
        raise AppError(f"{what}: the application answered {asked.status}")
    return asked.status


async def _call(service: Service, asked: Asked) -> None:
    try:
        await service.app(asked.scope(service), asked.receive, asked.send)
    except (SystemExit, KeyboardInterrupt) as error:
        # Out of a task, these would end the event loop.
        raise AppError(f"the application raised {type(error).__name__}") from error
