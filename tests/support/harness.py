"""Real servers for tests: processes that are always cleaned up, waits that say what they waited for, a bare HTTP client."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil

ROOT = Path(__file__).resolve().parents[2]
APPS = ROOT / "tests" / "apps"
PATIENCE = 30.0
"""Seconds that a condition may take before a test fails: far more than it does, for machines under load."""

T = TypeVar("T")


def wait_until(condition: Callable[[], T | None], timeout: float = PATIENCE, what: str | Callable[[], str] = "") -> T:
    """Poll ``condition`` until it is true and return its value; AssertionError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain. {what() if callable(what) else what}")
        time.sleep(0.005)
    return value


def pass_time(seconds: float) -> None:
    """Let time pass for a test that measures what happens (or does not) over a period."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, timeout=seconds + 5)


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie (an orphan's zombie is its new parent's to reap, not ours)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def children_of(pid: int) -> list[int]:
    """The child processes, zombies included. Linux tells directly; psutil has to look at every process there is."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return [child.pid for child in psutil.Process(pid).children()] if psutil.pid_exists(pid) else []


def open_files(pid: int) -> set[str]:
    """What the process's descriptors refer to, as Linux' /proc tells; empty if it is gone."""
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.add(os.readlink(entry.path))
    except OSError:
        return set()
    return found


def cpu_time(pids: Iterable[int]) -> float:
    """Seconds on a CPU, of all threads, from the nanosecond counters of Linux' scheduler."""
    total = 0
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):
                total += int(file.read_text().split()[0])
    return total / 1e9


def wait_for_rest(pids: Sequence[int]) -> None:
    """Wait until what start-up left to do (garbage, caches) is over: hardly anything ran for a moment."""

    def is_quiet() -> bool:
        before = cpu_time(pids)
        pass_time(0.6)
        return cpu_time(pids) - before < 0.006

    wait_until(is_quiet, what=f"{pids} never came to rest")


def session_members(session: int) -> list[int]:
    """The living processes of a session, wherever their parents went."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session and is_alive(pid):
                found.append(pid)
        except OSError:
            continue
    return found


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The test's own environment without what would set Tricorn's options, and with what the test asks for."""
    ours = ("TRICORN_", "UVICORN_", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # Lines as on a terminal: what else a line begins with is tested in test_log_lines.py.
    usual = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "TRICORN_LOG_TIME": "false"}
    return kept | usual | dict(extra or {})


