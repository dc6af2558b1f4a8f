"""Whose fault it is: one class for each party, and what follows for it. Anything else that is raised is Tricorn's own bug."""

from __future__ import annotations


class TricornError(Exception):
    """A mistake of somebody outside Tricorn. Its text is for that somebody to read."""


class ConfigError(TricornError):
    """A mistake of the operator: one line that names the option, the value and the cause.

    ``exit_code`` is what the command exits with: 2 for bad usage, 1 in subclasses for what fails at run time.
    """

    exit_code = 2


class AppError(TricornError):
    """The application's fault: it can't be loaded or started, or it broke the ASGI specification. The text says how.

    ``exit_code`` is what the command exits with when no worker can start because of it.
    """

    exit_code = 3


class BadRequest(TricornError):
    """The client's fault: ``status`` (400, 413, 414, 417, 431, 501, 505) and ``reason``, one line for the response's body."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
