"""Optional packages: whether they can be imported, and why not."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache

from ..errors import ConfigError

EXTRAS = {"a2wsgi": "wsgi", "gunicorn": "gunicorn", "opentelemetry-exporter-otlp-proto-http": "otlp"}
"""The extra of pyproject.toml that installs a package; the extra ``standard`` installs the others."""


def how_to_install(package: str) -> str:
    """The command that installs the optional ``package``, in the quotes that a shell needs."""
    return f"pip install 'tricorn[{EXTRAS.get(package, 'standard')}]'"


@cache
def problem(module: str) -> str | None:
    """Import ``module``; returns why that fails, in one line, or None. A process and its forks try it once."""
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        # The cause may be anything: a missing C library, a half-removed package, another Python version.
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


def require(option: str, module: str, install: str = "") -> None:
    """Import ``module``, which ``option`` (flag and value) needs; ``install`` is its name for pip. Raises ConfigError."""
    name = install or module
    if (cause := problem(module)) is None:
        return
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise ConfigError(f"{option}: {name} is not installed ({how_to_install(name)})")
    raise ConfigError(f"{option}: {name} is installed, but can't be imported ({cause})")


def require_later(option: str, module: str, install: str) -> None:
    """Look for ``module``, which another process will import for ``option``. Arguments and errors are those of ``require``."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise ConfigError(f"{option}: {install} is not installed ({how_to_install(install)})")
