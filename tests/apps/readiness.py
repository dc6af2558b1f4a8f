"""An application that tells a load balancer what the server tells it: whether it is ready."""

import tricorn


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    worker = tricorn.current_worker()
    ready = worker is not None and worker.is_ready
    await send({"type": "http.response.start", "status": 200 if ready else 503})
    await send({"type": "http.response.body", "body": b"own answer"})
