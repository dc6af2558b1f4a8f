"""Tells what is in the scope, then spoils everything in it that can be changed."""

import json


def as_text(value):
    return value.decode("latin-1") if isinstance(value, bytes) else repr(value)


def spoil(value):
    """Change ``value`` and all that it holds, as far as they let anybody."""
    if isinstance(value, dict):
        for inner in list(value.values()):
            spoil(inner)
        value.clear()
        value["spoilt"] = "spoilt"
    elif isinstance(value, (list, tuple)):
        for inner in value:
            spoil(inner)
        if isinstance(value, list):
            value.clear()
            value.append((b"spoilt", b"spoilt"))


async def lifespan(scope, receive, send):
    await receive()
    scope["state"]["answer"] = 42
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    seen = json.dumps(scope, default=as_text, sort_keys=True)
    protocols = list(scope.get("subprotocols", ()))
    spoil(scope)
    if seen.find('"type": "websocket"') >= 0:
        await send({"type": "websocket.accept", "subprotocol": protocols[-1]})
        await send({"type": "websocket.send", "text": seen})
        return await send({"type": "websocket.close"})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(seen))]})
    return await send({"type": "http.response.body", "body": seen.encode()})
