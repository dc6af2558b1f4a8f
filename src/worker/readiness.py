"""``--ready-path``: tells load balancers and Kubernetes' probes whether to send requests to this worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..protocols.asgi import Application, Receive, Scope, Send


class Readiness:
    """Answers requests for the path that ``--ready-path`` names, and leaves all others to ``app``."""

    def __init__(self, app: Application, path: str, is_ready: Callable[[], bool]) -> None:
        self._app = app
        self._path = path
        self._is_ready = is_ready

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["path"] == self._path:
            return self._answer(send)
        return self._app(scope, receive, send)

    async def _answer(self, send: Send) -> None:
        ready = self._is_ready()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200 if ready else 503, "headers": headers})
        await send({"type": "http.response.body", "body": b"ready\n" if ready else b"not ready\n"})
