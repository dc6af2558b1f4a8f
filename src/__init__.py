"""Tricorn: a process supervisor and ASGI server.

The public Python API is what ``__all__`` names, with ``tricorn.hooks``, ``tricorn.logging`` and ``tricorn.gunicorn``. It is
imported when it is asked for: the command does not need it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

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


class _InUvicornsPlace:
    """Finds uvicorn's modules in a program that has put this package into ``sys.modules["uvicorn"]``, and in no other."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not name.startswith("uvicorn.") or sys.modules.get("uvicorn") not in (sys.modules[__name__], _stand_in()):
            return None
        from .uvicorn_names import find

        return find(name)


def _stand_in() -> Any:
    """What has taken this package's place in ``sys.modules["uvicorn"]``, if anything has."""
    names = sys.modules.get(f"{__name__}.uvicorn_names")
    return names.STAND_IN if names is not None else None


# First, or Python would look for them among this package's files.
sys.meta_path.insert(0, _InUvicornsPlace)
