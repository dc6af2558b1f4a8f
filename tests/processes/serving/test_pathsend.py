"""Files as bodies: ASGI's extension ``http.response.pathsend``, and what becomes of a file where it is not offered."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.certificates import Authority
from support.harness import PATIENCE, Client, Server, get
from support.play import GET, answer, body, run, sends, start
from support.wire import CODECS, App, Receive, Response, Send, read_responses
from tricorn.errors import AppError
from tricorn.protocols.context import Service
from tricorn.protocols.facts import Opening
from tricorn.protocols.http1.connection import HttpConnection
from tricorn.protocols.http1.shared import Http1
from tricorn.protocols.sendfile import AT_ONCE, READ_AT_ONCE, SMALL, File, in_thread
from tricorn.protocols.writer import Writer

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.SelectorEventLoop}
try:
    LOOPS["uvloop"] = importlib.import_module("uvloop").new_event_loop
except ImportError:  # pragma: no cover - an option of the installation
    pass
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"


def pathsend(path: Path | str) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))
    return path


async def fetch(app: App, data: bytes, limit: int | None = None) -> bytes:
    """What comes back over a real socket until its end, or its first ``limit`` bytes before the client leaves."""
    loop = asyncio.get_running_loop()
    service = Service(app, loop)  # type: ignore[arg-type]
    ours, theirs = socket.socketpair()
    await loop.connect_accepted_socket(lambda: Opening(partial(HttpConnection, Http1(service, *CODECS["auto"]))), ours)
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
    async def half(self: Writer, file: File) -> None:
        self.write(file.read(0))
        raise TimeoutError

    monkeypatch.setattr(Writer, "send_file", half)

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send(start())
        with suppress(TimeoutError):
            await send(pathsend(file))
        await send(end)

    data = asyncio.run(fetch(app, GET + GET))
    (response,) = read_responses(data, ["GET"], closed=True)
    assert not response.whole
    assert "while a file is sent" in caplog.text


def respond(messages: list[dict[str, Any]]) -> Response:
    """The response to a GET when an application sends these."""
    data = asyncio.run(fetch(sends(*messages), GET))
    (response,) = read_responses(data, ["GET"], closed=True)
    return response


@pytest.mark.parametrize(("kind", "message"), [("none", "FileNotFoundError"), ("folder", "regular"), ("fifo", "regular")])
def test_what_is_no_regular_file_is_a_500(kind: str, message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    assert respond([start(), pathsend(path)]).status == 500
    assert message in caplog.text


def test_a_file_of_another_size_than_said_is_a_500(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert respond([start((b"content-length", b"5")), pathsend(file)]).status == 500
    assert "3000000 bytes" in caplog.text


@pytest.mark.parametrize("messages", [[pathsend("/x")], [start(), body(b"a", more=True), pathsend("/x")]])
def test_a_file_at_the_wrong_time_is_an_error(messages: list[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    @run
    async def play() -> None:
        wire = await answer(sends(*messages))
        assert wire.transport.closed

    assert "http.response.pathsend" in caplog.text


def test_a_response_begun_while_a_file_is_opened_stands(file: Path) -> None:
    @run
    async def play() -> None:
        errors: asyncio.Queue[str] = asyncio.Queue()

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            opening = asyncio.ensure_future(send(pathsend(file)))
            await asyncio.sleep(0)
            await send(body(b"first"))
            with pytest.raises(AppError) as caught:
                await opening
            errors.put_nowait(str(caught.value))

        data = await fetch(app, GET)
        assert [response.body for response in read_responses(data, ["GET"], closed=True)] == [b"first"]
        assert "after the response was complete" in await asyncio.wait_for(errors.get(), PATIENCE)


SIZES = [0, 1, SMALL - 1, SMALL, SMALL + 1, READ_AT_ONCE, READ_AT_ONCE + 1, AT_ONCE + READ_AT_ONCE + 1]


@pytest.mark.parametrize("size", SIZES)
def test_files_of_sizes_around_every_limit(size: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    response = respond([start(), pathsend(path)])
    assert (response["content-length"], response.body) == (str(size), path.read_bytes())


# What blocks runs in threads.


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_that_waits_for_a_disk_runs_in_the_loops_thread(loop: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, bool, int]] = []

    def watch(name: str, place: int) -> None:
        real = getattr(os, name)

        def watched(*args: Any) -> Any:
            if name != "open" or args[0] == str(file):
                calls.append((name, threading.current_thread() is threading.main_thread(), args[place]))
            return real(*args)

        monkeypatch.setattr(os, name, watched)

    for name, place in (("open", 1), ("pread", 2), ("sendfile", 2)):
        watch(name, place)
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(fetch(sends(start(), pathsend(file)), GET))
    assert {name for name, _, _ in calls} == {"open", "pread", "sendfile"}
    # What was read a moment ago is in memory: it may be sent at once.
    assert all(name == "sendfile" and place < READ_AT_ONCE for name, in_loop, place in calls if in_loop)


def test_a_cancellation_leaves_descriptors_to_the_thread_that_uses_them() -> None:
    @run
    async def play() -> None:
        going_on, done = threading.Event(), []

        def work() -> None:
            assert going_on.wait(PATIENCE)
            done.append(True)
            raise OSError("nobody hears of this")

        task = asyncio.ensure_future(in_thread(asyncio.get_running_loop(), work))
        for _ in range(2):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        going_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [True]


# Real servers.


@pytest.mark.parametrize("loop", LOOPS)
def test_files_over_tls(loop: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue()
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))
    arguments = ("--ssl-certfile", cert, "--ssl-keyfile", key, "--loop", loop, "--pathsend")
    with Server("tests.apps.files:by_path", *arguments) as server:
        client = HTTPSConnection("localhost", server.port, context=authority.client(), timeout=PATIENCE)
        client.request("GET", "/" + quote(str(path)))
        assert client.getresponse().read() == path.read_bytes()
        client.close()


@pytest.mark.parametrize(("arguments", "offered"), [((), b"False"), (("--pathsend",), b"True")])
def test_pathsend_is_offered_to_those_who_ask_for_it(arguments: tuple[str, ...], offered: bytes) -> None:
    with Server("tests.apps.files:is_offered", *arguments) as server:
        assert get(server.port).body == offered


def test_files_get_through_middleware_as_on_any_server() -> None:
    with Server("tests.apps.files:buffered") as server:
        assert get(server.port).status == 200
    with Server("tests.apps.files:gzipped") as server:
        client = Client(server.port)
        answer = client.ask("GET", "/", headers={"Accept-Encoding": "gzip"})
        client.close()
    assert answer.headers["content-encoding"] == "gzip"
    assert b"middleware" in gzip.decompress(answer.body)
