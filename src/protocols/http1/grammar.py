"""The rules of RFC 9110 and 9112 that no parser may bend: what is wrong with a head, and what a good one means.

For the codecs behind the fast lane. Loaded when a request needs one of them: compiling the patterns takes a while.
"""

from __future__ import annotations

import re

from ...errors import BadRequest
from ..asgi import Fields
from ..proxy.headers import FIELDS as PROXY_FIELDS
from ..request import RequestHead, Terms, split_target
from .codec import TOKEN, is_host

_HEAD = re.compile(
    rb"(%b) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n(?:%b:[\t -~\x80-\xff]*\r\n)*\r\n" % (TOKEN, TOKEN),
)
_FRAMING = re.compile(rb"\r\n(content[-_]length|transfer[-_]encoding):([^\r]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_CODINGS = re.compile(rb"%b(?:, ?%b)*" % (TOKEN, TOKEN))
_AUTHORITY = re.compile(rb"[^:/?#@]+:[0-9]+|\[[^]]+\]:[0-9]+")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_MISTAKES = (
    (re.compile(rb"\x00"), "NUL in the request head"),
    (re.compile(rb"(?<!\r)\n"), "line feed without carriage return in the request head"),
    (re.compile(rb"\r(?!\n)"), "carriage return without line feed in the request head"),
    (re.compile(rb"\r\n[ \t]"), "folded header line"),
    (re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]"), "control character in the request head"),
    (re.compile(rb"\n[^\r\n:]*[ \t]:"), "white space before the colon of a header"),
)
_UNFINISHED = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
_REQUEST_LINE = re.compile(rb"%b [!-~]+ HTTP/[0-9]\.[0-9]\r\n" % TOKEN)


def check_unfinished(data: bytes, checked: int = 0) -> None:
    """Refuse at once what can't become a request head any more, rather than wait for its end.

    ``checked``: bytes that have passed before.
    """
    start = max(0, checked - 1)
    if _UNFINISHED.search(data, start) or (data.find(b"\r\n", start) >= 0 and not _REQUEST_LINE.match(data)):
        raise BadRequest(400, _mistake(data))


def check_grammar(raw: bytes) -> tuple[bytes, bytes, bytes]:
    """The strict grammar of a request head (RFC 9112 sections 2.2, 3 and 5), and its framing fields as they stand on the wire.

    Returns method, target and version (such as ``b"1.1"``). Parsers are more lenient (h11 takes a bare line feed, joins folded
    lines and merges equal Content-Lengths), so this looks at the bytes before they do.
    """
    match = _HEAD.fullmatch(raw)
    if match is None:
        raise BadRequest(400, _mistake(raw))
    if match[3][:1] != b"1":
        raise BadRequest(505, "HTTP version not supported")
    framing = _FRAMING.findall(raw)
    if len(framing) > 1:
        raise BadRequest(400, "more than one Content-Length or Transfer-Encoding")
    for name, value in framing:
        plain = value.strip(b" ")
        if b"_" in name:
            # Some recipients take an underscore for a hyphen, so these two names can only be an attack.
            raise BadRequest(400, "underscore in the name of a framing header")
        if name[:1] in b"cC":
            # White space around a value is not part of it (RFC 9110 section 5.5). Leading zeros are within the grammar, but are
            # octal to some recipients: only an attack has them.
            if not _LENGTH.fullmatch(value.strip(b" \t")):
                raise BadRequest(400, "Content-Length is not a plain number")
        elif plain.lower() != b"chunked":
            # Tabs around it are legal, too, but sent only because some proxies overlook a coding behind one.
            # Chunked but not at the end, or twice, is malformed; other codings are just not implemented (section 6.1).
            before_last = [coding.strip(b" ") for coding in plain.lower().split(b",")[:-1]]
            unknown = _CODINGS.fullmatch(plain) and b"chunked" not in before_last
            raise BadRequest(501 if unknown else 400, "transfer coding other than chunked")
    return match[1], match[2], match[3]


def _mistake(data: bytes) -> str:
    for pattern, reason in _MISTAKES:
        if pattern.search(data):
            return reason
    return "malformed request line" if not _REQUEST_LINE.match(data) else "malformed header"


def interpret(method: bytes, target: bytes, version: bytes, headers: Fields) -> RequestHead:
    """What a well-formed head means: version, target, Host, framing, Connection and Expect, by RFC 9110 and 9112.

    ``version`` is such as ``b"1.1"``; the names in ``headers`` are in lower case. Raises :class:`BadRequest`.
    """
    length: int | None = 0
    hosts: list[bytes] = []
    options: set[bytes] = set()
    expected: set[bytes] = set()
    types: list[bytes] = []
    protocols: set[bytes] = set()
    proxied = False
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"connection":
            options.update(option.strip(b" \t").lower() for option in value.split(b","))
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            length = None
        elif name == b"content-type":
            types.append(value)
        elif name == b"expect":
            expected.update(item.strip(b" \t").lower() for item in value.split(b","))
        elif name == b"upgrade":
            protocols.update(protocol.strip(b" \t").lower() for protocol in value.split(b","))
        elif name in PROXY_FIELDS:
            proxied = True
    old = version == b"1.0"
    _check_host(hosts, old)
    if length is None:
        if old:
            raise BadRequest(400, "Transfer-Encoding in an HTTP/1.0 request")
        # In one case for all, as h11 does.
        headers = [(name, b"chunked" if name == b"transfer-encoding" else value) for name, value in headers]
    if len(types) > 1:
        headers = _merge_types(headers, types)
    if method == b"TRACE" and length != 0:
        raise BadRequest(400, "TRACE with a body")
    # RFC 9110 section 7.8: a list, of which the server may choose. HTTP/1.0 does not know it. With a body there would be two
    # readings of what comes next: the body, or the other protocol. It is ignored then.
    websocket = b"websocket" in protocols and b"upgrade" in options and length == 0 and not old
    lasting = b"close" not in options and (not old or b"keep-alive" in options)
    terms = Terms("1.0" if old else "1.1", lasting, proxied, _expects(expected, old) and length != 0, websocket)
    target, headers = _reduce_target(method, target, headers)
    return RequestHead(method.decode("ascii"), target, split_target(target), tuple(headers), length, terms)


def _merge_types(headers: Fields, types: list[bytes]) -> Fields:
    """``headers`` with one Content-Type for several equal ones. Raises :class:`BadRequest` if they differ.

    It is no list (RFC 9110 sections 5.3 and 8.3): of different ones two recipients could read the body as two different things.
    Equal ones are merged, as section 8.6 allows for Content-Length, so no recipient behind us has to choose.
    """
    if len(set(types)) > 1:
        raise BadRequest(400, "more than one Content-Type")
    first = next(at for at, (name, _) in enumerate(headers) if name == b"content-type")
    return [*headers[: first + 1], *(field for field in headers[first + 1 :] if field[0] != b"content-type")]


def _expects(expected: set[bytes], old: bool) -> bool:
    """Whether the client waits to be asked for its body. HTTP/1.0 knows no expectations: ignored (RFC 9110 section 10.1.1)."""
    if old:
        return False
    if expected - {b"100-continue", b""}:
        raise BadRequest(417, "expectation not supported")
    return b"100-continue" in expected


def _check_host(hosts: list[bytes], old: bool) -> None:
    """RFC 9112 section 3.2: exactly one Host in HTTP/1.1, valid or empty; at most one before.

    A client must send an empty one where its target URI has no authority. For an http URI a server may refuse that or serve
    what it has for such requests (section 3.3): that is left to the application, which sees the empty Host.
    """
    if len(hosts) > 1:
        raise BadRequest(400, "more than one Host")
    if not hosts:
        if not old:
            raise BadRequest(400, "missing Host")
    elif hosts[0] and not is_host(hosts[0]):
        raise BadRequest(400, "malformed Host")


def _reduce_target(method: bytes, target: bytes, headers: Fields) -> tuple[bytes, Fields]:
    """The four forms of RFC 9112 section 3.2, reduced to origin-form or an asterisk; and the fields that go with it."""
    if b"#" in target:
        raise BadRequest(400, "fragment in the request target")
    if method == b"CONNECT":
        raise BadRequest(501 if _AUTHORITY.fullmatch(target) and is_host(target) else 400, "CONNECT is not supported")
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return target, headers
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not is_host(absolute[1]):
        raise BadRequest(400, "malformed request target")
    path = absolute[2] or (b"*" if method == b"OPTIONS" and not absolute[3] else b"/")
    # The target's authority replaces Host (section 3.2.2): an application must not see two different hosts.
    # HTTP/1.0 may have none.
    others = [field for field in headers if field[0] != b"host"]
    return path + (absolute[3] or b""), [(b"host", absolute[1]), *others]
