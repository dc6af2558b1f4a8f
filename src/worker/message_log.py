"""``--log-level trace``: logs every ASGI message that an application receives and sends, in uvicorn's format."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import count
from typing import Any

from ..logging import TRACE_LOG_LEVEL as TRACE
from ..protocols.asgi import Application, Message, Receive, Scope, Send

logger = logging.getLogger("tricorn.asgi")


def is_wanted() -> bool:
    """Whether the logger's level asks for these lines."""
    return logger.isEnabledFor(TRACE)


class MessageLog:
    """Runs ``app`` and logs its scopes and messages. Contents are left out: they may be long or secret."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        whose = f"{client[0]}:{client[1]} - " if client else ""
        prefix = f"{whose}{scope['type'].upper()} ASGI [{next(self._numbers)}]"

        async def logged_receive() -> Message:
            message = await receive()
            logger.log(TRACE, "%s Receive %s", prefix, shown(message))
            return message

        async def logged_send(message: Message) -> None:
            logger.log(TRACE, "%s Send %s", prefix, shown(message))
            await send(message)

        logger.log(TRACE, "%s Started scope=%s", prefix, shown(scope))
        try:
            await self._app(scope, logged_receive, logged_send)
        except BaseException:
            logger.log(TRACE, "%s Raised exception", prefix)
            raise
        logger.log(TRACE, "%s Completed", prefix)


def shown(message: Mapping[str, Any]) -> dict[str, Any]:
    """A scope or message as it is logged: bodies only by their length, headers and state not at all."""
    return {name: _placeholder(name, value) for name, value in message.items()}


def _placeholder(name: str, value: Any) -> Any:
    if name in ("headers", "state"):
        return "<...>"
    if name in ("body", "bytes", "text") and value is not None:
        return f"<{len(value)} {'chars' if isinstance(value, str) else 'bytes'}>"
    return value
