"""Answers with as many bytes as the path says; ``/broken`` breaks off behind some."""


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/broken":
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        raise RuntimeError("broken on purpose")
    await send({"type": "http.response.body", "body": b"x" * int(scope["path"][1:])})
