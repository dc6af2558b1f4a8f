"""Executes the new program in our place, in the same process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from ..early import UPGRADE
from . import state as states
from .arrival import TAKE
from .command import Command, Surroundings

BEGINNING = 60.0
"""Seconds that the new program has to take over. The check before took as long, but for the import of the application, and it
takes half a second; on a machine under heavy load some seconds."""


def leave(state: Mapping[str, Any], command: Command, around: Surroundings) -> NoReturn:
    """Become the new program, with all descriptors that ``state`` names. All signals must be blocked (signal(7)).

    If that is impossible, everything is as before, and OSError is raised.
    """
    descriptors = [*state["descriptors"]]
    here = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        descriptors.append(states.write(state))
        states.pass_on(descriptors, True)
        os.chdir(around.directory)
        sys.stdout.flush()
        sys.stderr.flush()
        # It outlasts execve (setitimer(2)). The new program handles it; before that, it ends a process that hangs.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, BEGINNING)
        os.execve(command.path, command.arguments, {**around.environ, UPGRADE: f"{TAKE} {os.getpid()} {descriptors[-1]}"})
    except OSError:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.fchdir(here)
        states.pass_on(descriptors, False)
        if len(descriptors) > len(state["descriptors"]):
            os.close(descriptors[-1])
        raise
    finally:
        os.close(here)
