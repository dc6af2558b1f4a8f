"""With ``--reload``: ``breakpoint()`` in a handler gets the terminal."""

from __future__ import annotations

import os
import pdb
import signal
import threading
from types import FrameType, TracebackType


class Debugger(pdb.Pdb):
    """Python's debugger, except that Ctrl-C ends the worker, as it ends the other workers.

    Pdb itself catches Ctrl-C after the first ``continue``. It would open its prompt while the supervisor waits for our exit.
    """

    def __init__(self) -> None:
        super().__init__(nosigint=True)

    def interaction(self, frame: FrameType | None, tb_or_exc: TracebackType | BaseException | None) -> None:
        """Show the prompt, with Ctrl-C as said above."""
        if threading.current_thread() is not threading.main_thread():
            # Python lets only the main thread set signal handlers.
            super().interaction(frame, tb_or_exc)  # type: ignore[arg-type]
            return
        before = signal.signal(signal.SIGINT, lambda number, frame: os._exit(0))
        try:
            super().interaction(frame, tb_or_exc)  # type: ignore[arg-type]
        finally:
            signal.signal(signal.SIGINT, before)
