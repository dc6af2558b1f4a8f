"""Uvicorn's modules, for programs in which ``sys.modules["uvicorn"]`` is Tricorn: what they import is Tricorn's.

Modules of Tricorn with the same names mean something else here (``tricorn.config`` is the home of the options). So they are
neither loaded once more under uvicorn's names nor replaced: ``sys.modules["uvicorn"]`` becomes a module of its own, which has
all that Tricorn has and uvicorn's modules.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

HOME = (__package__ or "tricorn.compat").partition(".")[0]
UVICORN_VERSION = "0.54.0"
"""Of the uvicorn whose names and behaviour we have: what programs read as ``uvicorn.__version__``."""

MODULES: Mapping[str, Mapping[str, str]] = {
    "config": {
        "Config": "embedding.config",
        "STARTUP_FAILURE": "errors:EXIT_STARTUP",
        **dict.fromkeys(("INTERFACES", "HTTP_PROTOCOLS", "WS_PROTOCOLS", "LIFESPAN", "LOOP_FACTORIES"), "compat.uvicorn_parts"),
        "LOGGING_CONFIG": "config.logging_config",
        "LOG_LEVELS": "logs.setup:LEVELS",
        "TRACE_LOG_LEVEL": "logging",
    },
    "main": {
        **dict.fromkeys(("run", "Server", "ServerState"), "embedding.server"),
        "Config": "embedding.config",
        "STARTUP_FAILURE": "errors:EXIT_STARTUP",
        "LOGGING_CONFIG": "config.logging_config",
        "main": ":main",
    },
    "server": {
        **dict.fromkeys(("Server", "ServerState", "HANDLED_SIGNALS"), "embedding.server"),
        "Config": "embedding.config",
    },
    "logging": dict.fromkeys(
        ("DefaultFormatter", "AccessFormatter", "ColourizedFormatter", "TRACE_LOG_LEVEL"),
        "logging",
    ),
    "importer": dict.fromkeys(("import_from_string", "ImportFromStringError"), "compat.uvicorn_parts"),
    "supervisors": {"Multiprocess": "compat.uvicorn_parts", "ChangeReload": "compat.uvicorn_parts:Multiprocess"},
    "supervisors.multiprocess": {"Multiprocess": "compat.uvicorn_parts"},
    "workers": dict.fromkeys(("UvicornWorker", "UvicornH11Worker"), "gunicorn:TricornWorker"),
    "lifespan": {},
    "lifespan.on": {"LifespanOn": "embedding.lifespan"},
    "lifespan.off": {"LifespanOff": "embedding.lifespan"},
    "loops": {},
    **{f"loops.{loop}": {f"{loop}_loop_factory": "compat.uvicorn_parts"} for loop in ("auto", "asyncio", "uvloop")},
    "middleware": {},
    "middleware.proxy_headers": {"ProxyHeadersMiddleware": "compat.uvicorn_parts"},
    "middleware.asgi2": {"ASGI2Middleware": "worker.interfaces:Asgi2"},
    "protocols": {},
    "protocols.utils": {
        **dict.fromkeys(("get_client_addr", "get_path_with_query_string"), "compat.uvicorn_parts"),
        "ClientDisconnected": "protocols.asgi",
    },
    "_types": {
        **dict.fromkeys(("ASGIApplication", "ASGI3Application"), "protocols.asgi:Application"),
        **dict.fromkeys(("Scope", "WWWScope", "HTTPScope", "WebSocketScope"), "protocols.asgi:Scope"),
        "ASGIReceiveCallable": "protocols.asgi:Receive",
        "ASGISendCallable": "protocols.asgi:Send",
    },
}
"""What each module has, and Tricorn's module where that is, with its name there if it is another."""


class Names(ModuleType):
    """A module whose attributes are fetched from their homes when they are asked for."""

    def __init__(self, name: str, homes: Mapping[str, str]) -> None:
        super().__init__(name, f"Stands in for uvicorn's module {name}.")
        self.__path__: list[str] = []
        self._homes = homes

    def __getattr__(self, name: str) -> Any:
        if name not in self._homes:
            raise AttributeError(f"module {self.__name__!r}, for which Tricorn stands in, has no attribute {name!r} here")
        home, _, attribute = self._homes[name].partition(":")
        module = importlib.import_module(f"{HOME}.{home}".rstrip("."))
        return getattr(module, attribute or name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._homes]


class Top(ModuleType):
    """What ``import uvicorn`` gives from then on: Tricorn, with uvicorn's modules as attributes."""

    def __init__(self) -> None:
        super().__init__("uvicorn", sys.modules[HOME].__doc__)
        self.__spec__ = ModuleSpec("uvicorn", None, is_package=True)
        self.__path__: list[str] = []
        self.__version__ = UVICORN_VERSION

    def __getattr__(self, name: str) -> Any:
        if name in MODULES and name != "main":
            # Not Tricorn's of the same name.
            return importlib.import_module(f"uvicorn.{name}")
        return getattr(sys.modules[HOME], name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Imported, the module of that name would hide the command, as it does not with uvicorn.
        if name != "main":
            super().__setattr__(name, value)


STAND_IN = Top()


class Loader:
    """Gives the modules of the table; there is nothing to execute."""

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        return Names(spec.name, MODULES[spec.name.removeprefix("uvicorn.")])

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """All it has is there."""


class Finder:
    """Finds uvicorn's modules while the stand-in is in its place."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of a module below ``uvicorn``. Raises ModuleNotFoundError if it has no stand-in."""
        if not name.startswith("uvicorn.") or sys.modules.get("uvicorn") is not STAND_IN:
            return None
        if name.removeprefix("uvicorn.") not in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r} in Tricorn, which stands in for uvicorn", name=name)
        return ModuleSpec(name, Loader(), is_package=True)  # type: ignore[arg-type]  # a loader by its methods


def take_uvicorns_place() -> None:
    """Let ``import uvicorn``, and all imports below it, find Tricorn from now on."""
    sys.modules["uvicorn"] = STAND_IN
    if Finder not in sys.meta_path:
        # First, or Python would look for them among Tricorn's files.
        sys.meta_path.insert(0, Finder)
