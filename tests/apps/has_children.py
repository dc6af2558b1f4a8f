"""An application that starts a process of its own and answers with its pid."""

import subprocess
import sys

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = str(child.pid).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
