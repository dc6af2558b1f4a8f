"""The opening handshake, as tables of requests and answers."""

from __future__ import annotations

import pytest
from support.play import run, sends
from support.websocket_wire import KEY, Peer, request
from support.wire import CODECS
from tricorn.errors import AppError
from tricorn.protocols.http1 import h11_codec
from tricorn.protocols.request import RequestHead
from tricorn.protocols.websocket.deflate import Agreement
from tricorn.protocols.websocket.handshake import Offer, Refusal, answer, negotiate


def head_of(raw: bytes) -> RequestHead:
    return h11_codec.parse(raw)


def offer_of(*headers: str) -> Offer:
    verdict = negotiate(head_of(request("/", *headers)))
    assert isinstance(verdict, Offer), verdict
    return verdict


def test_the_example_of_the_rfc() -> None:
    """RFC 6455 section 1.3."""
    raw = request().replace(KEY, b"dGhlIHNhbXBsZSBub25jZQ==")
    verdict = negotiate(head_of(raw))
    assert isinstance(verdict, Offer)
    assert verdict.accept == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


NOT_ONE = [
    request().replace(b"Upgrade: websocket\r\n", b""),
    request().replace(b"Upgrade: websocket", b"Upgrade: h2c"),
    request().replace(b"Upgrade: websocket", b"Upgrade: websockets"),
    request().replace(b"keep-alive, Upgrade", b"keep-alive"),
    request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    # Whether its body or the first frames come next would be anyone's guess.
    request("/", "Content-Length: 5"),
]


@pytest.mark.parametrize("raw", NOT_ONE)
def test_requests_that_do_not_ask_for_websocket(raw: bytes) -> None:
    assert negotiate(head_of(raw)) is None


