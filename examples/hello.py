"""The smallest application: plain ASGI, no framework.

Run it:  tricorn examples.hello:app --workers 4
"""

import os


async def app(scope, receive, send):
    """Greet, and say which worker answers."""
    if scope["type"] != "http":
        # For example "lifespan". An application that does not speak it raises, and is served without it.
        raise RuntimeError(f"no {scope['type']} here")
    body = f"Hello from Tricorn, worker process {os.getpid()}.\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
