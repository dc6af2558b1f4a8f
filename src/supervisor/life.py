"""How a forked child lives: to its exit code, and never back into the supervisor's stack."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from ..errors import EXIT_BUG


def live(life: Callable[[], int]) -> NoReturn:
    """Run a child's life to its exit code and exit, whatever happens: it must not come back into the supervisor's stack."""
    code = EXIT_BUG
    try:
        code = life()
    except BaseException:
        traceback.print_exc()
    finally:
        flush_and_exit(code)


def flush_and_exit(code: int) -> NoReturn:
    """Write out what is buffered, and exit without any of Python's clean-up, which is the supervisor's."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
