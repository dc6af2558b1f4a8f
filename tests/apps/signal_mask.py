"""Answers with the numbers of the signals that are blocked in the process that serves."""

import signal


async def app(scope, receive, send):
    assert scope["type"] == "http"
    blocked = sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(blocked).encode()})
