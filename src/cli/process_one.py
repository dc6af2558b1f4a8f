"""Process 1 of a container, for a server without a supervisor: it only reaps orphans and passes signals on.

The kernel makes process 1 the parent of every orphan, and an orphan stays a zombie until its parent reaps it. The server's
process can't do that: it can't tell an orphan from a child of the application, whose exit code the application waits for. So
there are two processes. A supervisor does not need this: there, the application's children are children of workers.
"""

from __future__ import annotations

import os
import signal
import sys

NAMED_FOR_US = ("LISTEN_PID", "WATCHDOG_PID")
"""Systemd's variables that say which process the others are for (sd_listen_fds(3), sd_watchdog_enabled(3))."""


def leave() -> None:
    """If we are process 1, fork. The child returns and serves; the parent stays process 1 until the child ends."""
    if os.getpid() != 1:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    server = os.fork()
    if server != 0:
        os._exit(_stay(server))
    for name in NAMED_FOR_US:
        if os.environ.get(name) == "1":
            os.environ[name] = str(os.getpid())
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stay(server: int) -> int:
    """Reap children and pass signals on until the process ``server`` ends; returns its exit code in the shell's form."""
    while True:
        told = signal.sigwaitinfo(signal.valid_signals())
        if told.si_signo == signal.SIGCHLD:
            status = _reap(server)
            if status is not None:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        elif told.si_code <= 0:
            # A process sent it. The kernel sends its signals, such as a terminal's Ctrl-C, to the whole group itself.
            os.kill(server, told.si_signo)


def _reap(server: int) -> int | None:
    """Reap all children that have ended; returns the status of ``server`` if it is one of them."""
    pid = -1
    while pid != 0:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == server:
            return status
    return None
