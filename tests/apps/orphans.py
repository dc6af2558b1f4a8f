"""An application that leaves orphans behind, and waits for children of its own."""

import asyncio
import os
import subprocess
import sys
import time

ORPHAN = "import os, time; print(os.getpid(), flush=True); os.close(1); time.sleep(0.05)"


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    answer = await {"/orphan": leave_orphan, "/child": wait_for_children, "/slow": take_a_moment}[scope["path"]]()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer.encode()})


async def leave_orphan():
    # Its parent is gone before it is.
    shell = f'"{sys.executable}" -c "{ORPHAN}" &'
    return subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, text=True, check=True).stdout


async def wait_for_children():
    code = subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=False).returncode
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(4)")
    return f"{code} {await other.wait()} {os.getpid()}"


async def take_a_moment():
    began = time.monotonic()
    await asyncio.sleep(1)
    return f"{time.monotonic() - began:.0f}"
