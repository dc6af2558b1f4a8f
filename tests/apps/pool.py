"""An application with processes of its own: a pool, one that ignores SIGTERM, a program, one whose parent is gone already, and
one meant to outlive it."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def ignore_term():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def leave_grandchild():
    """Fork a process that forks one, and is gone; returns the pid of that one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        if (grandchild := os.fork()) == 0:
            time.sleep(600)
        os.write(writer, str(grandchild).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(reader, 20))


def start():
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(2, mp_context=context)
    pool.submit(os.getpid).result()
    stubborn = context.Process(target=ignore_term, daemon=True)
    stubborn.start()
    program = subprocess.Popen(SLEEP)
    daemon = subprocess.Popen(SLEEP, start_new_session=True)
    found = {"pool": list(pool._processes), "stubborn": stubborn.pid, "program": program.pid, "daemon": daemon.pid}
    return found, (pool, stubborn, program, daemon)


async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/hang":
        time.sleep(600)
    if scope["path"] == "/grandchild":
        found = leave_grandchild()
    else:
        found, app.kept = start()  # type: ignore[attr-defined]  # so that it lives as long as the process
        found["worker"] = os.getpid()
    if scope["path"] == "/exit":
        os._exit(7)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(found).encode()})
