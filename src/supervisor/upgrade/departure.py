"""Executes the new program in our place, in the same process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from ..early import UPGRADE
from . import state as states
from .arrival import TAKE
from .command import Command, Surroundings


def leave(state: Mapping[str, Any], command: Command, around: Surroundings) -> NoReturn:
    """Become the new program, with all descriptors that ``state`` names. All signals must be blocked (signal(7)).

    If that is impossible, everything is as before, and what went wrong is raised.
    """
    descriptors = [*state["descriptors"]]
    # The directory need not be readable, and may be deleted.
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        descriptors.append(states.write(state))
        states.pass_on(descriptors, True)
        sys.stdout.flush()
        sys.stderr.flush()
        command.execute({**around.environ, UPGRADE: f"{TAKE} {os.getpid()} {descriptors[-1]}"}, around.directory)
    finally:
        os.fchdir(here)
        os.close(here)
        states.pass_on(state["descriptors"], False)
        for fd in descriptors[len(state["descriptors"]) :]:
            os.close(fd)
