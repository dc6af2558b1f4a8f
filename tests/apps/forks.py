"""An application that starts processes, threads and exits of its own."""

import multiprocessing
import os
import sys
import threading
import time

children: list[multiprocessing.process.BaseProcess] = []


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if os.environ.get("TEST_EXIT_AT_STARTUP"):
            sys.exit(5)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    answer = {"/fork": fork, "/terminate": terminate, "/thread": thread}.get(scope["path"], lambda: "ok")()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer.encode()})


def fork():
    context = multiprocessing.get_context("fork")
    runs = context.Event()
    child = context.Process(target=rest, args=(runs,), daemon=True)
    child.start()
    # A signal that comes while a process is being forked meets the worker's handlers.
    runs.wait(10)
    children.append(child)
    return str(child.pid)


def rest(runs):
    runs.set()
    time.sleep(60)


def terminate():
    children[-1].terminate()
    children[-1].join(10)
    return str(children[-1].exitcode)


def thread():
    def finish():
        time.sleep(0.5)
        print("the thread has finished", flush=True)

    threading.Thread(target=finish).start()
    return "started"
