"""Uvicorn's modules, for programs that put Tricorn into ``sys.modules["uvicorn"]``: they import Tricorn's objects.

Some modules of Tricorn have the same names and other contents (``tricorn.config`` holds the options). So ``sys.modules
["uvicorn"]`` becomes a module of its own, with the names of Tricorn's package and with uvicorn's modules. Tricorn's modules are
neither replaced nor loaded a second time.
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
"""The version of uvicorn whose names and behaviour we follow; programs read it as ``uvicorn.__version__``."""

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
        "run": "embedding.run",
        "Server": "embedding.server",
        "ServerState": "embedding.views",
        "Config": "embedding.config",
        "STARTUP_FAILURE": "errors:EXIT_STARTUP",
        "LOGGING_CONFIG": "config.logging_config",
        "main": ":main",
    },
    "server": {
        **dict.fromkeys(("Server", "HANDLED_SIGNALS"), "embedding.server"),
        "ServerState": "embedding.views",
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
"""The names in each module, each with Tricorn's module that has it, and its name there if that differs."""


class Names(ModuleType):
    """A module that fetches each attribute from its home when it is first used."""

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
    """What ``import uvicorn`` returns: the names of Tricorn, and uvicorn's modules as attributes."""

    def __init__(self) -> None:
        super().__init__("uvicorn", sys.modules[HOME].__doc__)
        self.__spec__ = ModuleSpec("uvicorn", None, is_package=True)
        self.__path__: list[str] = []
        self.__version__ = UVICORN_VERSION

    def __getattr__(self, name: str) -> Any:
        if name in MODULES and name != "main":
            # Tricorn's module of the same name has other contents.
            return importlib.import_module(f"uvicorn.{name}")
        return getattr(sys.modules[HOME], name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing the module ``main`` must not hide the command ``main``, as with uvicorn.
        if name != "main":
            super().__setattr__(name, value)


STAND_IN = Top()


class Loader:
    """Makes the modules of the table; there is nothing to execute."""

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        """The module that the table describes."""
        return Names(spec.name, MODULES[spec.name.removeprefix("uvicorn.")])

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Do nothing: the module is complete."""


class Finder:
    """Finds uvicorn's modules while the stand-in takes uvicorn's place."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of a module below ``uvicorn``. Raises ModuleNotFoundError if it has no stand-in."""
        if not name.startswith("uvicorn.") or sys.modules.get("uvicorn") is not STAND_IN:
            return None
        if name.removeprefix("uvicorn.") not in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r} in Tricorn, which stands in for uvicorn", name=name)
        return ModuleSpec(name, Loader(), is_package=True)  # type: ignore[arg-type]  # a loader by its methods


def take_uvicorns_place() -> None:
    """Let ``import uvicorn`` and imports of its modules find Tricorn from now on."""
    sys.modules["uvicorn"] = STAND_IN
    if Finder not in sys.meta_path:
        # Before the other finders, which would search Tricorn's files.
        sys.meta_path.insert(0, Finder)
