"""WebSocket under test: what the path names.  /  an echo   /pid  who serves   /why  prints how it ends   /fail  an error"""

import os


async def echo(receive, send):
    while (message := await receive())["type"] == "websocket.receive":
        await send(message | {"type": "websocket.send"})


async def pid(receive, send):
    await send({"type": "websocket.send", "text": str(os.getpid())})
    await echo(receive, send)


async def why(receive, send):
    while (message := await receive())["type"] != "websocket.disconnect":
        pass
    print(f"told {message['code']}", flush=True)


async def fail(receive, send):
    raise ValueError("the application's own fault")


ROUTES = {"/": echo, "/pid": pid, "/why": why, "/fail": fail}


async def app(scope, receive, send):
    if scope["type"] == "http":
        body = str(os.getpid()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "websocket":
        await receive()
        if scope["path"] in ROUTES:
            await send({"type": "websocket.accept"})
            await ROUTES[scope["path"]](receive, send)
        else:
            await send({"type": "websocket.close"})
    else:
        raise NotImplementedError(scope["type"])
