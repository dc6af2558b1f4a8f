"""Process 1 of a container, for a server without a supervisor: it reaps orphans, passes signals on, and does nothing else.

The kernel makes process 1 the parent of every orphan, and each stays a zombie until its parent reaps it. The server's process
could not do that: it can't tell an orphan from a child of the application, whose exit code the application waits for. So there
are two processes. With a supervisor there is no need: the application's children are those of workers.
"""

from __future__ import annotations

import os
import signal
import sys

NAMED_FOR_US = ("LISTEN_PID", "WATCHDOG_PID")
"""Variables of systemd's that name the process for which others are (sd_listen_fds(3), sd_watchdog_enabled(3))."""


def leave() -> None:
    """If we are process 1, fork: return in the child, which is to serve, and stay behind as process 1 until it ends."""
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
    """Reap whatever ends and pass signals on, until the process ``server`` ends; returns its exit code, as a shell has it."""
    while True:
        told = signal.sigwaitinfo(signal.valid_signals())
        if told.si_signo == signal.SIGCHLD:
            status = _reap(server)
            if status is not None:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        elif told.si_code <= 0:
            # A process has sent it. What the kernel sends, such as Ctrl-C of a terminal, goes to all of the group.
            os.kill(server, told.si_signo)


def _reap(server: int) -> int | None:
    """Reap all that have ended; returns the status of ``server`` if it was among them."""
    pid = -1
    while pid != 0:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == server:
            return status
    return None
