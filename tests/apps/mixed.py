"""HTTP as ``probe`` has it, and WebSockets as ``websocket`` has them."""

from tests.apps import probe, websocket


async def app(scope, receive, send):
    await (websocket if scope["type"] == "websocket" else probe).app(scope, receive, send)
