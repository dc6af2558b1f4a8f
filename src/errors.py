"""Whose fault an error is: a class for each party, and the exit codes. Any other exception is our own bug."""

from __future__ import annotations

EXIT_FAILED = 1
"""The system refuses something: an address in use, a file that may not be read, a supervisor that was killed."""
EXIT_USAGE = 2
"""The settings are wrong."""
EXIT_STARTUP = 3
"""The application can't be loaded or started. Uvicorn exits with the same code."""
EXIT_CRASHES = 4
"""More workers crashed than ``--limit-crashes`` allows."""
EXIT_BUG = 70
"""The code of a forked process raised an exception that it did not expect (EX_SOFTWARE of sysexits.h)."""
EXIT_INTERRUPTED = 130
"""Ctrl-C came before anything was served; a shell uses this code for SIGINT."""


class TricornError(Exception):
    """A mistake that is not Tricorn's. The text is written for the party that made it."""


class ConfigError(TricornError):
    """The operator's mistake: one line that names the option, the value and the cause."""

    exit_code = EXIT_USAGE
    """What the command exits with."""


class SystemRefused(ConfigError):
    """The settings may be right, but the operating system does not allow what they ask for."""

    exit_code = EXIT_FAILED


class AppError(TricornError):
    """The application's fault: it can't be loaded or started, or it broke the ASGI specification. The text says how."""

    exit_code = EXIT_STARTUP
    """What the command exits with if no worker can start because of it."""


class BadRequest(TricornError):
    """The client's fault.

    ``status`` is the response's: 400, 413, 414, 417, 431, 501 or 505. ``reason`` is one line for its body.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
