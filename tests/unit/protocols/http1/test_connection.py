"""A connection under pressure and at its end: flow control, corking, limits, drain."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from support.play import GET, OLD, Clock, answer, body, run, sends, start
from support.wire import App, Receive, Send, Wire, echo, turn
from tricorn.protocols.context import Phase
from tricorn.protocols.limits import Limits
from tricorn.protocols.proxy.headers import Proxies, Trusted


def test_reading_pauses_while_the_application_does_not_take_the_body() -> None:
    @run
    async def play() -> None:
        go = asyncio.Event()

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await go.wait()
            await echo(scope, receive, send)

        size = 300_000
        wire = await answer(app, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        sent = 0
        while not wire.transport.paused:
            wire.transport.protocol.data_received(b"x" * 10_000)
            sent += 10_000
            await turn(wire.loop)
        assert 60_000 <= sent <= 80_000
        go.set()
        await wire.feed(*[b"x" * 10_000] * ((size - sent) // 10_000))
        await wire.settle()
        assert len(wire.responses()[0].body) == size
        assert not wire.transport.paused


@pytest.mark.parametrize("end", [b"0\r\n\r\n" + GET, b"x", b""])
def test_a_body_in_tiny_chunks_leaves_turns_to_others(end: bytes) -> None:
    @run
    async def play() -> None:
        count = 50_000
        wire = await answer(echo, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.transport.protocol.data_received(b"1\r\na\r\n" * count + end)
        turns = 0
        while wire.transport.paused:
            before = len(wire.seen[0].body)
            await turn(wire.loop)
            assert len(wire.seen[0].body) - before <= 2500
            turns += 1
        assert turns > 20
        await wire.settle()
        if end == b"x":
            assert [response.status for response in wire.responses()] == [400]
            return
        if not end:
            await wire.feed(b"0\r\n\r\n" + GET)
            await wire.settle()
        assert [len(response.body) for response in wire.responses()] == [count, 0]


def test_reading_pauses_while_pipelined_requests_wait() -> None:
    @run
    async def play() -> None:
        go = asyncio.Event()

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await go.wait()
            await echo(scope, receive, send)

        wire = await answer(app)
        count = 0
        while not wire.transport.paused:
            wire.transport.protocol.data_received(GET * 100)
            count += 100
            assert count < 10_000
        go.set()
        for _ in range(count * 4):
            await turn(wire.loop)
        assert len(wire.responses()) == count + 1
        assert not wire.transport.paused


def test_sending_waits_while_the_client_does_not_read() -> None:
    @run
    async def play() -> None:
        sent: list[int] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            for number in range(5):
                await send(body(b"x" * 1000, more=True))
                sent.append(number)
            await send(body())

        wire = Wire(app)
        wire.connection.pause_writing()
        await wire.feed(GET)
        await wire.settle()
        assert sent == []
        wire.connection.resume_writing()
        await wire.settle()
        assert sent == [0, 1, 2, 3, 4]
        assert len(wire.responses()[0].body) == 5000


def test_a_sender_that_is_cancelled_while_it_waits_leaves_the_others_waiting() -> None:
    @run
    async def play() -> None:
        ends: list[str] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            first = asyncio.ensure_future(send(body(b"one", more=True)))
            second = asyncio.ensure_future(send(body(b"two", more=True)))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first, second])
            ends.append("cancelled" if second.cancelled() else "sent")
            await send(body())

        wire = Wire(app)
        wire.connection.pause_writing()
        await wire.feed(GET)
        await wire.settle()
        wire.connection.resume_writing()
        await wire.settle()
        assert ends == ["sent"]
        assert wire.responses()[0].body == b"onetwo"


def test_a_client_that_leaves_releases_a_sender_that_waits() -> None:
    @run
    async def play() -> None:
        ends: list[str] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            for _ in range(3):
                await send(body(b"x", more=True))
            ends.append("sent")

        wire = Wire(app)
        wire.connection.pause_writing()
        await wire.feed(GET)
        assert ends == []
        wire.transport.lose()
        await wire.settle()
        assert ends == ["sent"]
        assert not wire.service.in_flight


def test_what_is_sent_without_a_pause_is_one_write_behind_the_first(clock: Clock) -> None:
    @run
    async def play() -> None:
        wire = await answer(sends(start(), *[body(b"chunk", more=True)] * 20, body()))
        first, rest = wire.transport.writes
        assert first.endswith(b"\r\n\r\n5\r\nchunk\r\n")
        assert rest == b"5f\r\n" + b"chunk" * 19 + b"\r\n0\r\n\r\n"


def test_a_burst_after_a_burst_is_one_write_and_a_pause_ends_that(clock: Clock) -> None:
    @run
    async def play() -> None:
        sent: list[int] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            for _ in range(3):
                clock.now += 0.002 * (scope["path"] == "/pause")
                await send(body(b"some", more=True))
                sent.append(len(wire.transport.writes))
            await send(body())

        wire = Wire(app)
        for expected, path in (([1, 1, 1], b"/"), ([2, 2, 2], b"/"), ([4, 5, 6], b"/pause"), ([8, 8, 8], b"/")):
            clock.now += 1
            await wire.feed(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            await wire.settle()
            assert sent[-3:] == expected
        assert len(wire.transport.writes) == 9


def test_a_head_alone_leaves_at_once_and_the_first_piece_behind_it(clock: Clock) -> None:
    @run
    async def play() -> None:
        wire = await answer(sends(start(), body(more=True), *[body(b"some", more=True)] * 5, body(b"more")))
        head, first, rest = wire.transport.writes
        assert head.endswith(b"\r\n\r\n")
        assert first == b"4\r\nsome\r\n"
        assert rest == b"10\r\n" + b"some" * 4 + b"\r\n4\r\nmore\r\n0\r\n\r\n"


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_what_is_sent_after_a_pause_leaves_at_once(framing: str, clock: Clock) -> None:
    """Also if the handler keeps the event loop from turning: a generator that computes between its events."""

    @run
    async def play() -> None:
        sent: list[int] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start(*[(b"content-length", b"60")] * (framing == "length")))
            for _ in range(5):
                clock.now += 0.002
                # The first of these leaves after the pause, with what is left of those before; the others are collected.
                for data in (b"event", b"of", b"three"):
                    await send(body(data, more=True))
                    sent.append(len(wire.transport.writes))
            await send(body())

        wire = Wire(app)
        await wire.feed(OLD if framing == "close" else GET)
        await wire.settle()
        assert sent == [count for count in range(1, 6) for _ in range(3)]
        assert len(wire.transport.writes) == 6
        assert wire.responses()[0].body == b"eventofthree" * 5


def test_what_is_sent_in_different_turns_does_not_wait(clock: Clock) -> None:
    @run
    async def play() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            for _ in range(3):
                await send(body(b"x", more=True))
                await turn(wire.loop)
                await turn(wire.loop)
            await send(body())

        wire = Wire(app)
        await wire.feed(GET)
        await wire.settle()
        assert wire.transport.writes[0].endswith(b"\r\n\r\n1\r\nx\r\n")
        assert wire.transport.writes[1:] == [b"1\r\nx\r\n", b"1\r\nx\r\n", b"0\r\n\r\n"]


def test_nothing_is_left_of_a_chunk_whose_client_goes_in_its_turn(clock: Clock) -> None:
    @run
    async def play() -> None:
        errors: list[dict[str, Any]] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            await send(body(b"x", more=True))
            await send(body(b"y", more=True))
            wire.transport.lose()

        wire = Wire(app)
        wire.loop.set_exception_handler(lambda _, context: errors.append(context))
        await wire.feed(GET)
        await wire.settle()
        assert len(wire.transport.writes) == 1
        assert not errors
        assert not wire.service.in_flight


def test_much_in_one_turn_does_not_wait_for_its_end() -> None:
    @run
    async def play() -> None:
        wire = await answer(sends(start(), *[body(b"x" * 30_000, more=True)] * 10, body()))
        assert 3 <= len(wire.transport.writes) <= 5
        assert len(wire.responses()[0].body) == 300_000


def sends_without_pause(count: int, at: Callable[[int], None]) -> App:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send(start())
        for number in range(count):
            at(number)
            await send(body(b"x" * 8192, more=True))
        await send(body())

    return app


def test_who_sends_without_pause_leaves_turns_to_others() -> None:
    @run
    async def play() -> None:
        turns: list[int] = []
        sent: list[int] = []

        def tick() -> None:
            turns.append(len(sent))
            wire.loop.call_soon(tick)

        wire = Wire(sends_without_pause(400, sent.append))
        tick()
        await wire.feed(GET)
        await wire.settle()
        assert len(wire.responses()[0].body) == 400 * 8192
        # 1 MiB in each turn.
        assert max(after - before for before, after in itertools.pairwise(turns)) <= 128


def test_who_sends_without_pause_leaves_turns_to_others_when_the_client_has_gone() -> None:
    @run
    async def play() -> None:
        turns: list[int] = []
        sent: list[int] = []

        def tick() -> None:
            turns.append(len(sent))
            wire.loop.call_soon(tick)

        def leave(number: int) -> None:
            sent.append(number)
            if number == 20:
                # As a transport does that could not write: its protocol learns of it in the next turn.
                wire.transport.close()

        wire = Wire(sends_without_pause(400, leave))
        tick()
        await wire.feed(GET)
        while wire.service.in_flight:
            await turn(wire.loop)
        assert len(sent) == 400
        # A MiB until it is told that the client has gone, and then one message in each turn.
        assert sorted({count for count in turns if count > 129}) == list(range(130, 401))


def test_a_full_transport_stays_full_though_the_others_had_their_turn() -> None:
    @run
    async def play() -> None:
        sent: list[int] = []
        wire = Wire(sends_without_pause(400, sent.append))
        await wire.feed(GET)
        wire.connection.pause_writing()
        before = len(sent)
        assert before <= 128
        await wire.settle()
        assert len(sent) <= before + 1
        wire.connection.resume_writing()
        await wire.settle()
        assert len(wire.responses()[0].body) == 400 * 8192


@pytest.mark.parametrize("pieces", [(GET * 3,), (GET, GET, GET)], ids=["pipelined", "one after another"])
def test_who_does_not_read_his_answer_gets_no_more(pieces: tuple[bytes, ...]) -> None:
    @run
    async def play() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            await send(body(b"x"))
            # As a transport does whose buffer the answer has filled.
            wire.connection.pause_writing()

        wire = Wire(app)
        for number in (1, 2, 3):
            await wire.feed(*pieces[number - 1 : number])
            await wire.settle()
            assert len(wire.responses()) == 1
        for number in (2, 3):
            wire.connection.resume_writing()
            await wire.settle()
            assert len(wire.responses()) == number


def test_a_client_that_leaves_before_he_has_read_the_answer_before(caplog: pytest.LogCaptureFixture) -> None:
    @run
    async def play() -> None:
        wire = Wire(sends(start(), body(b"x")))
        wire.connection.pause_writing()
        await wire.feed(GET)
        assert not wire.output
        wire.transport.lose()
        await wire.settle()
        assert not wire.output
        assert not wire.service.in_flight

    assert not caplog.records


def test_requests_of_who_does_not_read_his_answers_wait_in_the_kernel() -> None:
    @run
    async def play() -> None:
        wire = Wire(sends(start(), body(b"x")))
        wire.connection.pause_writing()
        await wire.feed(GET)
        fed = 0
        while not wire.transport.paused:
            wire.transport.protocol.data_received(GET * 100)
            fed += len(GET) * 100
            await turn(wire.loop)
            assert fed < 100_000
        wire.connection.resume_writing()
        await wire.settle()
        assert len(wire.responses()) == 1 + fed // len(GET)
        assert not wire.transport.paused


@pytest.mark.parametrize("unsent", [0, 1])
def test_a_response_cut_by_time_does_not_look_whole(unsent: int) -> None:
    """Where the connection's end is the body's; a TLS client that does not say good-bye has got all of it."""

    @run
    async def play() -> None:
        wire = Wire(sends(start(), body(b"x", more=True), body(b"y")))
        wire.transport.unsent = 1
        await wire.feed(OLD)
        await wire.settle()
        assert wire.transport.closing
        assert not wire.transport.lost
        wire.pass_seconds(1)
        wire.transport.unsent = unsent
        wire.pass_seconds(2)
        if unsent:
            wire.pass_seconds(2 + wire.service.limits.send_time)
        else:
            # A transport that has sent all is closed by the loop, or under TLS once the client has had time to say good-bye.
            wire.pass_seconds(5)
        await wire.settle()
        assert wire.transport.lost
        assert wire.transport.reset is bool(unsent)


def test_draining_ends_the_connection_with_the_response_in_flight() -> None:
    @run
    async def play() -> None:
        go = asyncio.Event()

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await go.wait()
            await echo(scope, receive, send)

        wire = await answer(app, GET)
        wire.service.drain(Phase.DRAINING)
        assert not wire.transport.closed
        go.set()
        await wire.settle()
        (response,) = wire.responses()
        assert (response.status, response["connection"]) == (200, "close")
        assert wire.transport.closed


def test_an_idle_connection_answers_once_more_while_draining() -> None:
    @run
    async def play() -> None:
        wire = await answer(echo)
        wire.service.drain(Phase.DRAINING)
        await wire.settle()
        assert not wire.transport.closed
        await wire.feed(GET)
        await wire.settle()
        assert [response["connection"] for response in wire.responses()] == [None, "close"]
        assert wire.transport.closed


def test_an_idle_connection_ends_at_a_stop() -> None:
    @run
    async def play() -> None:
        wire = await answer(echo)
        wire.service.drain(Phase.STOPPING)
        assert wire.transport.closed


def test_a_connection_that_comes_when_the_others_were_stopped_gets_as_short_a_time() -> None:
    """It waited in the listener's queue meanwhile."""

    @run
    async def play() -> None:
        service = (await answer(echo)).service
        service.drain(Phase.STOPPING)
        late = Wire(service=service)
        late.pass_seconds(2)
        assert late.transport.closed


