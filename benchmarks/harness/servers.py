"""The table of servers, and starting and stopping one."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import certificate, processes
from .environment import BENCHMARKS, CACHE, CHECKOUT

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """How to start one server: ``command`` with ``{app}``, ``{port}`` and ``{workers}`` to fill in."""

    name: str
    package: str
    command: str
    quiet: str = ""
    """Arguments that switch the access log off."""
    logged: str = ""
    """Arguments that switch the access log on, to standard output or error."""
    tls: str = ""
    """Arguments that serve TLS, with ``{cert}`` and ``{key}`` to fill in; empty if it can't."""
    patient: str = ""
    """Arguments that keep an idle connection open for minutes; empty if it can't."""
    watch: str | None = None
    """Arguments that reload when a file changes; None if it can't."""
    hup: bool = False
    """Whether SIGHUP replaces the workers."""
    default: bool = False
    """Whether it is measured when nobody says which."""
    kinds: tuple[str, ...] = ("http", "websocket")
    """The kinds of scenarios in which it is measured."""

    def argv(self, app: str, port: int, workers: int, extra: str) -> list[str]:
        words = shlex.split(f"{self.command} {extra}")
        cert, key = certificate.FILES
        words = [word.format(app=app, port=port, workers=workers, cert=cert, key=key) for word in words]
        bin_folder = Path(sys.prefix) / "bin"
        return [str(bin_folder / words[0]), *words[1:]]


def tricorn(name: str, options: str, default: bool = False, kinds: tuple[str, ...] = ("http", "websocket")) -> Server:
    return like_uvicorn("tricorn", name, options, default, kinds)


def uvicorn(name: str, options: str, default: bool = False, kinds: tuple[str, ...] = ("http", "websocket")) -> Server:
    return like_uvicorn("uvicorn", name, options, default, kinds)


def like_uvicorn(command: str, name: str, options: str, default: bool, kinds: tuple[str, ...]) -> Server:
    return Server(
        name,
        command,
        f"{command} {{app}} --host 127.0.0.1 --port {{port}} --workers {{workers}} {options}",
        quiet="--no-access-log",
        tls="--ssl-certfile {cert} --ssl-keyfile {key}",
        patient="--timeout-keep-alive 300",
        watch="--reload",
        hup=True,
        default=default,
        kinds=kinds,
    )


def granian(
    name: str, options: str, default: bool = False, http: str = "1", kinds: tuple[str, ...] = ("http", "websocket")
) -> Server:
    return Server(
        name,
        "granian",
        f"granian {{app}} --interface asgi --host 127.0.0.1 --port {{port}} --workers {{workers}} --http {http} --backlog 2048 "
        f"--respawn-failed-workers {options}",
        logged="--access-log",
        tls="--ssl-certificate {cert} --ssl-keyfile {key}",
        patient="--http1-header-read-timeout 60000 --backpressure 20000",
        watch="--reload",
        hup=True,
        default=default,
        kinds=kinds,
    )


def gunicorn(name: str, options: str, default: bool = False) -> Server:
    return Server(
        name,
        "gunicorn",
        f"gunicorn {{app}} -k asgi --bind 127.0.0.1:{{port}} --workers {{workers}} {options}",
        logged="--access-logfile -",
        tls="--certfile {cert} --keyfile {key}",
        patient="--keep-alive 300",
        watch="--reload",
        hup=True,
        default=default,
    )


def hypercorn(name: str, options: str, default: bool = False) -> Server:
    return Server(
        name,
        "hypercorn",
        f"hypercorn {{app}} --bind 127.0.0.1:{{port}} --workers {{workers}} {options}",
        logged="--access-logfile -",
        tls="--certfile {cert} --keyfile {key}",
        patient="--keep-alive 300",
        watch="--reload",
        default=default,
        kinds=("http", "websocket", "http2"),
    )


def canned(name: str, options: str, default: bool = False) -> Server:
    command = f"python canned.py --port {{port}} --workers {{workers}} {options}"
    return Server(name, "uvloop", command, default=default, kinds=("http",))


TABLE = (
    tricorn("tricorn", "--loop auto --http auto", default=True, kinds=("http", "websocket", "http2")),
    tricorn("tricorn-uvloop-h11", "--loop uvloop --http h11"),
    tricorn("tricorn-uvloop-httptools", "--loop uvloop --http httptools"),
    tricorn("tricorn-asyncio", "--loop asyncio --http auto", kinds=("http", "websocket", "http2")),
    tricorn("tricorn-asyncio-h11", "--loop asyncio --http h11", default=True),
    tricorn("tricorn-wsproto", "--loop auto --http auto --ws wsproto", kinds=("websocket",)),
    tricorn("tricorn-websockets", "--loop auto --http auto --ws websockets", kinds=("websocket",)),
    uvicorn("uvicorn", "--loop uvloop --http httptools --ws websockets-sansio", default=True),
    uvicorn("uvicorn-wsproto", "--loop uvloop --http httptools --ws wsproto", default=True, kinds=("websocket",)),
    uvicorn("uvicorn-asyncio-h11", "--loop asyncio --http h11"),
    uvicorn("uvicorn-asyncio", "--loop asyncio --http httptools"),
    uvicorn("uvicorn-zttp", "--loop uvloop --http zttp --http2", default=True, kinds=("http2",)),
    granian("granian", "--loop uvloop", default=True),
    granian("granian-asyncio", "--loop asyncio"),
    granian("granian-auto", "--loop uvloop", default=True, http="auto", kinds=("http2",)),
    gunicorn("gunicorn", "--asgi-loop uvloop", default=True),
    gunicorn("gunicorn-asyncio", "--asgi-loop asyncio"),
    hypercorn("hypercorn", "-k uvloop", default=True),
    hypercorn("hypercorn-asyncio", "-k asyncio"),
    canned("canned", "--loop uvloop", default=True),
    canned("canned-asyncio", "--loop asyncio"),
)
SERVERS: Mapping[str, Server] = {server.name: server for server in TABLE}


