"""Calls the application for one request or WebSocket, and logs its errors."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from ..errors import AppError
from .asgi import ClientDisconnected, Message, Scope
from .context import Service, Work

logger = logging.getLogger("tricorn.error")


class Conversation(Work, Protocol):
    """What an application is called with: an exchange or a session."""

    scope: Scope

    async def receive(self) -> Message:
        """The next message for the application (ASGI's ``receive``)."""

    async def send(self, message: Message) -> None:
        """Take a message of the application (ASGI's ``send``). Raises AppError for a wrong one."""

    @property
    def is_over(self) -> bool:
        """Whether the application may fail now: the client has left, or the server has cancelled the application."""

    @property
    def is_complete(self) -> bool:
        """Whether the application has sent all that it has to."""

    def returned(self) -> Exception | None:
        """The application has returned too soon: what is missing, if it is the application's fault."""

    def abandon(self) -> None:
        """The application has failed: end in the way that is left."""


async def converse(service: Service, conversation: Conversation) -> None:
    """The application's life for one request or WebSocket. What it raises is logged, and goes no further."""
    app = service.app
    try:
        result = await app(conversation.scope, conversation.receive, conversation.send)  # type: ignore[func-returns-value]
        if result is not None:
            raise AppError(f"the application returned {result!r}; an ASGI application returns None")
        # Asked first, because the call is 0.3 % of a request.
        if not conversation.is_complete and (fault := conversation.returned()) is not None:
            try:
                raise fault
            finally:
                # It refers to this frame: a cycle, which would keep the conversation until garbage is collected.
                del fault
    except BaseException as error:
        # Also what would end the process, such as SystemExit: it belongs to this request, and other clients are served on.
        if is_torn_down(error):
            raise
        _report(error, conversation)
        conversation.abandon()
    finally:
        end = service.end
        end(conversation)


def _report(error: BaseException, conversation: Conversation) -> None:
    """Log ``error``. If the conversation is over, a cancellation and our own ClientDisconnected are expected, and not
    logged."""
    is_over = conversation.is_over
    if is_over and isinstance(error, asyncio.CancelledError):
        return
    cause: BaseException | None = error
    while cause is not None and is_over:
        if isinstance(cause, ClientDisconnected):
            return
        cause = cause.__cause__ or cause.__context__
    what = conversation.describe()
    if isinstance(error, AppError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
        logger.error("%s: %s", what, error)
    else:
        logger.error("Exception in ASGI application: %s", what, exc_info=error)


def is_torn_down(error: BaseException) -> bool:
    """Whether the interpreter closes a coroutine that its event loop has left behind: then there is nothing left to tell."""
    if not isinstance(error, GeneratorExit):
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False
