"""The error log's line for an application that fails, written once for all protocols."""

from __future__ import annotations

import asyncio
import logging

from ..errors import AppError
from .asgi import ClientDisconnected

logger = logging.getLogger("tricorn.error")


def report(error: BaseException, what: str, gone: bool) -> None:
    """Log the application's ``error`` in the exchange ``what`` (such as ``GET /``).

    ``gone``: the client has left, or the server has cancelled the exchange. Then a cancellation, and our own word that the
    client has left, come back as an exception, are expected.
    """
    if gone and isinstance(error, asyncio.CancelledError):
        return
    cause: BaseException | None = error
    while cause is not None and gone:
        if isinstance(cause, ClientDisconnected):
            return
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, AppError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
        logger.error("%s: %s", what, error)
    else:
        logger.error("Exception in ASGI application: %s", what, exc_info=error)


def is_torn_down(error: BaseException) -> bool:
    """Whether the interpreter closes a coroutine that its event loop has left behind: then nobody is there to be told."""
    if not isinstance(error, GeneratorExit):
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False
