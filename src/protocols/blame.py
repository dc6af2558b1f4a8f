"""The error log's line for an application that fails, written once for all protocols."""

from __future__ import annotations

import logging

from .asgi import AppError, ClientDisconnected

logger = logging.getLogger("tricorn.error")


def report(error: Exception, what: str, gone: bool) -> None:
    """Log the application's ``error`` in the exchange ``what`` (such as ``GET /``).

    ``gone``: the client has left; then our own word that it has, come back as an exception, is nobody's fault.
    """
    cause: BaseException | None = error
    while cause is not None and gone:
        if isinstance(cause, ClientDisconnected):
            return
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, AppError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
        logger.error("%s: %s", what, error)
    else:
        logger.error("Exception in ASGI application: %s", what, exc_info=error)