def run_tricorn(
    *args: str, env: Mapping[str, str] | None = None, timeout: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run ``tricorn`` to its end, for commands that are to end by themselves; AssertionError if this one does not."""
    command = [sys.executable, "-m", "tricorn", *args]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_session(process.pid)
        out, err = process.communicate()
        raise AssertionError(f"{command} did not end within {timeout} s:\n{out}\n{err}") from None
    finally:
        kill_session(process.pid)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def kill_session(session: int) -> None:
    """SIGKILL every process of the session and wait until none is left; new ones may be born while we look."""

    def none_left() -> bool:
        members = session_members(session)
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not members

    wait_until(none_left, what=f"processes of session {session} survive SIGKILL")


class Server:
    """A Tricorn in a process session of its own, listening on a port that the kernel picks.

    As a context manager it is started and its address known inside, and nothing of it is left after: if the test stopped it,
    every worker must have gone by itself; otherwise all are killed. When the test fails the log is printed.
    """

    def __init__(
        self, app: str, *args: str, env: Mapping[str, str] | None = None, listen: tuple[str, ...] = ("--port", "0")
    ) -> None:
        self.command = [sys.executable, "-m", "tricorn", app, *listen, *args]
        self.env = environment(env)
        self.cwd = ROOT
        self.pass_fds: tuple[int, ...] = ()
        # A file and not a pipe: nobody has to empty it, and what was logged before something happened is there when it has.
        self.output = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self._listener_name: str | None = None

    def __enter__(self) -> Self:
        self.start()
        try:
            if "--port" in self.command:
                self.port = int(self.wait_for_log(r"https?://[^\s:/]*:(\d+)").group(1))
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def start(self) -> None:
        """Start the process without waiting for anything it does."""
        self.process = subprocess.Popen(
            self.command,
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=self.pass_fds,
        )
        self.pid = self.process.pid

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        orphans: list[int] = []
        if self.process.poll() is not None:
            # It ended by itself: whatever still lives some seconds later would hold the port for ever.
            try:
                wait_until(lambda: not session_members(self.pid), timeout=10)
            except AssertionError:
                orphans = session_members(self.pid)
        kill_session(self.pid)
        self.process.wait(timeout=PATIENCE)
        self._final = self.log
        self.output.close()
        if kind is not None:
            print(f"--- log of {' '.join(self.command)}\n{self.log}\n--- end of log")
        else:
            assert not orphans, f"processes {orphans} outlived their supervisor:\n{self.log}"

    @property
    def log(self) -> str:
        """All that supervisor, workers and application wrote until now; in the file the moment that they have written it."""
        return self._final if self.output.closed else os.pread(self.output.fileno(), 1 << 30, 0).decode(errors="replace")

    def wait_until(self, condition: Callable[[], T | None], timeout: float = PATIENCE, what: str = "") -> T:
        """As the function, but the failure shows the server's log."""
        return wait_until(condition, timeout, lambda: f"{what}\nserver's log:\n{self.log[-20000:]}")

    def wait_for_log(self, pattern: str, count: int = 1, timeout: float = PATIENCE) -> re.Match[str]:
        """Wait until ``pattern``, in whatever case, was logged ``count`` times; returns the last of these matches."""
        compiled = re.compile(pattern, re.IGNORECASE)

        def found() -> re.Match[str] | None:
            ended = self.process.poll() is not None
            matches = list(compiled.finditer(self.log))
            if len(matches) < count and ended:
                raise AssertionError(f"ended with {self.process.returncode} before logging {pattern!r}:\n{self.log}")
            return matches[count - 1] if len(matches) >= count else None

        return self.wait_until(found, timeout, f"{pattern!r} was not logged {count} times")

    def workers(self) -> list[int]:
        """The pids of the living worker processes: all that the supervisor has forked."""
        return sorted(pid for pid in children_of(self.pid) if is_alive(pid))

    def serving(self) -> list[int]:
        """The workers that were reported ready and have not closed the listener, as they do when their drain begins."""
        listener = self.listener()
        holders = [pid for pid in self.workers() if listener is None or listener in open_files(pid)]
        return [pid for pid in holders if f"[{pid}] ready in" in self.log]

    def listener(self) -> str | None:
        """The kernel's name for the listening socket; None where /proc does not tell."""
        if self._listener_name is None and Path("/proc/self/fd").exists():
            sockets = psutil.Process(self.pid).net_connections()
            fd = next(one.fd for one in sockets if one.status == psutil.CONN_LISTEN)
            self._listener_name = os.readlink(f"/proc/{self.pid}/fd/{fd}")
        return self._listener_name

    def wait_for_ready(self, count: int, timeout: float = PATIENCE) -> None:
        """Wait until so many workers, since the start, were reported ready."""
        self.wait_for_log(r"ready in \d+ ms", count, timeout)

    def wait_for_workers(self, count: int, timeout: float = PATIENCE) -> list[int]:
        """Wait until exactly ``count`` workers live, each was reported ready, and each has answered.

        A worker answers from the moment that it is ready; on a busy machine the supervisor reads and logs that later, and a
        test which counts what is logged from here on would count these workers, too.
        """

        def all_answer() -> list[int]:
            pids = self.workers()
            reported = all(f"[{pid}] ready in" in self.log for pid in pids)
            return pids if len(pids) == count and reported and self.answering(pids) else []

        return self.wait_until(all_answer, timeout, f"{count} workers did not all answer")

    def answering(self, pids: list[int], tries: int = 64) -> bool:
        """Whether each of ``pids`` takes connections, as GET /pid tells; connections are held open so that all get some."""
        missing = set(pids)
        opened: list[Client] = []
        try:
            for _ in range(tries):
                client = Client(self.port)
                opened.append(client)
                missing.discard(int(client.get("/pid").body))
                if not missing:
                    return True
        except (OSError, ValueError):
            return False
        finally:
            for client in opened:
                client.close()
        return False

    def wait_for_provision(self) -> None:
        """Wait until the supervisor holds what workers may need later; with ``--log-level debug`` it says so."""
        self.wait_for_log("Holds all modules that requests may need")

    def wait_until_left(self, *pids: int) -> None:
        """Wait until none of ``pids`` takes connections any more: each has closed the listener, as the first step of its drain.

        That a drain was ordered is in the log before the worker has read the order.
        """
        listener = self.listener()

        def left(pid: int) -> bool:
            return not is_alive(pid) if listener is None else listener not in open_files(pid)

        self.wait_until(lambda: all(map(left, pids)), what=f"{pids} still listen")

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def send_to_group(self, number: int) -> None:
        """To every process of the group, as a terminal does on Ctrl-C."""
        os.killpg(self.pid, number)

    def wait_for_exit(self, timeout: float = PATIENCE) -> int:
        """The exit code, once the supervisor has ended and all it wrote is in the log."""
        self.wait_until(lambda: self.process.poll() is not None, timeout, "no exit")
        return self.process.wait()

    def stop(self, number: int = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        self.send(number)
        return self.wait_for_exit(timeout)


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


class Client(HTTPConnection):
    """One keep-alive connection; ``uds`` instead of a port for a UNIX socket."""

    def __init__(self, port: int = 0, uds: str | None = None, timeout: float = PATIENCE) -> None:
        super().__init__("127.0.0.1", port, timeout=timeout)
        self.uds = uds

    def connect(self) -> None:
        if self.uds is None:
            return super().connect()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.uds)
        return None

    def get(self, path: str = "/") -> Response:
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Response:
        self.request(method, path, body, dict(headers or {}))
        answer = self.getresponse()
        return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def get(port: int, path: str = "/") -> Response:
    """One request on a connection of its own."""
    client = Client(port)
    try:
        return client.get(path)
    finally:
        client.close()


@contextmanager
def raw_connection(port: int, timeout: float = PATIENCE) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        yield connection


def send_request(connection: socket.socket, path: str, *headers: str, method: str = "GET") -> None:
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())


