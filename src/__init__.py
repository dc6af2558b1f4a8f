"""Tricorn: a process supervisor and ASGI server.

The public Python API is what ``__all__`` names. It is imported when it is asked for: the command does not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click

    from .api import Server, run
    from .api_config import Config
    from .logging_config import LOGGING_CONFIG

    main: click.Command

__version__ = "0.1.0"
__all__ = ["LOGGING_CONFIG", "Config", "Server", "main", "run"]

_HOMES = {"Server": "api", "run": "api", "Config": "api_config", "LOGGING_CONFIG": "logging_config"}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(f"tricorn.{_HOMES[name]}"), name)
    if name == "main":
        from .cli import build_command

        # The command as click has it; the console script is cli.main, which says errors in one line.
        return build_command()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
