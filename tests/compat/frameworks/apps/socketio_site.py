"""A Socket.IO server that runs something at its start and end."""

import socketio

server = socketio.AsyncServer(async_mode="asgi")


async def start():
    print("the site starts", flush=True)


async def stop():
    print("the site stops", flush=True)


@server.event
async def shout(sid, text):
    return text.upper()


app = socketio.ASGIApp(server, on_startup=start, on_shutdown=stop)
