"""What a peer may say on a channel, and what it may not; what text from others looks like in the log."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from random import Random

import pytest
from tricorn.config.options import Config
from tricorn.ipc.begun import REPORT_SIZE
from tricorn.ipc.channel import (
    FROM_WORKER,
    FROM_WORKER_RELOADED,
    MAX_LINE,
    MAX_UNSENT,
    TO_WORKER,
    Decoder,
    Message,
    Outbox,
    Violation,
    encode,
    pieces,
)
from tricorn.ipc.text import LINES, many_lines, one_line
from tricorn.supervisor.child import MAY_SAY, STALLS_SIZE, Child, Speaker
from tricorn.supervisor.link import ALLOWANCE, ALLOWED_PER_SECOND, READ_SIZE, Link
from tricorn.supervisor.messages import Beat, Fact, Failed, Ready, Recycle, Violated
from tricorn.supervisor.report_file import ReportFile

REFUSED = [
    b"",
    b"ready",
    b"[1]",
    b"null",
    b"{}",
    b"\xff\xfe",
    b'{"kind": 7}',
    b'{"kind": []}',
    b'{"kind": {}}',
    b'{"kind": "gossip"}',
    b'{"kind": "drain"}',
    b'{"kind": "loaded"}',
    b'{"kind": "failed"}',
    b'{"kind": "failed", "error": null}',
    b'{"kind": "failed", "error": 7}',
    b'{"kind": "failed", "error": ["x"]}',
    b'{"kind": "ready", "error": false}',
    b'{"kind": "ready", "more": 1}',
    b'{"kind": "retire"}',
    b'{"kind": "retire", "reason": {"a": 1}}',
    b'{"kind": "retire", "reason": NaN}',
    b'{"kind": "retire", "reason": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"kind": "retire", "reason": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    b"x" * (MAX_LINE + 1),
]


@pytest.mark.parametrize("line", REFUSED, ids=lambda line: repr(line[:40]))
def test_what_is_no_message_is_a_violation_said_in_one_short_line(line: bytes) -> None:
    with pytest.raises(Violation) as violation:
        Decoder(FROM_WORKER).feed(line + b"\n")
    assert str(violation.value).isprintable()
    assert len(str(violation.value)) < 250


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e308, 2**60, -(2**60), True, "1", None])
def test_what_is_no_number_is_refused(value: object) -> None:
    from tricorn.supervisor.reload.watcher import SAYS

    line = json.dumps({"kind": "changed", "files": [], "at": value}).encode() + b"\n"
    with pytest.raises(Violation):
        Decoder(SAYS).feed(line)


def test_messages_come_out_of_any_pieces() -> None:
    sent = [encode("ready"), encode("retire", reason="old"), encode("loaded", files=["/a"], complete=True)]
    data, random = b"".join(sent), Random(1)
    for _ in range(100):
        decoder, got, rest = Decoder(FROM_WORKER_RELOADED), list[Message](), data
        while rest:
            size = random.randint(1, 20)
            got += decoder.feed(rest[:size])
            rest = rest[size:]
        assert [message["kind"] for message in got] == ["ready", "retire", "loaded"]


def test_bytes_without_a_newline_end_in_a_violation_and_cost_no_more_than_they_are() -> None:
    decoder, begun = Decoder(FROM_WORKER), time.process_time()
    for fed in range(MAX_LINE):
        assert decoder.feed(b"x") == [], fed
    with pytest.raises(Violation):
        decoder.feed(b"x")
    # A copy of all that came before, for each byte, would be thirty gigabytes.
    assert time.process_time() - begun < 5


def test_names_are_told_in_pieces_that_fit() -> None:
    names = ["/\N{CJK UNIFIED IDEOGRAPH-4E00}" * 400] * 300 + ["a"] * 30_000
    told: list[str] = []
    decoder = Decoder(FROM_WORKER_RELOADED)
    for piece in pieces(names):
        [message] = decoder.feed(encode("loaded", files=piece))
        told += message["files"]
    assert told == names
    assert list(pieces([])) == []


# ------------------------------------------------------------------------------------------------------------------ text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \N{EM DASH} text", "plain \N{EM DASH} text"),
        ("two\nlines", "two\\nlines"),
        ("\x1b]0;title\x07\x9b31m\r\t\0", "\\x1b]0;title\\x07\\x9b31m\\r\\t\\x00"),
        ("\u202eright to left\u2028\ud800", "\\u202eright to left\\u2028\\ud800"),
        ("x" * 1000, "x" * 125 + " [...] " + "x" * 375),
    ],
)
def test_a_line_for_the_log(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_lines_for_the_log_keep_their_breaks_and_their_end() -> None:
    assert many_lines("a\n\tb\r\n") == "a\n\\tb\\r\n"
    shown = many_lines("begin" + "x" * 50_000_000 + "end")
    assert len(shown) < LINES + 10
    assert shown.startswith("begin")
    assert shown.endswith("end")


def test_the_longest_error_fits_into_a_message() -> None:
    error = many_lines("\N{GRINNING FACE}" * 10**6)
    [message] = Decoder(FROM_WORKER).feed(encode("failed", error=error))
    assert message["error"] == error


# ------------------------------------------------------------------------------------------------- the supervisor's end


class Peer:
    """A worker's end of a channel, and the supervisor's view of it."""

    def __init__(self, reload: bool = False) -> None:
        ours, self.link = socket.socketpair()
        files = ReportFile(REPORT_SIZE), ReportFile(STALLS_SIZE)
        self.child = Child(7, 0, 0, 4711, 1, Config(app="a:b", reload=reload), ours, *files)
        self.now = 100.0

    def hear(self, data: bytes) -> list[Fact]:
        """All that comes of ``data``, in as many turns as it takes; half of a second each."""
        facts: list[Fact] = []
        rest = memoryview(data)
        self.link.setblocking(False)
        while not self.child.link.is_over:
            try:
                rest = rest[self.link.send(rest) :] if rest else rest
            except BlockingIOError:
                pass
            self.now += 0.001
            told = self.child.read(self.now)
            facts += told
            if not rest and not told:
                break
        return facts


def test_what_a_worker_says_becomes_facts() -> None:
    peer = Peer()
    facts = peer.hear(encode("retire", reason="TERM\n") + encode("ready") + encode("alive"))
    assert facts == [Recycle(7, "TERM\\n"), Ready(7), Beat(7, peer.now - 0.001)]
    assert Peer().hear(encode("failed", error="a\n\x1b")) == [Failed(7, "a\n\\x1b")]


@pytest.mark.parametrize(
    "kinds",
    [
        ("ready", "ready"),
        ("ready", "retire", "retire"),
        ("ready", "failed"),
        ("failed", "ready"),
        ("failed", "failed"),
        ("alive",),
    ],
)
def test_what_a_worker_must_not_say_now_is_a_violation(kinds: tuple[str, ...]) -> None:
    details = {"failed": {"error": "x"}, "retire": {"reason": "x"}}
    facts = Peer().hear(b"".join(encode(kind, **details.get(kind, {})) for kind in kinds))
    assert [type(fact) for fact in facts] == [Violated]


def test_only_with_reload_a_worker_names_modules() -> None:
    said = encode("ready") + encode("loaded", files=["/a"])
    assert isinstance(Peer().hear(said)[-1], Violated)
    assert Peer(reload=True).hear(said) == [Ready(7)]


def test_every_phase_and_message_is_in_the_table() -> None:
    assert {kind for _, kind in MAY_SAY} == set(FROM_WORKER_RELOADED)
    assert {speaker for speaker, _ in MAY_SAY} | set(MAY_SAY.values()) == set(Speaker)


def test_one_wake_up_reads_a_part_and_who_talks_without_end_is_stopped() -> None:
    peer = Peer()
    flood = encode("retire", reason="x") * (2 * ALLOWANCE // 33)  # which may be said again and again before it is ready
    peer.link.setblocking(False)
    sent = peer.link.send(flood)
    assert len(peer.child.read(peer.now)) <= READ_SIZE // 33 + 1 < sent // 33
    facts = peer.hear(flood)
    assert isinstance(facts[-1], Violated)
    assert sum(isinstance(fact, Violated) for fact in facts) == 1
    # Nothing that comes after is looked at.
    assert peer.hear(encode("ready")) == []


def test_a_worker_that_says_a_little_all_the_time_is_heard() -> None:
    ours, theirs = socket.socketpair()
    link = Link(ours, FROM_WORKER)
    heard, now, message = 0, 100.0, encode("retire", reason="x" * 100)
    while heard < 2 * ALLOWANCE:
        theirs.sendall(message)
        heard += len(message)
        now += len(message) / ALLOWED_PER_SECOND
        assert len(link.read(now)) == 1


def test_a_link_that_was_handed_over_sends_nothing_until_it_is_used() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    state = {**Link(ours, FROM_WORKER).state(lambda fd: fd), "unsent": encode("unready").decode("latin-1")}
    link = Link.restored({**state, "fd": os.dup(ours.fileno())}, FROM_WORKER)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    assert link.send(encode("probe"))
    assert Decoder(TO_WORKER).feed(theirs.recv(1000)) == [{"kind": "unready"}, {"kind": "probe"}]


def test_random_bytes_never_raise_anything_else() -> None:
    random = Random(7)
    kinds = [encode("ready"), encode("retire", reason="x"), encode("failed", error="y"), b"{", b"\n", b"[" * 3000, b'"', b"\0"]
    for _ in range(500):
        data = b"".join(random.choice(kinds) if random.random() < 0.7 else random.randbytes(20) for _ in range(10))
        for fact in Peer().hear(data):
            assert isinstance(fact, Ready | Recycle | Failed | Violated)


# --------------------------------------------------------------------------------------------------- who does not listen


def test_what_is_sent_to_a_deaf_peer_is_bounded_and_whole() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    outbox, taken = Outbox(ours), 0
    message = encode("unready")
    while outbox.send(message):
        taken += 1
    assert taken * len(message) < 2 * MAX_UNSENT
    decoder, heard = Decoder(TO_WORKER), 0
    while heard < taken:
        heard += len(decoder.feed(theirs.recv(65536)))
        assert outbox.flush()
    assert outbox.is_empty
    theirs.close()
    assert not outbox.send(message)


# ---------------------------------------------------------------------------------------------------------------- report


def test_a_report_is_bounded_whatever_the_worker_does_to_its_file() -> None:
    peer = Peer()
    file = peer.child.hang_report.fileno()
    assert peer.child.read_hang_report() == ""
    for spoil in (lambda: os.truncate(file, 4 << 40), lambda: os.truncate(file, 0), lambda: os.pwrite(file, b"x", 4 << 40)):
        with contextlib.suppress(OSError):
            spoil()
    os.write(file, b"old " * 1000)
    os.lseek(file, REPORT_SIZE - 3, os.SEEK_SET)
    peer.child.begin_hang_report(0)
    assert peer.child.read_hang_report() == ""
    os.write(file, b"in hanging\n\x1b[31m")
    assert peer.child.read_hang_report() == "in hanging\n\\x1b[31m"
    with contextlib.suppress(OSError):
        while os.write(file, b"\x1b" * 65536):
            pass
    begun = time.process_time()
    assert len(peer.child.read_hang_report()) < 10 * REPORT_SIZE
    assert time.process_time() - begun < 1
    assert os.fstat(file).st_size == REPORT_SIZE