@pytest.mark.parametrize("lines", [(b"\r\n",), (b"", b"\r\n")], ids=["with the body", "later"])
def test_a_connection_is_idle_after_an_empty_line_behind_a_body(lines: tuple[bytes, ...]) -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"

    @run
    async def play() -> None:
        wire = await answer(echo, post + lines[0])
        await wire.feed(*lines[1:])
        await wire.feed(GET)
        await wire.settle()
        # Once more: the line that was skipped before the plain request counts no longer.
        await wire.feed(post + lines[0], *lines[1:])
        await wire.settle()
        assert [response.status for response in wire.responses()] == [200, 200, 200]
        wire.service.drain(Phase.STOPPING)
        assert wire.transport.closed


def test_a_refusal_is_not_logged_as_of_the_client_before() -> None:
    logged: list[tuple[Any, ...]] = []

    @run
    async def play() -> None:
        service = (await answer(echo, access=lambda *line: logged.append(line[:5]))).service
        service.proxies = Proxies(Trusted("*"))
        wire = Wire(service=service)
        forwarded = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n%b\r\n"
        await wire.feed(forwarded % b"")
        await wire.settle()
        await wire.feed(forwarded % b"Bad Name: 1\r\n")
        await wire.settle()

    assert [line[4] for line in logged] == [200, 200, 400]
    peer, told, refused = (line[0] for line in logged)
    assert told.startswith("203.0.113.9")
    assert refused == peer


