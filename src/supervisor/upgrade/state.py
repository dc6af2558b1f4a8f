"""The state that a supervisor hands over to the program that it executes in its place: JSON in a file without a name.

``docs/upgrade.md`` describes its fields. ``SCHEMA`` is its version: a program that knows another one refuses it. Beside that,
workers go on with the old code, so the two programs must agree on what supervisor and workers share (:func:`contract`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ...config.frozen import replace
from ...config.options import OPTIONS, Config
from ...errors import ConfigError
from ...ipc import counts
from ...ipc.channel import FROM_WORKER, TO_WORKER
from ...ipc.scoreboard import WIDTH, Field
from ...version import __version__

SCHEMA = 1
"""To be raised whenever a program that knows the version before could not go on from a state."""

Give = Callable[[int], int]
"""Is told of a descriptor that is handed over, and returns it."""


def heading() -> dict[str, Any]:
    """What every state says first."""
    return {
        "schema": SCHEMA,
        "tricorn": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "pid": os.getpid(),
        "contract": contract(),
    }


def contract() -> dict[str, Any]:
    """What supervisor and workers share: the layout of their memory, and the fields of their messages."""
    cells = (cell.name for cell in counts.Cell)
    return {
        "scoreboard": [WIDTH, *(field.name for field in Field)],
        "counts": [counts.WIDTH, counts.BLOCK, counts.STATUSES, *counts.METHODS, *counts.BOUNDS, *cells],
        "says": {kind: [sorted(shape.required), sorted(shape.fields)] for kind, shape in FROM_WORKER.items()},
        "hears": {kind: [sorted(shape.required), sorted(shape.fields)] for kind, shape in TO_WORKER.items()},
    }


def check(state: Mapping[str, Any]) -> None:
    """Raise ConfigError if we can't go on from ``state``."""
    if state.get("schema") != SCHEMA:
        raise ConfigError(
            f"Tricorn {__version__} can't take over from {state.get('tricorn')}, whose state has version {state.get('schema')}"
            f" and not {SCHEMA}; restart the server instead"
        )
    theirs, ours = state["contract"], contract()
    for what, differs in DIFFERENCES.items():
        if differs(theirs[what], ours[what]):
            raise ConfigError(
                f"Tricorn {__version__} can't go on with the workers of {state['tricorn']}: their {what} differs;"
                " restart the server instead"
            )


def _differ_in_columns(theirs: list[Any], ours: list[Any]) -> bool:
    """Columns may have been added to the right, within the same width."""
    return any(a != b for a, b in zip(theirs, ours, strict=False))


def _is_misunderstood(said: dict[str, Any], heard: dict[str, Any]) -> bool:
    """Of what is ``said``, there is a message or a field that is not ``heard``, or a field is left out that is needed."""
    return any(
        kind not in heard or not set(fields) <= set(heard[kind][1]) or not set(heard[kind][0]) <= set(required)
        for kind, (required, fields) in said.items()
    )


DIFFERENCES: Mapping[str, Callable[[Any, Any], bool]] = {
    "scoreboard": _differ_in_columns,
    "counts": lambda theirs, ours: bool(theirs != ours),
    "says": _is_misunderstood,
    # What we say they must understand.
    "hears": lambda theirs, ours: _is_misunderstood(ours, theirs),
}
"""What must fit in which way, of what workers of another version share with us."""


def config_state(config: Config) -> dict[str, Any]:
    """The options that were set, fit for JSON."""
    return dict(vars(config))


def restored_config(state: Mapping[str, Any]) -> Config:
    """The configuration whose :func:`config_state` that is; options that are no more are left out. Raises ConfigError."""
    known: dict[str, Any] = {name: value for name, value in state.items() if name in OPTIONS}
    return replace(Config(), **{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})


def write(state: Mapping[str, Any]) -> int:
    """Write ``state`` to a file without a name; returns its descriptor. Raises OSError."""
    fd = os.memfd_create("tricorn-state", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(json.dumps(state, allow_nan=False).encode("ascii"))
    except BaseException:
        os.close(fd)
        raise
    return fd


def read(fd: int) -> dict[str, Any]:
    """The state in the file. Raises OSError, ValueError."""
    state = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))
    if not isinstance(state, dict):
        raise ValueError("not an object")
    return state


def pass_on(descriptors: Collection[int], wanted: bool) -> None:
    """Let a program that is executed keep ``descriptors``, or not. Raises OSError for one that is not open."""
    for fd in descriptors:
        os.set_inheritable(fd, wanted)
