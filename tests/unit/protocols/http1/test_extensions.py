"""ASGI's extensions for responses: trailers, early hints. Files are in test_pathsend.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.play import GET, OLD, answer, body, sends, start
from support.wire import Wire

HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
WITH_TRAILERS = b"GET / HTTP/1.1\r\nHost: a\r\nTE: deflate, trailers\r\n\r\n"
ANNOUNCED = start((b"trailer", b"x-sum")) | {"trailers": True}


def trailers(*headers: Any, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.trailers", "headers": list(headers), "more_trailers": more}


def hint(*links: Any) -> dict[str, Any]:
    return {"type": "http.response.early_hint", "links": list(links)}


def after(messages: list[dict[str, Any]], *data: bytes) -> Wire:
    async def play() -> Wire:
        return await answer(sends(*messages), *data)

    return asyncio.run(play())


def test_the_extensions_are_announced() -> None:
    offered = after([start(), body()]).seen[0].scope["extensions"]
    assert set(offered) == {"http.response.trailers", "http.response.early_hint"}


# Trailers.


@pytest.mark.parametrize(
    "pieces", [[body(b"hello")], [body(b"hel", more=True), body(b"lo")], [body(b"hello", more=True), body()]]
)
def test_trailers_go_out_to_who_wants_them(pieces: list[dict[str, Any]]) -> None:
    wire = after([ANNOUNCED, *pieces, trailers((b"x-sum", b"1"), more=True), trailers((b"x-more", b"2"))], WITH_TRAILERS, GET)
    first, second = wire.responses()
    assert (first["transfer-encoding"], first.body, first["x-sum"], first["x-more"]) == ("chunked", b"hello", "1", "2")
    assert (second.body, second["x-sum"]) == (b"hello", None)
    assert not wire.transport.closed


@pytest.mark.parametrize("data", [OLD, HEAD, GET])
def test_trailers_are_dropped_where_there_is_no_place_for_them(data: bytes) -> None:
    (response,) = after([ANNOUNCED, body(b"hello"), trailers((b"x-sum", b"1"))], data).responses()
    assert response["x-sum"] is None
    assert response.body == (b"" if data is HEAD else b"hello")


def test_trailers_behind_a_body_of_known_length_are_dropped() -> None:
    begun = start((b"content-length", b"5")) | {"trailers": True}
    (response,) = after([begun, body(b"hello"), trailers((b"x-sum", b"1"))], WITH_TRAILERS).responses()
    assert (response["content-length"], response.body, response["x-sum"]) == ("5", b"hello", None)


@pytest.mark.parametrize("length", [(), ((b"content-length", b"5"),)])
def test_a_response_whose_trailers_never_come_is_whole(length: tuple[Any, ...], caplog: pytest.LogCaptureFixture) -> None:
    wire = after([start(*length) | {"trailers": True}, body(b"hello")], WITH_TRAILERS, GET)
    assert [(response.whole, response.body) for response in wire.responses()] == [(True, b"hello")] * 2
    assert not wire.transport.closed
    assert not caplog.records


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([ANNOUNCED, body(b"a"), trailers((b"x", b"a\r\nb"))], "control characters"),
        ([ANNOUNCED, body(b"a"), trailers((b"x y", b"a"))], "token"),
        ([ANNOUNCED, body(b"a"), trailers((b"content-length", b"1"))], "no meaning"),
        ([ANNOUNCED, body(b"a"), body(b"b")], "after the body"),
        ([ANNOUNCED, body(b"a"), trailers((b"x-sum", b"1"), more=True)], "without completing"),
        ([ANNOUNCED, trailers()], "twice"),
        ([trailers()], "before"),
        ([start(), body(b"a", more=True), trailers()], "twice"),
    ],
    ids=str,
)
def test_wrong_trailers_break_the_response_off(
    messages: list[dict[str, Any]], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire = after(messages, WITH_TRAILERS)
    assert wire.transport.closed
    assert message in caplog.text
    assert all(response.status == 500 or not response.whole for response in wire.responses())


# Early hints.


def test_hints_go_out_before_the_response() -> None:
    wire = after([hint(b"</a.css>; rel=preload"), start(), hint(b"</b>", b"</c>"), body(b"a")])
    first, second, final = wire.responses()
    assert [first.status, second.status, final.status] == [103, 103, 200]
    assert first.headers == [(b"link", b"</a.css>; rel=preload")]
    assert second.headers == [(b"link", b"</b>"), (b"link", b"</c>")]
    assert final.body == b"a"


@pytest.mark.parametrize("data", [OLD])
def test_no_hints_to_http_1_0(data: bytes) -> None:
    assert [response.status for response in after([hint(b"</a>"), start(), body()], data).responses()] == [200]


def test_hints_behind_the_head_are_dropped() -> None:
    (response,) = after([start(), body(b"a", more=True), hint(b"</a>"), body(b"b")]).responses()
    assert response.body == b"ab"


def test_a_hint_with_a_control_character_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    (response,) = after([hint(b"</a>\r\nx: y")]).responses()
    assert response.status == 500
    assert "control characters" in caplog.text
