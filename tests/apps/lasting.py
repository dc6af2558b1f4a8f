"""An application whose responses last: event streams that wait for an event, or for the drain; WebSockets."""

import tricorn

HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream; charset=utf-8")]}


async def until_left(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    assert scope["type"] == "http"
    await send(HEAD)
    await send({"type": "http.response.body", "body": b"data: begins\n\n", "more_body": True})
    if scope["path"] == "/events":
        # As frameworks do: it ends when the client leaves, and knows nothing of a drain.
        await until_left(receive)
        print("told that the client left", flush=True)
        return
    if scope["path"] == "/aware":
        worker = tricorn.current_worker()
        assert worker is not None
        assert not worker.is_draining
        await worker.draining()
        assert worker.is_draining
        await worker.draining()
        await send({"type": "http.response.body", "body": b"data: ends\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b""})