class StartFailed(Exception):
    """The server did not answer in time, or ended; the message ends with the last line it printed."""


def free_port() -> int:
    """A TCP port that the kernel says is free."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def ask(port: int, path: str = "/", timeout: float = 5, count: int = 1, *, tls: bool = False) -> list[bytes]:
    """The bodies of ``count`` requests sent at the same time on new connections.

    Raises OSError as the socket does, and also for an answer that is none or has another status than 200.
    """
    opened = [connection_to(port, timeout, tls) for _ in range(count)]
    try:
        for connection in opened:
            connection.request("GET", path, headers={"Connection": "close"})
        return [body_of(connection.getresponse()) for connection in opened]
    except http.client.HTTPException as error:
        raise ConnectionError(f"no proper answer: {error!r}") from error
    finally:
        for connection in opened:
            connection.close()


def connection_to(port: int, timeout: float, tls: bool) -> http.client.HTTPConnection:
    """Not opened yet; over TLS any certificate is taken."""
    if not tls:
        return http.client.HTTPConnection(HOST, port, timeout=timeout)
    return http.client.HTTPSConnection(HOST, port, timeout=timeout, context=ssl._create_unverified_context())


def body_of(response: http.client.HTTPResponse) -> bytes:
    if response.status != 200:
        raise ConnectionError(f"answered {response.status}")
    return response.read()


class Running:
    """One started server with all its processes; stops it as a context manager.

    ``cores`` are the CPUs it may use, None for all. ``started`` is when it was executed (monotonic seconds). With
    ``wait`` false, the block begins at once, before it answers.
    """

    def __init__(
        self,
        server: Server,
        workers: int = 1,
        *,
        access_log: bool = False,
        tls: bool = False,
        patient: bool = False,
        watch: bool = False,
        app: str = "apps:app",
        folder: Path = BENCHMARKS,
        pinned: bool = True,
        wait: bool = True,
    ) -> None:
        self.server, self.workers, self.port, self.tls = server, workers, free_port(), tls
        extra = server.logged if access_log else server.quiet
        if tls:
            certificate.make()
            extra = f"{extra} {server.tls}"
        if patient:
            extra = f"{extra} {server.patient}"
        if watch:
            extra = f"{extra} {server.watch}"
        self._argv = server.argv(app, self.port, workers, extra)
        self._folder, self._wait = folder, wait
        self._cores = processes.server_cores(workers) if pinned else None

    def __enter__(self) -> Running:
        CACHE.mkdir(exist_ok=True)
        self._scratch = tempfile.TemporaryDirectory(dir=CACHE)
        self._log = Path(self._scratch.name) / "log"
        self._ready = Path(self._scratch.name) / "ready"
        environment = {**os.environ, "BENCH_READY_FILE": str(self._ready), "PYTHONDONTWRITEBYTECODE": ""}
        with self._log.open("wb") as log, processes.on_cores(self._cores):
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                self._argv, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        if self._wait:
            try:
                self.first_answer()
                self.wait_for_workers(self.workers)
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(4)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._scratch.cleanup()

    def first_answer(self, timeout: float = 30, path: str = "/") -> bytes:
        """Waits for an answer; its body. Raises StartFailed."""
        until = time.monotonic() + timeout
        while time.monotonic() < until and self.process.poll() is None:
            try:
                return ask(self.port, path, tls=self.tls)[0]
            except OSError:
                time.sleep(0.0005)
        raise StartFailed(f"{self.server.name} did not start: {self.last_words()}")

    def wait_for_workers(self, count: int, timeout: float = 30) -> None:
        """Waits until ``count`` workers have completed the application's start-up. Raises StartFailed."""
        until = time.monotonic() + timeout
        while len(self.alive_workers()) < count:
            if time.monotonic() > until or self.process.poll() is not None:
                raise StartFailed(f"{self.server.name}: {len(self.alive_workers())} of {count} workers: {self.last_words()}")
            time.sleep(0.005)

    def last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1].replace(f"{CHECKOUT}/", "") if lines else "it said nothing"

    def ready_times(self) -> dict[int, float]:
        """When each worker's application completed its start-up, by pid, in monotonic seconds (see ``apps.note_ready``)."""
        try:
            lines = self._ready.read_text().splitlines()
        except FileNotFoundError:
            return {}
        return {int(pid): float(when) for pid, when in (line.split() for line in lines if " " in line)}

    def alive_workers(self) -> list[int]:
        alive = set(self.tree())
        return [pid for pid in self.ready_times() if pid in alive]

    def tree(self) -> list[int]:
        """The pids of all its processes."""
        return processes.tree(self.process.pid)

    def private_memory(self) -> int:
        """Bytes of all its processes that they share with nobody."""
        return sum(processes.memory(pid).private for pid in self.tree())
