"""WebSocket with Starlette and with FastAPI, mounted beside each other."""

from fastapi import FastAPI, WebSocket, WebSocketDisconnect, WebSocketException
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, WebSocketRoute


class Upper(WebSocketEndpoint):
    encoding = "text"

    async def on_connect(self, websocket):
        await websocket.accept(subprotocol="shout", headers=[(b"x-room", b"1")])

    async def on_receive(self, websocket, data):
        await websocket.send_text(data.upper())


async def deny(websocket):
    await websocket.send_denial_response(PlainTextResponse("no entry", status_code=401))


api = FastAPI()


@api.websocket("/items/{item}")
async def item_socket(websocket: WebSocket, item: int, token: str | None = None):
    if token is None:
        raise WebSocketException(code=1008, reason="no token")
    await websocket.accept()
    try:
        while True:
            await websocket.send_json({"item": item, "data": await websocket.receive_json()})
    except WebSocketDisconnect as end:
        print(f"disconnected with {end.code}", flush=True)


app = Starlette(routes=[WebSocketRoute("/upper", Upper), WebSocketRoute("/deny", deny), Mount("/api", api)])
