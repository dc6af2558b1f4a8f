"""With --reload ``breakpoint()`` gets the terminal: a real pseudo-terminal, and a developer who types."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.editing import Project, wait_until_watching
from support.harness import PATIENCE, ROOT, Server, get, pass_time

BREAKS = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    answer = 6 * 7
    breakpoint()
    body = str(answer).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
"""


class AtTerminal(Server):
    """A server whose standard input is a terminal, at which somebody types."""

    def start(self) -> None:
        self.typist, self._terminal = pty.openpty()
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.env,
            stdin=self._terminal,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def type(self, line: str) -> None:
        os.write(self.typist, f"{line}\n".encode())

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._terminal)[3] & termios.ECHO)

    def close(self) -> None:
        os.close(self.typist)
        os.close(self._terminal)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def server(project: Project) -> Iterator[AtTerminal]:
    project.save(BREAKS)
    made = project.serve()
    made.__class__ = AtTerminal
    with made as running:
        assert isinstance(running, AtTerminal)
        try:
            wait_until_watching(running)
            yield running
        finally:
            running.close()


def ask(server: AtTerminal, answers: list[object]) -> threading.Thread:
    def run() -> None:
        try:
            answers.append(get(server.port).body)
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    server.wait_for_log(r"\(Pdb\)")
    return thread


def test_a_breakpoint_reads_what_is_typed_and_goes_on(server: AtTerminal) -> None:
    answers: list[object] = []
    thread = ask(server, answers)
    # For longer than a worker without --reload would be thought to live, if it were told to check every two seconds.
    pass_time(2.5)
    server.type("p 'the answer', answer")
    server.wait_for_log(r"\('the answer', 42\)")
    server.type("answer = 43")
    server.type("c")
    thread.join(PATIENCE)
    assert answers == [b"43"]
    assert "hung" not in server.log
    assert server.stop(signal.SIGINT) == 0


def test_ctrl_c_at_the_prompt_ends_everything_at_once(server: AtTerminal) -> None:
    thread = ask(server, [])
    server.send_to_group(signal.SIGINT)
    # A worker without a debugger would be thought to hang, in a day.
    assert server.wait_for_exit(timeout=15) == 0
    assert server.echoes()
    thread.join(PATIENCE)


def test_a_save_while_at_the_prompt_brings_the_new_code_at_once(server: AtTerminal, project: Project) -> None:
    thread = ask(server, [])
    project.write("two")
    server.wait_for_log("reloaded in")
    assert get(server.port).body == b"two"
    # The one at the prompt has a second to finish, and is then killed.
    thread.join(PATIENCE)
    server.wait_for_log("did not finish within the grace period; killed")
