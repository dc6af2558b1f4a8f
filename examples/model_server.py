"""A model server: tokens as a stream of events, one worker per GPU, chosen by the worker's slot.

tricorn examples.model_server:app --workers 2

Then: curl -N 'localhost:8000/?prompt=hello'
"""

import asyncio
import json
import os
from urllib.parse import parse_qs

import tricorn

worker = tricorn.current_worker()
gpu = worker.slot if worker else 0
# Before the library is imported that uses the GPU.
os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)


class Model:
    """In place of a real one: each word takes a moment."""

    def generate(self, prompt):
        yield from f"You said {prompt!r}, and GPU {gpu} answers.".split()


def next_token(tokens):
    return next(tokens, None)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                # Loading takes long: in a thread, so that the worker's event loop turns meanwhile.
                scope["state"]["model"] = await asyncio.to_thread(Model)
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    assert scope["type"] == "http"
    prompt = parse_qs(scope["query_string"].decode()).get("prompt", ["hello"])[0]
    tokens = scope["state"]["model"].generate(prompt)
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    # Inference in a thread: the event loop serves others meanwhile.
    while (token := await asyncio.to_thread(next_token, tokens)) is not None:
        event = f"data: {json.dumps({'token': token})}\n\n"
        await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await asyncio.sleep(0.05)
    await send({"type": "http.response.body"})
