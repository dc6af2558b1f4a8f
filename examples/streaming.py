"""Server-sent events: a page that shows the time; its worker sends it once a second.

Run it:  tricorn examples.streaming:app --workers 2
Open http://127.0.0.1:8000/ and, while it runs, send SIGHUP to the supervisor. The page connects to a new worker by itself.
"""

import asyncio
import os
import time

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Tricorn: server-sent events</title>
<style>
  body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 36rem; margin: 4rem auto; padding: 0 1rem; }
  output { display: block; font-size: 3rem; font-variant-numeric: tabular-nums; }
</style>
<h1>The time, from a worker</h1>
<output id="time">&hellip;</output>
<p id="from">connecting</p>
<script>
  const source = new EventSource("/events");
  source.onmessage = (event) => {
    const { time, worker, count } = JSON.parse(event.data);
    document.getElementById("time").textContent = time;
    document.getElementById("from").textContent = `event ${count} of this connection, from process ${worker}`;
  };
  source.onerror = () => { document.getElementById("from").textContent = "connection lost; trying again"; };
</script>
</html>
"""


async def respond(send, status, content_type, body):
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def gone(receive):
    """Return when the client has left, or the server wants this response to end."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def events(receive, send):
    """Send one event a second until the client leaves."""
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    left = asyncio.ensure_future(gone(receive))
    count = 0
    try:
        while not left.done():
            count += 1
            data = f'{{"time": "{time.strftime("%H:%M:%S")}", "worker": {os.getpid()}, "count": {count}}}'
            await send({"type": "http.response.body", "body": f"retry: 500\ndata: {data}\n\n".encode(), "more_body": True})
            await asyncio.wait([left], timeout=1)
    finally:
        left.cancel()


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError(f"no {scope['type']} here")
    if scope["path"] == "/events":
        await events(receive, send)
    elif scope["path"] == "/":
        await respond(send, 200, b"text/html; charset=utf-8", PAGE)
    else:
        await respond(send, 404, b"text/plain", b"not found\n")
