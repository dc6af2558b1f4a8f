"""A Socket.IO server: long polling that upgrades to WebSocket, or WebSocket from the start."""

import socketio

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
app = socketio.ASGIApp(server)


@server.event
async def connect(sid, environ):
    await server.emit("hello", {"transport": server.transport(sid)}, to=sid)


@server.event
async def shout(sid, text):
    return text.upper()
