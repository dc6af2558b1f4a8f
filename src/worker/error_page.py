"""With ``--reload``: the page that is served instead of an application that does not start, until a file is saved.

It is an ASGI application of our own. Only the developer's own requests are shown the error (see developer.py). Browsers get a
page that waits for the next save (see development.py) and then asks for itself. That request waits in the listener's queue
until the next worker serves, with the application or with another error.
"""

from __future__ import annotations

import traceback

from ..errors import AppError
from ..protocols.asgi import Field, Message, Receive, Scope, Send
from .developer import is_developer, is_waiting
from .development import Waiting
from .error_view import MAX_TEXT, Shown, title_of
from .loader import trimmed
from .modules import is_developers

ELSEWHERE = "The application failed to start. The error is in the log, and is shown at http://localhost on its machine only.\n"


class ErrorPage:
    """The ASGI application that shows ``error``."""

    def __init__(self, error: AppError) -> None:
        self._error = error
        self.text = developers_view(error)[:MAX_TEXT]
        """The error, for the terminal as well."""
        self.files = sorted(_files_of(error))
        """The developer's files that the error concerns. They are not loaded, so they must be named to be watched."""
        self.waiting = Waiting()
        """The requests of pages that wait for the next save."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await _live(receive, send)
            case "http" if is_developer(scope) and is_waiting(scope["method"], scope["headers"]):
                await self.waiting.answer(receive, send)
            case "http":
                await self._answer(scope, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1011, "reason": "the application failed to start"})

    async def _answer(self, scope: Scope, send: Send) -> None:
        fields: list[Field] = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
        body = ELSEWHERE.encode()
        if is_developer(scope):
            fields, body = self._shown().answer(scope)
        await send({"type": "http.response.start", "status": 500, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    def _shown(self) -> Shown:
        summary, _, details = self.text.partition("\n")
        cause = self._error.__context__ if details else None
        title = title_of(cause) if cause is not None else "The application does not start"
        return Shown(title, summary, self.text, cause)


def developers_view(error: AppError) -> str:
    """The error with the traceback of its cause, of which only the developer's own frames are shown."""
    summary, newline, _ = str(error).partition("\n")
    if not newline or error.__context__ is None:
        return str(error)
    return f"{summary}\n{trimmed(error.__context__, is_developers)}"


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message: Message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _files_of(error: AppError) -> set[str]:
    found: set[str] = set()
    cause: BaseException | None = error.__context__
    while cause is not None:
        found |= {frame.filename for frame in traceback.extract_tb(cause.__traceback__)}
        if isinstance(cause, SyntaxError) and cause.filename:
            found.add(cause.filename)
        cause = cause.__cause__ or cause.__context__
    return {file for file in found if file.startswith("/") and is_developers(file)}
