"""Keeps the code of modules that requests may need later, in memory that all workers of a server share.

A worker starts with the modules that its first answer needs, and most workers never need the others: HTTP/2, WebSocket, h11.
These must not wait on the disk for the request that needs them: a deploy may replace or delete the installed packages under a
running server. Then that request would find no module, or another version. Imported in advance, they would cost each worker
5 MB, two fifths of what it takes, and some 60 ms.

So the supervisor reads their code once, without making objects of it, and workers import them from there.
"""

from __future__ import annotations

import logging
import marshal
import mmap
import pkgutil
import struct
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import ModuleType

from ..config.options import Config

logger = logging.getLogger("tricorn.error")

SIZE = 4 * 1024 * 1024
"""Bytes of the memory, of which only those that are written take any."""
_LENGTH = struct.Struct("=Q")

Entry = tuple[str | None, list[str] | None, int, int]
"""Of a module: its file, where the modules of the package lie (None if it is none), and where its code begins and ends."""


def names(config: Config) -> list[str]:
    """The modules and packages that requests may need later. Importing all that is named imports them all."""
    found = ["tricorn.protocols.http1.grammar"]
    if config.report_stalls or config.timeout_request is not None:
        found += ["tricorn.worker.modules"]
    if config.drain_over:
        found += ["tricorn.worker.parting"]
    if config.http != "httptools":
        found += ["h11", "tricorn.protocols.http1.h11_codec"]
    if config.http2:
        found += ["tricorn.protocols.http2", "tricorn.protocols.http2.connection", "tricorn.protocols.http2.tunnel"]
    if config.proxy_protocol:
        found += ["tricorn.protocols.proxy", "tricorn.protocols.proxy.protocol"]
    if config.ws != "none" and config.interface != "wsgi":
        found += ["h11", "wsproto", "tricorn.protocols.websocket", "tricorn.worker.websocket"]
        if config.ws.startswith("websockets"):
            found += ["websockets"]
    return found


def import_now(name: str) -> None:
    """Import the module. If that fails, what needs the module fails with the same error."""
    try:
        import_module(name)
    except Exception as error:
        logger.debug("Importing %s fails: %s: %s", name, type(error).__name__, error)


class KeptModules:
    """The memory. The supervisor makes it before its first fork, and fills it once; workers import from it, if they like.

    It is a finder and a loader for :data:`sys.meta_path`. While it is empty, it finds nothing.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)
        self._index: dict[str, Entry] = {}

    def fill(self, codes: Sequence[tuple[ModuleSpec, bytes]]) -> None:
        """Keep these modules. Raises ValueError if they are too large. The process that calls this never imports from here."""
        index: dict[str, Entry] = {}
        at = 0
        for spec, code in codes:
            index[spec.name] = spec.origin, spec.submodule_search_locations, at, at + len(code)
            at += len(code)
        head = marshal.dumps(index)
        content = head + b"".join(code for _, code in codes)
        if _LENGTH.size + len(content) > SIZE:
            raise ValueError(f"the modules take {len(content)} bytes")
        self._memory[_LENGTH.size : _LENGTH.size + len(content)] = content
        # Last: from now on the others find it.
        self._memory[: _LENGTH.size] = _LENGTH.pack(len(head))

    def use(self) -> None:
        """Import from here what is here, from now on."""
        sys.meta_path.insert(0, self)

    # What the import system calls (importlib.abc.MetaPathFinder and Loader).

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's spec, if it is kept."""
        if not self._index:
            (size,) = _LENGTH.unpack_from(self._memory)
            if not size:
                return None
            self._index = marshal.loads(self._memory[_LENGTH.size : _LENGTH.size + size])
        entry = self._index.get(name)
        if entry is None:
            return None
        origin, locations, _, _ = entry
        # It is called a loader because it has the two methods below.
        spec = ModuleSpec(name, self, origin=origin)  # type: ignore[arg-type]
        spec.has_location = origin is not None
        spec.submodule_search_locations = locations
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """The import system makes the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        _, _, begin, end = self._index[module.__name__]
        (size,) = _LENGTH.unpack_from(self._memory)
        base = _LENGTH.size + size
        exec(marshal.loads(self._memory[base + begin : base + end]), module.__dict__)


def read(name: str) -> Iterator[tuple[ModuleSpec, bytes]]:
    """The code of the module ``name``, and of all modules in it if it is a package; one by one.

    The module is not imported, but the package that it lies in is. Modules that are not of Python code are left out. Raises
    ImportError if there is none of that name; SyntaxError, OSError.
    """
    package = name.rpartition(".")[0]
    spec = _find(name, import_module(package).__path__ if package else None)
    if spec is None:
        raise ImportError(f"there is no module {name}")
    yield from _read(spec)


def _read(spec: ModuleSpec) -> Iterator[tuple[ModuleSpec, bytes]]:
    code = _cached_code(spec) or _code(spec)
    if code is not None:
        yield spec, code
    locations = spec.submodule_search_locations
    for module in pkgutil.iter_modules(locations, f"{spec.name}.") if locations is not None else ():
        inner = _find(module.name, locations)
        if inner is not None:
            yield from _read(inner)


def _find(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    return next((spec for finder in sys.meta_path if (spec := finder.find_spec(name, path)) is not None), None)


def _cached_code(spec: ModuleSpec) -> bytes | None:
    """What is in the module's file in ``__pycache__`` (PEP 3147), if that was made from the source as it is (PEP 552).

    No objects are made of it. Each name in them would be a reference to the one string that all modules share, and these
    strings lie everywhere in the memory that the process shares with its workers.
    """
    if spec.cached is None or spec.origin is None or not isinstance(spec.loader, SourceFileLoader):
        return None
    try:
        content, source = Path(spec.cached).read_bytes(), Path(spec.origin).stat()
    except OSError:
        return None
    made_from = struct.pack("<4sLLL", MAGIC_NUMBER, 0, int(source.st_mtime) & 0xFFFFFFFF, source.st_size & 0xFFFFFFFF)
    return content[len(made_from) :] if content.startswith(made_from) else None


def _code(spec: ModuleSpec) -> bytes | None:
    """The same by way of the code's objects."""
    get_code = getattr(spec.loader, "get_code", None)
    code = get_code(spec.name) if get_code is not None else None
    return marshal.dumps(code) if code is not None else None
