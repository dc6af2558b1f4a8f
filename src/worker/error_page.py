"""With ``--reload``: the page that is served instead of an application that does not start, until a file is saved.

It is an ASGI application of our own. Browsers get a page that loads itself again. The page keeps a request open, with the
header ``x-tricorn-wait``, which is answered when this worker has to leave. Then the page asks for itself. That request waits in
the listener's queue until the next worker serves, with the application or with another error.

The error shows source code, so only the developer's own machine sees it: both the client's address and the ``Host`` that it
asks for must be loopback ones. (A page of another site can make a browser ask us, but under that site's name: DNS rebinding.)
"""

from __future__ import annotations

import asyncio
import html
import ipaddress
import traceback

from ..errors import AppError
from ..protocols.asgi import Message, Receive, Scope, Send
from .loader import trimmed
from .modules import is_developers

MAX_SHOWN = 20_000
"""Characters of an error that are shown, at most."""

ELSEWHERE = "The application failed to start. The error is in the log, and is shown at http://localhost on its machine only.\n"

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; --red: #c62828; --soft: #8883; }}
  @media (prefers-color-scheme: dark) {{ :root {{ --red: #ff8a80; }} }}
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 2rem 1.5rem; }}
  h1 {{ font-size: 1.4rem; color: var(--red); margin: 0 0 .25rem; overflow-wrap: anywhere; }}
  pre {{ background: var(--soft); border-left: 4px solid var(--red); border-radius: 4px; padding: 1rem; overflow-x: auto;
        font: 14px/1.45 ui-monospace, Menlo, Consolas, monospace; }}
  p {{ margin: .25rem 0; opacity: .8; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<pre>{text}</pre>
<p>Save the file to try again: this page comes back by itself.</p>
<script>
  const wait = () => fetch(location.href, {{method: "HEAD", cache: "no-store", headers: {{"x-tricorn-wait": "1"}}}})
    .then(() => location.reload(), () => setTimeout(wait, 500));
  wait();
</script>
</body>
</html>
"""


class ErrorPage:
    """The ASGI application that shows ``error``."""

    def __init__(self, error: AppError) -> None:
        self.text = developers_view(error)[:MAX_SHOWN]
        """The error, for the terminal as well."""
        self.files = sorted(_files_of(error))
        """The developer's files that the error concerns. They are not loaded, so they must be named to be watched."""
        self._released = asyncio.Event()

    def release(self) -> None:
        """A file was saved: answer the requests that wait, so that their pages ask again."""
        self._released.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await _live(receive, send)
            case "http":
                await self._answer(scope, receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1011, "reason": "the application failed to start"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        kind, body = "text/plain", ELSEWHERE
        if is_developer(scope.get("client"), headers.get(b"host", b"").decode("latin-1")):
            if b"x-tricorn-wait" in headers:
                await self._wait(receive)
            kind, body = "text/plain", f"{self.text}\n"
            if b"text/html" in headers.get(b"accept", b"").lower():
                kind, body = "text/html", self._page()
        data = body.encode("utf-8", "replace")
        fields = [
            (b"content-type", f"{kind}; charset=utf-8".encode()),
            (b"content-length", str(len(data)).encode()),
            (b"cache-control", b"no-store"),
            (b"vary", b"accept"),
        ]
        await send({"type": "http.response.start", "status": 500, "headers": fields})
        await send({"type": "http.response.body", "body": data})

    async def _wait(self, receive: Receive) -> None:
        """Wait until a file is saved or the client has left."""
        left = asyncio.ensure_future(_left(receive))
        released = asyncio.ensure_future(self._released.wait())
        await asyncio.wait((left, released), return_when=asyncio.FIRST_COMPLETED)
        left.cancel()
        released.cancel()

    def _page(self) -> str:
        summary, _, details = self.text.partition("\n")
        last = self.text.rpartition("\n")[2]
        return PAGE.format(
            title=html.escape(last if details else "The application does not start"),
            summary=html.escape(summary),
            text=html.escape(details or self.text),
        )


def is_developer(client: tuple[str, int] | None, host: str) -> bool:
    """Whether a request comes from this machine and asks for one of its loopback names.

    ``client`` is the scope's. Behind a trusted proxy it is the address that the proxy tells. ``host`` is the value of the
    header, with or without a port.
    """
    name = host.rpartition("]")[0].removeprefix("[") or host.partition(":")[0]
    name = name.lower().removesuffix(".")
    # These names always mean the machine itself (RFC 6761 section 6.3).
    is_ours = name == "localhost" or name.endswith(".localhost") or is_loopback(name)
    return client is not None and is_loopback(client[0]) and is_ours


def is_loopback(address: str) -> bool:
    """Whether the address, IPv4 or IPv6, is a loopback one; False for text that is no address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


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


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _files_of(error: AppError) -> set[str]:
    found: set[str] = set()
    cause: BaseException | None = error.__context__
    while cause is not None:
        found |= {frame.filename for frame in traceback.extract_tb(cause.__traceback__)}
        if isinstance(cause, SyntaxError) and cause.filename:
            found.add(cause.filename)
        cause = cause.__cause__ or cause.__context__
    return {file for file in found if file.startswith("/") and is_developers(file)}
