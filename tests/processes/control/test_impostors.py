"""What listens where a supervisor should, and is none."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support.control import run_ctl
from support.harness import PATIENCE

GREETING = {"tricorn": "1", "version": 1, "pid": 1, "app": "evil\x1b[31m:app"}


@contextmanager
def impostor(*lines: Any, still: bool = False) -> Iterator[str]:
    """A socket at which ``lines`` are said to each client, whatever it asks; then the connection ends, or is ``still``."""
    with tempfile.TemporaryDirectory(prefix="control") as folder, socket.socket(socket.AF_UNIX) as listening:
        path = str(Path(folder) / "socket")
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    for line in lines:
                        connection.sendall((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
                    if not still:
                        connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=PATIENCE)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"",),
        (b"SSH-2.0-OpenSSH_9.2",),
        (b"\xff\xfe",),
        ([],),
        ({"version": 2, "pid": 1, "app": "a:b"},),
        ({"version": 1, "pid": "x", "app": "a:b"},),
        (GREETING,),
        (GREETING, b"nonsense"),
        (GREETING, []),
        (GREETING, {}),
        (GREETING, 5),
        (GREETING, b"[" * 100_000),
        (b"[" * 100_000,),
        (GREETING, {"code": None, "answer": {}}),
        (GREETING, {"answer": {}}),
        (GREETING, {"code": 0, "answer": {}}),
        (GREETING, {"code": 0, "answer": []}),
        (GREETING, {"code": "x", "answer": {"supervisor": 1, "workers": 2}}),
    ],
)
def test_what_is_no_supervisor_is_one_line_and_1(lines: tuple[Any, ...]) -> None:
    with impostor(*lines) as path:
        ended = run_ctl("--socket", path, "status")
    assert (ended.returncode, ended.stdout) == (1, ""), ended
    assert len(ended.stderr.splitlines()) == 1, ended.stderr


def test_nothing_that_is_said_steers_the_terminal() -> None:
    with impostor(GREETING, {"code": 3, "answer": {"error": "red \x1b[31m \u202e text\nnext line"}}) as path:
        ended = run_ctl("--socket", path, "health")
    assert ended.returncode == 3
    assert ended.stderr == "tricornctl: red \\x1b[31m \\u202e text\nnext line\n"


@pytest.mark.parametrize("answer", [5, b"[" * 100_000, {"code": 0, "answer": 1}, {"code": 3, "answer": {"error": "no"}}])
def test_the_doctor_understands_no_impostor(answer: Any) -> None:
    with impostor(GREETING, answer) as path:
        ended = run_ctl("--socket", path, "doctor")
    assert (ended.returncode, ended.stdout) == (1, ""), ended
    assert len(ended.stderr.splitlines()) == 1, ended.stderr


def test_the_doctor_does_not_wait_for_ever() -> None:
    with impostor(GREETING, still=True) as path:
        ended = run_ctl("--socket", path, "doctor")
    assert (ended.returncode, ended.stdout) == (1, ""), ended
    assert "has not answered" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_what_can_not_be_written_is_one_line() -> None:
    with impostor(GREETING, {"code": 0, "answer": {"ready": 1}}) as path, open("/dev/full", "w") as full:
        ended = run_ctl("--socket", path, "health", stdout=full)
    assert ended.returncode == 1
    assert ended.stderr == "tricornctl: can't write: No space left on device\n"


def test_an_address_that_nobody_can_have_is_one_line() -> None:
    for path in ("", "/" + "x" * 300, "@tricorn/x", os.curdir):
        ended = run_ctl("--socket", path, "status")
        assert (ended.returncode, ended.stdout) == (1, ""), ended
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