@pytest.mark.parametrize("codec", ["auto", "h11", "httptools"])
def test_what_a_proxy_tells_of_one_request_is_not_believed_of_the_next(codec: str) -> None:
    logged: list[str] = []

    @run
    async def play() -> None:
        seen: list[Any] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            seen.append(scope["client"])
            await echo(scope, receive, send)

        service = Wire(app, codec, access=lambda client, *rest: logged.append(client)).service
        service.proxies = Proxies(Trusted("192.0.2.7"))
        wire = Wire(service=service)
        for line in (
            b"Forwarded: for=203.0.113.9\r\n",
            b"",
            b"X-Forwarded-For: 203.0.113.8\r\nCookie: a\r\n",
            b"Cookie: a\r\n",
        ):
            await wire.feed(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % line)
            await wire.settle()
        peer = ("192.0.2.7", 4711)
        assert seen == [("203.0.113.9", 0), peer, ("203.0.113.8", 0), peer]

    assert logged == ["203.0.113.9:0", "192.0.2.7:4711", "203.0.113.8:0", "192.0.2.7:4711"]


@pytest.mark.parametrize("half", [1000, 5_000_000])
def test_an_unread_body_is_thrown_away_and_the_connection_persists(half: int) -> None:
    @run
    async def play() -> None:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * half)
        wire = await answer(sends(start(), body(b"a")), head)
        assert len(wire.responses()) == 1
        await wire.feed(b"x" * half, b"x" * half + GET)
        await wire.settle()
        assert [response.status for response in wire.responses()] == [200, 200]
        assert not wire.transport.closed


