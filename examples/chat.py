"""A chat over WebSocket: what one person writes, all who have the page open can read.

Run it:  tricorn examples.chat:app
Open http://127.0.0.1:8000/ in two tabs. While they chat, send SIGHUP to the supervisor. The pages learn that the server
restarts (close code 1012) and connect again by themselves.

The room is in the memory of one process. With several workers, each has a room of its own.
"""

import html

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Tricorn: chat</title>
<style>
  body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 36rem; margin: 4rem auto; padding: 0 1rem; }
  input { font: inherit; width: 100%; box-sizing: border-box; padding: .4rem; }
  #state { color: #777; }
</style>
<h1>Chat</h1>
<ul id="lines"></ul>
<form id="form"><input id="text" autocomplete="off" placeholder="say something" aria-label="message"></form>
<p id="state">connecting</p>
<script>
  const lines = document.getElementById("lines"), text = document.getElementById("text");
  const state = document.getElementById("state");
  let socket, opened = 0;
  function connect() {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/room`);
    socket.onopen = () => { opened += 1; state.textContent = `connected (${opened})`; };
    socket.onmessage = (event) => {
      const line = document.createElement("li");
      line.textContent = event.data;
      lines.append(line);
    };
    socket.onclose = (event) => {
      state.dataset.code = event.code;
      state.textContent = event.code === 1012 ? "the server restarts" : `connection lost (${event.code})`;
      setTimeout(connect, 200);
    };
  }
  document.getElementById("form").onsubmit = (event) => {
    event.preventDefault();
    if (text.value && socket.readyState === WebSocket.OPEN) { socket.send(text.value); text.value = ""; }
  };
  connect();
</script>
</html>
"""

room = set()
"""The ``send`` of each connection in the room."""


async def tell_all(text):
    for send in list(room):
        try:
            await send({"type": "websocket.send", "text": text})
        except OSError:
            # The client has left. Its own task learns that, too, and removes it from the room.
            continue


async def chat(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    room.add(send)
    try:
        while (message := await receive())["type"] == "websocket.receive":
            if text := message.get("text"):
                await tell_all(text[:500])
    finally:
        room.discard(send)


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await chat(receive, send)
    elif scope["type"] == "http":
        found = scope["path"] == "/"
        body = PAGE if found else html.escape(scope["path"]).encode() + b": not found"
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    else:
        raise NotImplementedError(scope["type"])