def open_event_stream(port: int, path: str = "/") -> socket.socket:
    """A client that has asked for a stream of events and has read its first; the caller closes it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    send_request(connection, path)
    seen = b""
    while b"data: " not in seen:
        piece = connection.recv(4096)
        assert piece, seen
        seen += piece
    return connection


def read_response(connection: socket.socket, method: str = "GET") -> Response:
    """Read one response off a raw connection (which may carry no further ones that were already sent)."""
    answer = HTTPResponse(connection, method=method)
    answer.begin()
    return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def wait_until_read(connection: socket.socket) -> None:
    """Wait until the server's process has read all that was sent on ``connection``, so far as the system tells (Linux does)."""
    if not Path("/proc/net/tcp").exists():
        pass_time(0.5)
        return
    ours, theirs = connection.getsockname()[1], connection.getpeername()[1]

    def queues() -> dict[tuple[int, int], list[int]]:
        """Bytes sent but not acknowledged, and received but not read, of each pair of local and remote port (proc(5))."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return {
            (int(row[1].split(":")[1], 16), int(row[2].split(":")[1], 16)): [int(size, 16) for size in row[4].split(":")]
            for row in rows
        }

    wait_until(lambda: queues()[ours, theirs][0] == 0, what="what was sent does not arrive")
    wait_until(lambda: queues()[theirs, ours][1] == 0, what="what was sent is not read")


def is_port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True
