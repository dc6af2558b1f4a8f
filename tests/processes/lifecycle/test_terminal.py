"""What a terminal does to a server: it is closed, its shell exits, Ctrl-C is typed, it stops who writes from the background.

Each test has a shell in a pseudo-terminal of its own, as a terminal window or ssh has.
"""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import sys
from pathlib import Path

import psutil
import pytest
from support.harness import (
    ROOT,
    children_of,
    cpu_time,
    environment,
    get,
    is_alive,
    kill_session,
    pass_time,
    raw_connection,
    read_response,
    send_request,
    session_members,
    wait_until,
)

PROBE = "tests.apps.probe:app"
TRICORN = f"{sys.executable} -m tricorn {PROBE} --port 0"
MODES = ["--workers 2", "--workers 0", "--reload --reload-dir tests/apps"]


class Window:
    """A terminal with a shell in it."""

    def __init__(self, *shell: str, log: Path | None = None) -> None:
        self._shell = shell or ("bash", "--norc", "-i")
        self.log = log
        """The file that is written to instead of the terminal."""
        self.text = ""
        """All that was written."""

    def __enter__(self) -> Window:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execvpe(self._shell[0], self._shell, environment({"PS1": "$ ", "HISTFILE": "", "TRICORN_USE_COLORS": "false"}))
        os.set_blocking(self._fd, False)
        return self

    def __exit__(self, *_: object) -> None:
        sessions = {self.pid}
        for found in re.finditer(r"(?:Supervisor \[|in process )(\d+)", self.text):
            if is_alive(int(found[1])):
                sessions.add(os.getsid(int(found[1])))
        for session in sessions:
            kill_session(session)
        os.waitpid(self.pid, 0)
        if self._fd >= 0:
            self.close()

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def close(self) -> None:
        """As the window manager does, or a connection that is lost."""
        os.close(self._fd)
        self._fd = -1

    def see(self, pattern: str, count: int = 1) -> str:
        """Wait until ``pattern`` is there so many times; returns its last match's group, or all of it."""

        def find() -> re.Match[str] | None:
            if self.log is not None and self.log.exists():
                self.text = self.log.read_text()
            try:
                self.text += os.read(self._fd, 65536).decode(errors="replace") if self._fd >= 0 else ""
            except OSError:
                pass
            found = list(re.finditer(pattern, self.text))
            return found[-1] if len(found) >= count else None

        match = wait_until(find, what=f"{pattern} in {self.text}")
        return match[match.lastindex or 0]

    def start(self, command: str) -> Started:
        """Type ``command``, and wait until what it starts serves."""
        self.type(f"{command}\n")
        pid = int(self.see(r"(?:Supervisor \[|in process )(\d+)"))
        port = int(self.see(r"http://127\.0\.0\.1:(\d+)"))
        self.see(r"ready in|running on")
        wait_until(lambda: get(port, "/pid").status == 200)
        return Started(pid, port)


