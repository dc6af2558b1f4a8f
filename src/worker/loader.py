"""From ``module:attribute`` to an ASGI application, with errors that say whose mistake it is."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ..config import app_name
from ..errors import AppError
from . import suggest

logger = logging.getLogger("tricorn.error")

_being_imported: ContextVar[str | None] = ContextVar("_being_imported", default=None)
"""What this thread is importing at the moment, as an error calls it."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OURS = (f"{_PACKAGE}/", f"{os.path.realpath(_PACKAGE)}/")
"""Where Tricorn's own modules are: as Python names their files, and without symbolic links."""


def is_ours(filename: str) -> bool:
    """Whether the file is one of Tricorn's own modules."""
    return filename.startswith(_OURS)


def load(name: str, *, app_dir: str = "", factory: bool = False) -> Any:
    """Import the application ``name``, such as ``package.module:app``, from ``app_dir`` or the import path.

    Without an attribute, as in ``package.module`` or ``main.py``, it is the module's ``app`` or ``application``.
    With ``factory`` the object found is called, and makes the application. A function without arguments can't be an
    application, so it is called too. Raises :class:`AppError`: one line for a mistake of the operator, a traceback for one of
    the application.
    """
    return resolve(locate_app(name, app_dir), name, factory)


def locate_app(name: str, app_dir: str = "") -> Any:
    """The object that the operator's ``name`` of an application stands for. Raises AppError."""
    if ":" not in name or name.partition(":")[0].endswith(".py"):
        known = app_name.complete(name, app_dir, "")
        name, app_dir = known.name, known.directory
    found = locate(name, app_dir)
    return found if ":" in name else _choose(found, name)


def _choose(module: Any, name: str) -> Any:
    """The application in a module of which only the ``name`` was given. Raises AppError."""
    for attribute in app_name.ATTRIBUTES:
        if hasattr(module, attribute):
            return getattr(module, attribute)
    wanted = " or ".join(map(repr, app_name.ATTRIBUTES))
    raise AppError(f"APP {name}: module {name!r} has no attribute {wanted}{suggest.attribute(name)}")


def resolve(found: Any, name: str, factory: bool) -> Any:
    """The application that ``found`` is or makes; ``name`` is its name. Raises AppError as :func:`load`."""
    if not factory and _is_factory(found):
        logger.warning("APP %s is a function that makes an application, so it was called; better give --factory", name)
        factory = True
    if factory:
        try:
            found = found()
        except Exception as error:
            raise AppError(f"APP {name}: the factory failed\n{trimmed(error)}") from None
    if not callable(found):
        kind = type(found).__name__
        made = "the factory returned something that" if factory else f"{kind} object"
        raise AppError(f"APP {name}: {made} is not callable, so it is no ASGI application{suggest.attribute(name)}")
    return found


def locate(name: str, app_dir: str = "", option: str = "APP") -> Any:
    """The object that ``name`` stands for; ``option`` gave the name. Raises AppError."""
    directory = prepare_path(app_dir)
    module_name, _, path = name.partition(":")
    found: Any = _import(module_name, name, directory, option)
    # Without an attribute it is the module itself.
    for part in filter(None, path.split(".")):
        try:
            found = getattr(found, part)
        except AttributeError:
            hint = suggest.attribute(name, app_name.USUAL if option == "APP" else ())
            raise AppError(f"{option} {name}: module {module_name!r} has no attribute {path!r}{hint}") from None
    return found


def _is_factory(found: Any) -> bool:
    """Whether ``found`` is a plain function that can be called without arguments, which no application can."""
    if not inspect.isfunction(found) or inspect.iscoroutinefunction(found):
        return False
    parameters = inspect.signature(found).parameters.values()
    return all(one.default is not one.empty or one.kind is one.VAR_KEYWORD for one in parameters)


def prepare_path(app_dir: str) -> str:
    """Put the application's directory on the import path; returns it. Raises AppError."""
    try:
        directory = os.path.abspath(app_dir or ".")
    except OSError as error:
        raise AppError(f"The current directory is gone: {error.strerror}") from None
    if directory not in sys.path:
        sys.path.insert(0, directory)
    return directory


def _import(module_name: str, name: str, directory: str, option: str) -> Any:
    what = "application" if option == "APP" else "module"
    before = _being_imported.set(f"{option} {name}")
    try:
        return importlib.import_module(module_name)
    except AppError:
        raise
    except ModuleNotFoundError as error:
        # The missing module is the one asked for or one of its parents. If not, an import inside the application failed.
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            where = f"(looked in {directory} and the import path)"
            hint = suggest.module(name, directory, app_name.USUAL if option == "APP" else ())
            raise AppError(f"{option} {name}: no module named {error.name!r} {where}{hint}{_unreadable()}") from None
        raise AppError(f"{option} {name}: the {what} failed to import\n{trimmed(error)}{_unreadable()}") from None
    except SystemExit as error:
        raise AppError(f"{option} {name}: the {what} called sys.exit({error.code!r}) at import\n{trimmed(error)}") from None
    except Exception as error:
        raise AppError(f"{option} {name}: the {what} failed to import\n{trimmed(error)}") from None
    finally:
        _being_imported.reset(before)


def _unreadable() -> str:
    """A line on the directories of the import path that this user may not list: Python takes them for empty, without a word."""
    closed = []
    for directory in sys.path:
        try:
            os.scandir(directory or ".").close()
        except PermissionError:
            closed.append(directory)
        except OSError:
            # A ZIP file, or a directory that is not there.
            continue
    return f"\nNothing can be imported from where the user of this process may not read: {', '.join(closed)}" if closed else ""


def refuse_at_import(call: str) -> None:
    """Raises AppError if this thread is importing an application: an application must not make this ``call`` at import."""
    if (name := _being_imported.get()) is not None:
        raise AppError(f'{name}: importing it calls {call}; put that call under if __name__ == "__main__":')


def trimmed(error: BaseException, of_interest: Callable[[str], bool] = lambda filename: True) -> str:
    """The traceback without the frames of Tricorn and of Python's import system, as text without a final newline.

    Of the other frames those in files ``of_interest`` are kept; if there are none, the innermost frame is kept.
    """
    summary = traceback.TracebackException.from_exception(error)
    _trim(summary, of_interest)
    return "".join(summary.format()).rstrip("\n")


def _trim(summary: traceback.TracebackException, of_interest: Callable[[str], bool]) -> None:
    current: traceback.TracebackException | None = summary
    while current is not None:
        frames = [frame for frame in current.stack if not _is_noise(frame.filename)]
        kept = [frame for frame in frames if of_interest(frame.filename)] or frames[-1:]
        current.stack = traceback.StackSummary.from_list(kept)
        for member in current.exceptions or ():
            _trim(member, of_interest)
        current = current.__cause__ or current.__context__


def _is_noise(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename == importlib.__file__ or is_ours(filename)