REFUSED = {
    "another method": (request(method="POST"), 405, b"allow: GET\r\n"),
    "an old version": (request(version="8"), 426, b"sec-websocket-version: 13\r\n"),
    "no number for a version": (request(version="13, 8"), 426, b"sec-websocket-version: 13\r\n"),
    "two versions": (request("/", "Sec-WebSocket-Version: 8"), 426, b"sec-websocket-version: 13\r\n"),
    "no version": (request().replace(b"Sec-WebSocket-Version: 13\r\n", b""), 400, b""),
    "no key": (request().replace(b"Sec-WebSocket-Key: " + KEY + b"\r\n", b""), 400, b""),
    "two keys": (request("/", f"Sec-WebSocket-Key: {KEY.decode()}"), 400, b""),
    "a short key": (request().replace(KEY, b"c2hvcnQ="), 400, b""),
    "a long key": (request().replace(KEY, b"MDEyMzQ1Njc4OWFiY2RlZjA="), 400, b""),
    "a key that is no base64": (request().replace(KEY, b"MDEyMzQ1Njc4*WFiY2RlZg=="), 400, b""),
    "an empty subprotocol": (request("/", "Sec-WebSocket-Protocol: chat,,soap"), 400, b""),
    "a subprotocol that is no token": (request("/", "Sec-WebSocket-Protocol: two words"), 400, b""),
    "malformed extensions": (request("/", "Sec-WebSocket-Extensions: permessage-deflate; =1"), 400, b""),
    "an unfinished quotation": (request("/", 'Sec-WebSocket-Extensions: x; y="1'), 400, b""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_handshakes(name: str) -> None:
    raw, status, extra = REFUSED[name]
    verdict = negotiate(head_of(raw))
    assert isinstance(verdict, Refusal)
    assert verdict.status == status
    assert extra in verdict.extra


def test_a_refused_version_names_the_protocol_to_upgrade_to() -> None:
    """RFC 9110 section 15.5.22."""
    verdict = negotiate(head_of(request(version="7")))
    assert isinstance(verdict, Refusal)
    assert verdict.extra == b"sec-websocket-version: 13\r\nupgrade: websocket\r\nconnection: upgrade\r\n"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("lines", ["Upgrade: h2c, websocket", "Upgrade: WebSocket,h2c", "Upgrade: h2c\r\nUpgrade: websocket"])
def test_a_connection_is_upgraded_whatever_else_the_client_would_speak(lines: str, codec: str) -> None:
    @run
    async def play() -> None:
        peer = Peer(sends({"type": "websocket.accept", "subprotocol": ""}, {"type": "websocket.close"}), codec=codec)
        await peer.say(request().replace(b"Upgrade: websocket", lines.encode()))
        assert peer.status == 101


@pytest.mark.parametrize("value", ["websocket", "WebSocket", "h2c, WEBSOCKET"])
def test_the_protocol_is_found_whatever_its_case_and_company(value: str) -> None:
    raw = request().replace(b"Upgrade: websocket", b"Upgrade: " + value.encode())
    assert isinstance(negotiate(head_of(raw)), Offer)


@pytest.mark.parametrize(
    ("headers", "subprotocols"),
    [
        ([], []),
        (["Sec-WebSocket-Protocol: chat"], ["chat"]),
        (["Sec-WebSocket-Protocol: graphql-transport-ws ,\tgraphql-ws"], ["graphql-transport-ws", "graphql-ws"]),
        (["Sec-WebSocket-Protocol: b", "Sec-WebSocket-Protocol: a, c"], ["b", "a", "c"]),
    ],
)
def test_subprotocols_in_the_clients_order(headers: list[str], subprotocols: list[str]) -> None:
    assert offer_of(*headers).subprotocols == subprotocols


DEFLATE = {
    "permessage-deflate": Agreement(12, None),
    "permessage-deflate; client_max_window_bits": Agreement(12, 12),
    "permessage-deflate; client_max_window_bits=15; server_max_window_bits=15": Agreement(12, 12),
    "permessage-deflate; client_max_window_bits=8": Agreement(12, 8),
    'permessage-deflate; server_max_window_bits="10"': Agreement(10, None),
    "permessage-deflate; server_no_context_takeover": Agreement(12, None, server_takeover=False),
    "permessage-deflate; client_no_context_takeover": Agreement(12, None, client_takeover=False),
    "permessage-deflate;client_no_context_takeover;server_no_context_takeover": Agreement(12, None, False, False),
    "x-webkit-deflate-frame, permessage-deflate": Agreement(12, None),
    # RFC 7692 section 7.1: what can't be accepted is declined, and the next offer considered.
    "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9": Agreement(9, None),
    "permessage-deflate; server_max_window_bits=8": None,
    "permessage-deflate; server_max_window_bits": None,
    "permessage-deflate; server_max_window_bits=16": None,
    "permessage-deflate; client_max_window_bits=7": None,
    "permessage-deflate; client_max_window_bits=012": None,
    "permessage-deflate; server_no_context_takeover=1": None,
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover": None,
    "permessage-deflate; unknown": None,
    "permessage-bzip2": None,
}


@pytest.mark.parametrize("value", DEFLATE)
def test_what_compression_is_agreed_upon(value: str) -> None:
    assert offer_of(f"Sec-WebSocket-Extensions: {value}").deflate == DEFLATE[value]


def test_compression_can_be_unwanted() -> None:
    verdict = negotiate(head_of(request("/", "Sec-WebSocket-Extensions: permessage-deflate")), deflate=False)
    assert isinstance(verdict, Offer)
    assert verdict.deflate is None


@pytest.mark.parametrize(
    ("agreement", "field"),
    [
        (Agreement(), b"permessage-deflate; server_max_window_bits=12"),
        (
            Agreement(9, 8, False, False),
            b"permessage-deflate; server_max_window_bits=9; client_max_window_bits=8; "
            b"server_no_context_takeover; client_no_context_takeover",
        ),
    ],
)
def test_the_answer_says_what_is_agreed(agreement: Agreement, field: bytes) -> None:
    lines, _ = answer(Offer(b"x", [], agreement), None, [])
    assert b"sec-websocket-extensions: " + field + b"\r\n" in lines


@pytest.mark.parametrize(("subprotocol", "headers"), [("", []), (None, [(b"sec-websocket-protocol", b"")])])
def test_an_empty_subprotocol_is_none(subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> None:
    for offered in ([], ["a"]):
        lines, extra = answer(Offer(b"x", offered, None), subprotocol, headers)
        assert b"protocol" not in lines
        assert not extra


@pytest.mark.parametrize(
    ("subprotocol", "headers"),
    [("b", []), (None, [(b"Sec-WebSocket-Protocol", b"b")]), ("b", [(b"sec-websocket-protocol", b"b")])],
)
def test_the_answer_names_the_subprotocol(subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> None:
    lines, extra = answer(Offer(b"x", ["a", "b"], None), subprotocol, [*headers, (b"x-more", b"1")])
    assert lines.endswith(b"sec-websocket-protocol: b\r\n")
    assert extra == [(b"x-more", b"1")]


@pytest.mark.parametrize(
    ("subprotocol", "headers", "complaint"),
    [
        ("c", [], "none of those that the client offers"),
        ("a", [(b"sec-websocket-protocol", b"b")], "two subprotocols"),
        (None, [(b"Sec-WebSocket-Accept", b"x")], "belongs to the server"),
        (None, [(b"sec-websocket-extensions", b"x")], "belongs to the server"),
        (None, [(b"upgrade", b"h2c")], "belongs to the server"),
    ],
)
def test_what_an_application_may_not_answer(
    subprotocol: str | None, headers: list[tuple[bytes, bytes]], complaint: str
) -> None:
    with pytest.raises(AppError, match=complaint):
        answer(Offer(b"x", ["a", "b"], None), subprotocol, headers)
