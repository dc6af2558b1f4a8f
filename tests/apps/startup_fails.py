"""An application that says in its lifespan that it cannot start."""


async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the cache is cold"})
