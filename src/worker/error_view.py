"""Shows an error to the developer, with ``--reload``: as a page, as JSON, or as text, whatever the client takes.

All text is escaped. The page loads nothing, and its policy (Content-Security-Policy) allows no script and no style but its own.
"""

from __future__ import annotations

import html
import json
import linecache
import os
import traceback
from collections.abc import Iterator
from urllib.parse import quote

from ..config.frozen import Value
from ..protocols.asgi import Field, Scope
from .error_style import SCRIPT, STYLE
from .loader import trimmed
from .modules import is_developers

AROUND = 5
"""Lines of source shown before and behind the one that failed."""
MAX_TEXT = 20_000
"""Characters of a traceback that are shown, at most."""
MAX_VALUE = 500
"""Characters of one header that are shown, at most."""
MAX_CHAIN = 10
"""Causes of an error that are shown, at most."""
SECRET = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"x-api-key"})
"""Headers whose values are not shown: people show their screens to others."""
EDITORS = {
    "pycharm": "pycharm://open?file={path}&line={line}",
    "idea": "idea://open?file={path}&line={line}",
    "subl": "subl://open?url=file://{path}&line={line}",
    "cursor": "cursor://file{path}:{line}",
    "zed": "zed://file{path}:{line}",
    "codium": "vscodium://file{path}:{line}",
    "code": "vscode://file{path}:{line}",
}
"""The link that opens a file, by a word in VISUAL or EDITOR; the last one if none fits."""


class Shown(Value):
    """An error, ready to be shown."""

    title: str
    """Such as ``ValueError: no such user``."""
    summary: str
    """Where it happened."""
    text: str
    """The traceback with the developer's own frames, for the terminal and the clipboard."""
    error: BaseException | None = None
    """Has the frames to show with their source."""
    scope: Scope | None = None
    """The request that failed, if it was one."""

    def answer(self, scope: Scope) -> tuple[list[Field], bytes]:
        """Headers and body for the client of ``scope``, which must be the developer's."""
        accept = dict(scope["headers"]).get(b"accept", b"").lower()
        fields: list[Field] = [(b"cache-control", b"no-store"), (b"vary", b"accept"), (b"x-content-type-options", b"nosniff")]
        if b"text/html" in accept:
            nonce = os.urandom(16).hex()
            policy = (
                f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            )
            fields.append((b"content-security-policy", policy.encode()))
            kind, body = "text/html", self.page(nonce)
        elif b"json" in accept:
            kind, body = "application/json", json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n"
        else:
            kind, body = "text/plain", f"{self.text}\n"
        data = body.encode("utf-8", "replace")
        fields += [(b"content-type", f"{kind}; charset=utf-8".encode()), (b"content-length", str(len(data)).encode())]
        return fields, data

    def as_json(self) -> dict[str, object]:
        """What a JSON client gets."""
        frames = [
            {"file": one.filename, "line": one.lineno, "function": one.name, "code": one.line}
            for error in chain(self.error)
            for one in own_frames(error)
        ]
        return {"detail": self.title, "where": self.summary, "frames": frames, "traceback": self.text}

    def page(self, nonce: str) -> str:
        """The page. The browser runs only those parts of it that have ``nonce``."""
        method = self.scope["method"] if self.scope is not None else "GET"
        parts = [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{html.escape(self.title)}</title>\n<style nonce="{nonce}">{STYLE}</style>\n</head>\n<body>',
            f"<header><p>{html.escape(self.summary)}</p><h1>{html.escape(self.title)}</h1>",
            '<button type="button" id="copy">Copy traceback</button></header>\n<main>',
            *(part for error in chain(self.error) for part in _error_parts(error, self.error)),
            *_request_parts(self.scope),
            f'<details id="full"><summary>Traceback as text</summary><pre id="text">{html.escape(self.text)}</pre></details>',
            f'</main>\n<footer data-method="{html.escape(method, quote=True)}">',
            "Save the file to try again: this page comes back by itself.</footer>",
            f'<script nonce="{nonce}">{SCRIPT}</script>\n</body>\n</html>\n',
        ]
        return "\n".join(parts)


