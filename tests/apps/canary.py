"""An application of two versions: the file $VERSION says how this one does, as it is imported. GET / tells its pid."""

import asyncio
import itertools
import os
from pathlib import Path

version = Path(os.environ["VERSION"]).read_text()
count = itertools.count()


async def app(scope, receive, send):
    assert scope["type"] == "http"
    number = next(count)
    if version == "slow":
        await asyncio.sleep(0.5)
    if version == "crashes" and number == 20:
        os._exit(7)
    status = 500 if version == "fails" and number % 10 < 3 else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-version", version.encode())]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


if version == "broken":
    raise ImportError("a broken deploy")
