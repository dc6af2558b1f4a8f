"""Tricorn: a process supervisor and ASGI server.

The public Python API is what ``__all__`` names, and ``tricorn.hooks``, ``tricorn.logging`` and ``tricorn.gunicorn``. Names are
imported when they are used, because the command does not need them.
"""

from __future__ import annotations

import sys
from collections.abc import MutableSequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    import click

    from .config.logging_config import LOGGING_CONFIG
    from .embedding.config import Config
    from .embedding.run import run
    from .embedding.server import Server
    from .worker.current import current_worker

    main: click.Command

__all__ = ["LOGGING_CONFIG", "Config", "Server", "current_worker", "main", "run"]

_HOMES = {
    "Server": "embedding.server",
    "run": "embedding.run",
    "Config": "embedding.config",
    "current_worker": "worker.current",
    "LOGGING_CONFIG": "config.logging_config",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(f"tricorn.{_HOMES[name]}"), name)
    if name == "main":
        from .cli.main import build_command

        # The command for click. The console script is cli.main.main, which reports errors in one line.
        return build_command()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Package(ModuleType):
    """This package, which a program may put into ``sys.modules["uvicorn"]``.

    Nothing tells a module that this has happened. So the package checks when a program asks for something that differs then:
    its ``__path__``, which Python reads before it imports a submodule, and its version. For programs that do not ask for
    uvicorn's names, Python's import system stays as it was.
    """

    @property
    def __path__(self) -> MutableSequence[str]:  # type: ignore[override]  # the import system writes to the module's dictionary
        if sys.modules.get("uvicorn") is self:
            # Before the import below, which would come here again.
            del sys.modules["uvicorn"]
            from .compat.uvicorn_names import take_uvicorns_place

            take_uvicorns_place()
        path: MutableSequence[str] = vars(self)["__path__"]
        return path

    @property
    def __version__(self) -> str:
        if sys.modules.get("uvicorn") is self:
            # Programs compare it with uvicorn's versions.
            from .compat.uvicorn_names import UVICORN_VERSION

            return UVICORN_VERSION
        version: str = vars(self)["__version__"]
        return version


sys.modules[__name__].__class__ = _Package