def test_of_an_unread_body_only_the_body_counts_and_not_the_requests_behind_it() -> None:
    @run
    async def play() -> None:
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        wire = await answer(sends(start(), body(b"a")), post % 2000)
        # In one read, as event loops read up to 256 KiB at once.
        await wire.feed(b"x" * 2000 + post % 17_000_000 + b"x" * 17_000_000)
        await wire.settle()
        assert [response.status for response in wire.responses()] == [200, 200]


def test_an_unread_body_that_comes_slowly_ends_the_connection_without_destroying_the_response() -> None:
    """First the end of what we send, and only later the end of what we take: to close at once would reset the connection."""

    @run
    async def play() -> None:
        wire = await answer(sends(start(), body(b"a")), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n")
        wire.pass_seconds(3)
        await wire.feed(b"x" * 1000)
        assert wire.transport.eof_written
        assert not wire.transport.closing
        wire.pass_seconds(6)
        assert wire.transport.closing
        assert len(wire.responses()) == 1


def test_an_unread_body_without_end_is_not_read_for_ever() -> None:
    @run
    async def play() -> None:
        wire = await answer(sends(start(), body(b"a")), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
        for _ in range(1000):
            if wire.transport.lost:
                break
            await wire.feed(b"x" * 100_000)
        assert wire.transport.lost
        assert len(wire.responses()) == 1


def test_a_body_that_stops_coming_is_a_408() -> None:
    @run
    async def play() -> None:
        wire = await answer(
            echo, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", limits=Limits(request_body_time=5)
        )
        wire.pass_seconds(4)
        await wire.feed(b"d")
        wire.pass_seconds(12)
        await wire.settle()
        assert [response.status for response in wire.responses()] == [408]
        assert wire.transport.closed
        assert not wire.service.in_flight


def test_a_body_that_the_application_does_not_take_may_wait() -> None:
    @run
    async def play() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await asyncio.Event().wait()

        limits = Limits(request_body_time=5, buffer=1000)
        wire = await answer(app, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n" + b"x" * 5000, limits=limits)
        assert wire.transport.paused
        wire.pass_seconds(100)
        await wire.settle()
        assert wire.output == b""
        wire.transport.lose()
        wire.service.cancel()
        await wire.settle()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"Content-Length: 11\r\n\r\n", 413),
        (b"Content-Length: 10\r\n\r\n0123456789", 200),
        (b"Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n5\r\n", 413),
        (b"Transfer-Encoding: chunked\r\n\r\nb\r\n", 413),
        (b"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", 200),
    ],
)
def test_a_body_above_the_limit_is_a_413(data: bytes, status: int) -> None:
    @run
    async def play() -> None:
        wire = await answer(echo, b"POST / HTTP/1.1\r\nHost: a\r\n" + data, limits=Limits(body=10))
        assert [response.status for response in wire.responses()] == [status]
        assert wire.transport.closed is (status == 413)


