"""An application of many small behaviours, one for each thing that a test provokes. Plain ASGI; the path says which."""

import asyncio
import os
import time
from urllib.parse import parse_qs

print(f"probe imported by {os.getpid()}", flush=True)

PIECE = b"x" * 65536
progress = {"sent": 0, "received": 0}


async def reply(send, body, status=200, *headers):
    if isinstance(body, str):
        body = body.encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-length", str(len(body)).encode()), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def pid(query, receive, send):
    await reply(send, str(os.getpid()))


async def slow(query, receive, send):
    """Answer after ?seconds, or once the file ?until is there; says in the log when it has begun."""
    print("slow begins", flush=True)
    if "until" in query:
        while not os.path.exists(query["until"]):
            await asyncio.sleep(0.01)
    else:
        await asyncio.sleep(float(query.get("seconds", "1")))
    await reply(send, "slow ends")


async def hang_the_loop(query, receive, send):
    """Keep the event loop from turning."""
    print(f"hang begins in {os.getpid()}", flush=True)
    time.sleep(float(query.get("seconds", "60")))
    await reply(send, "awake again")


async def big(query, receive, send):
    """Stream ?mib MiB in pieces of 64 KiB."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/octet-stream")]})
    for _ in range(int(query.get("mib", "200")) * 16):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        progress["sent"] += len(PIECE)
    await send({"type": "http.response.body", "body": b""})


async def upload(query, receive, send):
    """Count the body, reading slowly for its first ?slow pieces."""
    slow_pieces, total, more = int(query.get("slow", "0")), 0, True
    while more:
        message = await receive()
        total += len(message.get("body", b""))
        more = message.get("more_body", False)
        progress["received"] = total
        if slow_pieces > 0:
            slow_pieces -= 1
            await asyncio.sleep(0.02)
    await reply(send, str(total))


async def tell_progress(query, receive, send):
    await reply(send, f"{progress['sent']} {progress['received']}")


async def events(query, receive, send):
    """A stream without end that does not care whether anybody listens."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    while True:
        await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})
        await asyncio.sleep(0.05)


async def exit_at_once(query, receive, send):
    os._exit(int(query.get("code", "9")))


async def fail(query, receive, send):
    raise ValueError("the application's own fault")


async def slot(query, receive, send):
    await reply(send, os.environ.get("TRICORN_SLOT", "unset"))


ROUTES = {
    "/": pid,
    "/pid": pid,
    "/slow": slow,
    "/hang": hang_the_loop,
    "/big": big,
    "/upload": upload,
    "/progress": tell_progress,
    "/events": events,
    "/exit": exit_at_once,
    "/fail": fail,
    "/slot": slot,
}


async def lifespan(receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            print(f"lifespan shutdown in {os.getpid()}", flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    assert scope["type"] == "http", scope["type"]
    query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode()).items()}
    handle = ROUTES.get(scope["path"])
    if handle is None:
        return await reply(send, "not found", 404)
    return await handle(query, receive, send)