class Started:
    """What serves: its supervisor's pid, or that of the only process, and its port."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    def wait_for_end(self) -> None:
        wait_until(lambda: not is_alive(self.pid), what="it still serves")

    def serves(self) -> bool:
        return is_alive(self.pid) and get(self.port, "/pid").status == 200

    def check_reload(self, window: Window) -> None:
        """SIGHUP still means what it means without a terminal."""
        os.kill(self.pid, signal.SIGHUP)
        window.see("Reload complete|reloaded in")
        assert self.serves()


def wait_for_shells_end(window: Window) -> None:
    """Wait until the kernel and the shell have sent what they send."""
    wait_until(lambda: not is_alive(window.pid), what="the shell lives on")
    pass_time(0.5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["{}", "{} &", "{} & wait", "({})", "{} </dev/null | cat"])
def test_a_closed_terminal_stops_it(how: str, mode: str) -> None:
    with Window() as window:
        started = window.start(how.format(f"{TRICORN} {mode} 2>&1"))
        window.close()
        started.wait_for_end()
        wait_until(lambda: not session_members(window.pid), what="something outlives it")


def test_a_lost_ssh_connection_stops_it() -> None:
    """With ``ssh -t host tricorn`` there is no interactive shell: a plain one, or the server itself, leads the session."""
    for shell in (("sh", "-c", f"{TRICORN}; true"), tuple(TRICORN.split())):
        with Window(*shell) as window:
            started = window.start("")
            window.close()
            started.wait_for_end()


def test_what_is_in_flight_is_finished_when_the_terminal_closes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Window() as window:
        window.type(f"{TRICORN} --error-log-file {log}\n")
        window.see("probe imported")
        wait_until(lambda: "ready in" in log.read_text())
        port = int(re.findall(r"http://127\.0\.0\.1:(\d+)", log.read_text())[0])
        with raw_connection(port) as connection:
            send_request(connection, f"/slow?until={tmp_path / 'until'}")
            window.see("slow begins")
            window.close()
            wait_until(lambda: "Stopping" in log.read_text())
            (tmp_path / "until").touch()
            assert read_response(connection).body == b"slow ends"
        wait_until(lambda: "exit code 0" in log.read_text().splitlines()[-1])
        assert "The terminal is gone" in log.read_text()
        assert "at once" not in log.read_text()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["nohup", "setsid"])
def test_nohup_and_setsid_protect_it(how: str, mode: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Window(log=log) as window:
        started = window.start(f"{how} {TRICORN} {mode} >{log} 2>&1 &")
        window.close()
        wait_for_shells_end(window)
        assert started.serves()
        if mode != "--workers 0":
            started.check_reload(window)


@pytest.mark.parametrize("mode", ["--workers 2", "--workers 0"])
def test_a_job_that_the_shell_has_disowned_serves_on_and_is_reloaded(mode: str, tmp_path: Path) -> None:
    """Nobody sends a signal when the shell exits; a SIGHUP that comes later is an order."""
    log = tmp_path / "log"
    with Window(log=log) as window:
        started = window.start(f"{TRICORN} {mode} >{log} 2>&1 &")
        window.type("disown\nexit\n")
        wait_until(lambda: not is_alive(window.pid))
        window.close()
        wait_for_shells_end(window)
        assert started.serves()
        # As long as a hang-up may take (hangup.WINDOW).
        pass_time(3.1)
        if mode != "--workers 0":
            started.check_reload(window)
            return
        os.kill(started.pid, signal.SIGHUP)
        assert started.serves()
        # Its handler has run: the event loop turns.
        pass_time(0.5)
        assert started.serves()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hand memory over")
def test_a_job_that_was_disowned_is_reloaded_right_after_an_upgrade(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Window(log=log) as window:
        started = window.start(f"{TRICORN} >{log} 2>&1 &")
        window.type("disown\nexit\n")
        wait_until(lambda: not is_alive(window.pid))
        window.close()
        wait_for_shells_end(window)
        pass_time(3.1)
        os.kill(started.pid, signal.SIGUSR2)
        window.see("Upgrade: executing")
        # It is answered by the new program, which finds no terminal.
        started.check_reload(window)
        window.see("has taken over")


def test_a_hup_that_somebody_sends_reloads_while_the_terminal_is_open() -> None:
    with Window() as window:
        started = window.start(f"{TRICORN} --workers 2")
        started.check_reload(window)
        window.type("\x03")
        window.see("Stopped, exit code 0")


def test_a_terminal_that_can_not_be_opened_is_not_taken_for_one_that_is_gone() -> None:
    """There are too many open files."""
    with Window() as window:
        started = window.start(f"{TRICORN} --workers 2")
        before = resource.prlimit(started.pid, resource.RLIMIT_NOFILE)
        open_now = max(map(int, os.listdir(f"/proc/{started.pid}/fd"))) + 1
        resource.prlimit(started.pid, resource.RLIMIT_NOFILE, (open_now, before[1]))
        os.kill(started.pid, signal.SIGHUP)
        window.see("Reload: replacing")
        resource.prlimit(started.pid, resource.RLIMIT_NOFILE, before)
        window.see("Reload complete|Reload abandoned")
        assert started.serves()
        window.type("\x03")
        started.wait_for_end()


def test_ctrl_c_again_after_half_a_second_stops_at_once() -> None:
    with Window() as window:
        started = window.start(TRICORN)
        with raw_connection(started.port) as connection:
            send_request(connection, "/slow?seconds=60")
            window.see("slow begins")
            window.type("\x03\x03")
            window.see("Stopping")
            pass_time(0.8)
            assert is_alive(started.pid), "two that come together are one wish"
            window.type("\x03")
            window.see("Stopping at once")
            started.wait_for_end()


@pytest.mark.parametrize("mode", ["--workers 2", "--workers 0"])
@pytest.mark.parametrize("how", ["{} &", "({}) &"])
def test_a_terminal_that_stops_who_writes_does_not_stop_it(how: str, mode: str) -> None:
    with Window() as window:
        window.type("stty tostop\n")
        started = window.start(how.format(f"{TRICORN} {mode}"))
        before = cpu_time([started.pid])
        if mode != "--workers 0":
            os.kill(started.pid, signal.SIGHUP)
            window.see("Reload complete")
        pass_time(1)
        assert cpu_time([started.pid]) - before < 0.7, "it spins"
        wait_until(lambda: psutil.Process(started.pid).status() == psutil.STATUS_SLEEPING)
        if mode == "--workers 0":
            os.kill(started.pid, signal.SIGTERM)
            started.wait_for_end()
            return
        assert len(children_of(started.pid)) == 2, "the kernel's SIGTTOU was taken for an order"
        os.kill(started.pid, signal.SIGTTOU)
        window.see("Now 1 worker")
        os.kill(started.pid, signal.SIGTERM)
        started.wait_for_end()
