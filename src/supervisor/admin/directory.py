"""The directory for ``--app-metrics``: in memory, ours alone, and removed at the end."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from contextlib import suppress

from ...config.identity import Identity
from ...errors import ConfigError

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Tells prometheus_client to write files there, from its import on."""
PREFIX = "tricorn-metrics-"
MEMORY = "/dev/shm"
"""A file system in memory (shm_overview(7)). Where there is none, the temporary directory will do."""


def make(identity: Identity | None) -> str:
    """Make the directory, for ``identity`` to write to, and let the processes that are forked from now on find it.

    Removes those of supervisors that were killed. Raises ConfigError, OSError.
    """
    # Not imported here: at its import it decides whether to write files.
    if importlib.util.find_spec("prometheus_client") is None:
        raise ConfigError("--app-metrics: prometheus_client is not installed (pip install prometheus-client)")
    parent = MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else tempfile.gettempdir()
    _remove_old(parent)
    path = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent)
    if identity is not None:
        os.chown(path, identity.user, identity.group)
    os.environ[VARIABLE] = path
    return path


def remove(path: str) -> None:
    """Remove the directory and what is in it."""
    os.environ.pop(VARIABLE, None)
    shutil.rmtree(path, ignore_errors=True)


def _remove_old(parent: str) -> None:
    with suppress(OSError):
        for entry in os.scandir(parent):
            found = re.fullmatch(rf"{PREFIX}(\d+)-\w+", entry.name)
            if found and entry.is_dir(follow_symlinks=False) and not os.path.exists(f"/proc/{found[1]}"):
                shutil.rmtree(entry.path, ignore_errors=True)
