"""ASGI's extensions for responses: files, trailers, early hints."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from play import GET, OLD, answer, body, run, sends, start
from tricorn.protocols.http.connection import HttpConnection
from tricorn.protocols.service import Service
from wire import CODECS, App, Receive, Send, Wire, read_responses

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.SelectorEventLoop}
try:
    LOOPS["uvloop"] = importlib.import_module("uvloop").new_event_loop
except ImportError:  # pragma: no cover - an option of the installation
    pass
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
WITH_TRAILERS = b"GET / HTTP/1.1\r\nHost: a\r\nTE: deflate, trailers\r\n\r\n"
ANNOUNCED = start((b"trailer", b"x-sum")) | {"trailers": True}


def trailers(*headers: Any, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.trailers", "headers": list(headers), "more_trailers": more}


def hint(*links: Any) -> dict[str, Any]:
    return {"type": "http.response.early_hint", "links": list(links)}


def pathsend(path: Path | str) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


def after(messages: list[dict[str, Any]], *data: bytes) -> Wire:
    async def play() -> Wire:
        return await answer(sends(*messages), *data)

    return asyncio.run(play())


def test_the_extensions_are_announced() -> None:
    offered = after([start(), body()]).seen[0].scope["extensions"]
    assert {"http.response.pathsend", "http.response.trailers", "http.response.early_hint"} <= set(offered)


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


# Files.


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))
    return path


async def fetch(app: App, data: bytes, limit: int | None = None) -> bytes:
    """What comes back over a real socket until its end, or its first ``limit`` bytes before the client leaves."""
    loop = asyncio.get_running_loop()
    parse, lane = CODECS["auto"]
    service = Service(app, loop, parse, fast=lane)  # type: ignore[arg-type]
    ours, theirs = socket.socketpair()
    await loop.connect_accepted_socket(lambda: HttpConnection(service), ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    writer.write(data)
    if limit is not None:
        found = await reader.readexactly(limit)
        writer.close()
        await service.emptied()
        return found
    writer.write_eof()
    found = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return found


@pytest.mark.parametrize("loop", LOOPS)
def test_a_file_goes_out_whole_and_the_connection_goes_on(loop: str, file: Path) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        data = runner.run(fetch(sends(start((b"content-type", b"x/y")), pathsend(file)), GET + GET))
    first, second = read_responses(data, ["GET", "GET"], closed=True)
    assert first["content-length"] == "3000000"
    assert first["content-type"] == "x/y"
    assert first.body == second.body == file.read_bytes()


@pytest.mark.parametrize("loop", LOOPS)
def test_head_304_and_empty_files_send_no_body(loop: str, file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for messages, data, length in (
        ([start(), pathsend(file)], HEAD, "3000000"),
        ([start(), pathsend(empty)], GET, "0"),
        ([start(status=304), pathsend(file)], GET, None),
    ):
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            output = runner.run(fetch(sends(*messages), data))
        (response,) = read_responses(output, [data.split()[0].decode()], closed=True)
        assert (response["content-length"], response.body) == (length, b"")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_file_arrives_whole_though_trailers_were_announced(loop: str, file: Path) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        data = runner.run(fetch(sends(start() | {"trailers": True}, pathsend(file)), GET))
    (response,) = read_responses(data, ["GET"], closed=True)
    assert (response["content-length"], response.body) == ("3000000", file.read_bytes())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_leaves_in_the_middle_of_a_file(loop: str, file: Path) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        data = runner.run(fetch(sends(start(), pathsend(file)), GET, limit=200_000))
    assert len(data) == 200_000


@pytest.mark.parametrize("end", [body(), pathsend(__file__), start()], ids=["body", "file", "start"])
def test_a_file_that_was_not_sent_to_its_end_breaks_the_response_off(
    file: Path, end: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def half(self: HttpConnection, file: BinaryIO, size: int) -> None:
        self.write(file.read(size // 2))
        raise TimeoutError

    monkeypatch.setattr(HttpConnection, "send_file", half)

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send(start())
        with suppress(TimeoutError):
            await send(pathsend(file))
        await send(end)

    @run
    async def play() -> None:
        wire = await answer(app, GET + GET)
        assert wire.transport.closed
        assert len(wire.seen) == 1
        (response,) = wire.responses()
        assert not response.whole

    assert "while a file is sent" in caplog.text


def test_a_file_that_is_not_there_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    (response,) = after([start(), pathsend("/nonexistent/file")]).responses()
    assert response.status == 500
    assert "FileNotFoundError" in caplog.text


def test_a_file_of_another_size_than_said_is_a_500(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    (response,) = after([start((b"content-length", b"5")), pathsend(file)]).responses()
    assert response.status == 500
    assert "3000000 bytes" in caplog.text


@pytest.mark.parametrize("messages", [[pathsend("/x")], [start(), body(b"a", more=True), pathsend("/x")]])
def test_a_file_at_the_wrong_time_is_an_error(messages: list[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    @run
    async def play() -> None:
        wire = await answer(sends(*messages))
        assert wire.transport.closed

    assert "http.response.pathsend" in caplog.text