def test_above_the_limit_of_concurrency_new_connections_are_told_and_others_are_not_starved() -> None:
    @run
    async def play() -> None:
        first = Wire(echo, limits=Limits(concurrency=2))
        second, *surplus = (Wire(echo, service=first.service) for _ in range(5))
        for wire in (*surplus, first, second):
            await wire.feed(GET)
            await wire.settle()
        for wire in surplus:
            (response,) = wire.responses()
            assert (response.status, response["retry-after"], response["connection"]) == (503, "1", "close")
            assert wire.transport.closed
        assert [wire.responses()[0].status for wire in (first, second)] == [200, 200]
        assert len(first.seen) == 2
        first.transport.lose()
        later = Wire(echo, service=first.service)
        await later.feed(GET)
        await later.settle()
        assert later.responses()[0].status == 200


def test_a_slow_head_is_a_408_and_an_idle_connection_just_ends() -> None:
    @run
    async def play() -> None:
        slow, idle, fresh = (await answer(echo, GET + b"GET / H"), await answer(echo), Wire(echo))
        for wire in (slow, idle, fresh):
            wire.pass_seconds(20)
            await wire.settle()
            assert wire.transport.closed
        assert [response.status for response in slow.responses()] == [200, 408]
        assert [response.status for response in idle.responses()] == [200]
        assert fresh.output == b""