def of_exception(error: BaseException, scope: Scope) -> Shown:
    """What a handler raised for the request ``scope``."""
    path = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
    text = trimmed(error, is_developers)[:MAX_TEXT]
    return Shown(title_of(error), f"{scope['method']} {path}", text, error, scope)


def title_of(error: BaseException) -> str:
    """Class and message, in one line."""
    return " ".join("".join(traceback.format_exception_only(error)[-1:]).split())


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, the first cause last; of a group also its members."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < MAX_CHAIN:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        waiting.append(one.__cause__ or (None if one.__suppress_context__ else one.__context__))


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of the developer's own code, the outermost first; the innermost of all if there is none of it.

    The last one of a SyntaxError is the place that could not be parsed, which no frame is for.
    """
    frames = list(traceback.extract_tb(error.__traceback__))
    own = [frame for frame in frames if is_developers(frame.filename)]
    if isinstance(error, SyntaxError) and error.filename:
        return [*own, traceback.FrameSummary(error.filename, error.lineno or 0, "", line=(error.text or "").strip())]
    return own or frames[-1:]


def _error_parts(error: BaseException, first: BaseException | None) -> Iterator[str]:
    if error is not first:
        yield f"<h2>{html.escape(title_of(error))}</h2>"
    # The innermost frame is what the developer looks for.
    for frame in reversed(own_frames(error)):
        yield _frame_part(frame)


def _frame_part(frame: traceback.FrameSummary) -> str:
    file, line, function = frame.filename, frame.lineno or 0, frame.name
    linecache.checkcache(file)
    lines = linecache.getlines(file)
    first = max(1, line - AROUND)
    rows = []
    for number in range(first, min(len(lines), line + AROUND) + 1):
        text = lines[number - 1].rstrip("\n")
        code = _marked(text, frame) if number == line else html.escape(text)
        kind = ' class="here"' if number == line else ""
        rows.append(f"<span{kind}><i>{number:>5}</i> {code}\n</span>")
    where = f"{_short(file)}:{line}" + (f" in {function}" if function else "")
    link = f'<a href="{html.escape(editor_link(file, line), quote=True)}">{html.escape(where)}</a>'
    return f"<section><h3>{link}</h3><pre>{''.join(rows)}</pre></section>"


def _marked(text: str, frame: traceback.FrameSummary) -> str:
    """The line with the expression that failed marked."""
    start, end = getattr(frame, "colno", None), getattr(frame, "end_colno", None)
    if start is None or end is None or frame.end_lineno != frame.lineno:
        return html.escape(text)
    # Columns count bytes (PEP 657).
    data = text.encode()
    parts = [html.escape(part.decode(errors="replace")) for part in (data[:start], data[start:end], data[end:])]
    return f"{parts[0]}<mark>{parts[1]}</mark>{parts[2]}"


def _request_parts(scope: Scope | None) -> Iterator[str]:
    if scope is None:
        return
    yield f"<details><summary>Request: {html.escape(scope['method'])} {html.escape(scope['path'])}</summary><table>"
    if scope["query_string"]:
        yield _row("query", scope["query_string"].decode("latin-1"))
    for name, value in scope["headers"]:
        shown = "(not shown)" if name in SECRET else value.decode("latin-1")[:MAX_VALUE]
        yield _row(name.decode("latin-1"), shown)
    yield "</table></details>"


def _row(name: str, value: str) -> str:
    return f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"


def _short(file: str) -> str:
    """The path relative to the current directory, if it lies there."""
    try:
        below = f"{os.getcwd()}/"
    except OSError:
        return file
    return file.removeprefix(below)


def editor_link(file: str, line: int) -> str:
    """The link that opens the file in the developer's editor."""
    command = f"{os.environ.get('VISUAL', '')} {os.environ.get('EDITOR', '')}"
    known = next((link for word, link in EDITORS.items() if word in command), EDITORS["code"])
    return known.format(path=quote(os.path.abspath(file)), line=line)
