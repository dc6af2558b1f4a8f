"""Tricorn embedded as programs embed uvicorn: cancelled, stopped twice, on their own loop, with the values they pass."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import tricorn
from support.harness import ROOT, Server, environment, get, wait_until
from tricorn.errors import ConfigError

PROBE = "tests.apps.probe:app"


class App:
    """Remembers what its lifespan was told; a request for /hold waits until it may go on."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.hold = asyncio.Event()
        self.starting = asyncio.Event()
        self.starting.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["path"] == "/hold":
            self.seen.append("held")
            await self.hold.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answered"})

    async def _live(self, receive: Any, send: Any) -> None:
        try:
            while "lifespan.shutdown" not in self.seen:
                self.seen.append((await receive())["type"])
                await self.starting.wait()
                await send({"type": f"{self.seen[-1]}.complete"})
        finally:
            self.seen.append("left")


WHOLE_LIFE = ["lifespan.startup", "held", "lifespan.shutdown", "left"]


def make(app: Any, **given: Any) -> tricorn.Server:
    return tricorn.Server(tricorn.Config(app, port=0, log_config=None, **given))


def port_of(server: tricorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def with_a_request_in_flight(app: App, server: tricorn.Server) -> AsyncIterator[tuple[Any, Any]]:
    """The task that serves, and the response of a request that is in flight."""
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    answer = asyncio.create_task(asyncio.to_thread(get, port_of(server), "/hold"))
    await until(lambda: "held" in app.seen)
    yield serving, answer
    await answer


def test_a_cancelled_server_finishes_what_is_in_flight() -> None:
    async def main() -> None:
        app = App()
        server = make(app)
        async with with_a_request_in_flight(app, server) as (serving, answer):
            port = port_of(server)
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            ended = asyncio.create_task(server.shutdown())
            await asyncio.sleep(0)
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0
            assert not ended.done()
            app.hold.set()
            assert (await answer).body == b"answered"
            await ended
        assert app.seen == WHOLE_LIFE

    asyncio.run(main())


def test_a_cancelled_server_ends_though_nobody_asks_it_to() -> None:
    async def main() -> None:
        app = App()
        server = make(app)
        async with with_a_request_in_flight(app, server) as (serving, _):
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            app.hold.set()
        await until(lambda: app.seen == WHOLE_LIFE)
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(main())


def test_shutdown_any_number_of_times() -> None:
    async def main() -> None:
        app = App()
        server = make(app)
        await server.shutdown()
        async with with_a_request_in_flight(app, server) as (serving, _):
            server.should_exit = True
            await until(lambda: not server.servers[0].is_serving())
            more = [asyncio.create_task(server.shutdown()) for _ in range(3)]
            app.hold.set()
            await asyncio.wait_for(asyncio.gather(serving, *more), 30)
        await server.shutdown()
        assert app.seen == WHOLE_LIFE

    asyncio.run(main())


def test_shutdown_ends_serve() -> None:
    async def main() -> None:
        app = App()
        server = make(app)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        await server.shutdown()
        await asyncio.wait_for(serving, 30)
        assert app.seen == ["lifespan.startup", "lifespan.shutdown", "left"]

    asyncio.run(main())


async def serve_until_it_starts(app: App) -> tuple[tricorn.Server, asyncio.Task[None]]:
    """A server whose application has been told to start, and does not until ``app.starting`` is set."""
    app.starting.clear()
    server = make(app)
    serving = asyncio.create_task(server.serve())
    await until(lambda: app.seen)
    return server, serving


def test_shutdown_while_the_application_starts() -> None:
    async def main() -> None:
        app = App()
        server, serving = await serve_until_it_starts(app)
        ended = asyncio.create_task(server.shutdown())
        await asyncio.sleep(0)
        app.starting.set()
        await asyncio.wait_for(asyncio.gather(serving, ended), 30)
        assert app.seen == ["lifespan.startup", "lifespan.shutdown", "left"]

    asyncio.run(main())


def test_a_shutdown_that_waited_for_a_start_that_failed_leaves_the_next_start_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The program starts the server again before the event loop has come back to the shutdown that waits."""

    async def main() -> None:
        app = App()
        app.starting.clear()
        server = make(app)

        async def start_twice() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await server.startup()
            app.starting.set()
            server.lifespan = None
            await server.startup()

        program = asyncio.create_task(start_twice())
        await until(lambda: app.seen)
        ended = asyncio.create_task(server.shutdown())
        await asyncio.sleep(0)
        program.cancel()
        await asyncio.wait_for(asyncio.gather(program, ended), 30)
        assert server.servers[0].is_serving()
        assert (await asyncio.to_thread(get, port_of(server), "/")).body == b"answered"
        await asyncio.wait_for(server.shutdown(), 30)
        assert not server.servers[0].is_serving()

    asyncio.run(main())
    gc.collect()
    assert "asyncio" not in [record.name for record in caplog.records if record.levelno > logging.DEBUG]


def test_cancelled_while_the_application_starts() -> None:
    async def main() -> None:
        app = App()
        server, serving = await serve_until_it_starts(app)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        await asyncio.wait_for(server.shutdown(), 30)
        await until(lambda: app.seen == ["lifespan.startup", "left"])
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_startup_twice_is_one_start() -> None:
    async def main() -> None:
        app = App()
        server = make(app)
        await asyncio.gather(server.startup(), server.startup())
        await server.startup()
        assert (await asyncio.to_thread(get, port_of(server))).body == b"answered"
        await server.shutdown()
        assert app.seen == ["lifespan.startup", "lifespan.shutdown", "left"]

    asyncio.run(main())


def test_main_loop_before_startup_and_flags_from_another_thread() -> None:
    async def main() -> None:
        server = make(App())
        waiting = asyncio.create_task(server.main_loop())
        await server.startup()
        threading.Thread(target=setattr, args=(server, "should_exit", True)).start()
        await asyncio.wait_for(waiting, 30)
        threading.Thread(target=setattr, args=(server, "force_exit", True)).start()
        await asyncio.wait_for(server.shutdown(), 30)

    asyncio.run(main())


def test_one_server_on_two_loops() -> None:
    app = App()
    server = make(app)
    for _ in range(2):

        async def main() -> None:
            server.should_exit = False
            serving = asyncio.create_task(server.serve())
            await until(lambda: server.servers and server.servers[0].is_serving())
            await server.shutdown()
            await serving

        asyncio.run(main())
        assert app.seen == ["lifespan.startup", "lifespan.shutdown", "left"]
        app.seen.clear()


# --------------------------------------------------------------------------------------------------------------- values

TAKEN: dict[str, list[Any]] = {
    "host": [None, ""],
    "port": [None, "0"],
    "uds": [""],
    "loop": [None, "none", asyncio.SelectorEventLoop],
    "ssl_ciphers": ["TLSv1", ""],
    "ssl_keyfile": [""],
    "ssl_certfile": ["", None],
    "ssl_keyfile_password": ["", "secret"],
    "ssl_ca_certs": [""],
    "ssl_version": [2],
    "env_file": [""],
    "limit_max_requests": [0, "", "5"],
    "limit_max_requests_jitter": ["0"],
    "limit_concurrency": ["", "5"],
    "backlog": [0, None, "16"],
    "workers": ["", "1", 0, None],
    "timeout_keep_alive": ["5", 0],
    "timeout_graceful_shutdown": ["1", None],
    "ws_max_size": [1e6, "1000"],
    "ws_ping_interval": ["20.0", None, 0],
    "ws_per_message_deflate": [0, 1, "true", "false", ""],
    "access_log": [0, ""],
    "use_colors": ["", 0, "1"],
    "proxy_headers": [0, "", None],
    "reload": [0, ""],
    "factory": [0],
    "root_path": ["", None],
    "headers": [None, []],
    "h11_max_incomplete_event_size": ["", "4096"],
}
"""Values beside those of uvicorn's annotations, or at their edge, that uvicorn takes."""


@pytest.mark.parametrize("name", TAKEN)
def test_values_that_uvicorn_takes(name: str) -> None:
    async def main() -> None:
        for value in TAKEN[name]:
            given = {"port": 0, "log_config": None, name: value}
            server = tricorn.Server(tricorn.Config(App(), **given))
            await server.startup()
            assert (await asyncio.to_thread(get, port_of(server))).status == 200, value
            await server.shutdown()

    asyncio.run(main())


REFUSED: dict[str, list[Any]] = {
    "port": ["", "eighty"],
    "limit_concurrency": [0],
    "ws_max_size": [0, ""],
    "http": [0, ""],
    "interface": [""],
    "access_log": ["perhaps"],
    "root_path": [0],
    "h11_max_incomplete_event_size": [0],
    "env_file": ["/nowhere/env"],
}
"""Values with which uvicorn starts and then answers nothing, or not what was asked for."""


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_are_refused_in_one_line(name: str) -> None:
    for value in REFUSED[name]:
        with pytest.raises(ConfigError) as error:
            tricorn.Config(App(), log_config=None, **{name: value}).settings()
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(f"--{name.replace('_', '-')}")


def test_host_none_is_every_address() -> None:
    async def main() -> None:
        server = make(App(), host=None)
        await server.startup()
        assert "0.0.0.0" in [one.getsockname()[0] for one in server.servers[0].sockets]
        await server.shutdown()

    asyncio.run(main())


def test_a_descriptor_that_is_not_bound() -> None:
    async def main() -> None:
        with socket.socket() as unbound:
            server = make(App(), fd=os.dup(unbound.fileno()))
        await server.startup()
        assert (await asyncio.to_thread(get, port_of(server))).status == 200
        await server.shutdown()

    asyncio.run(main())


def test_the_loop_that_is_given_is_the_one_that_runs() -> None:
    loop = asyncio.new_event_loop()
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(asyncio.get_running_loop())
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

    server = make(app, loop=loop)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    get(port_of(server))
    server.should_exit = True
    thread.join(30)
    assert seen == [loop]
    with pytest.raises(ConfigError, match="need its name, MODULE:ATTRIBUTE"):
        tricorn.Config(PROBE, loop=loop, workers=2, log_config=None).settings()
    loop.close()


# -------------------------------------------------------------------------------------------- import before the loop runs

RUNS_A_LOOP = """
import asyncio

async def prepare():
    return b"prepared"

BODY = asyncio.run(prepare())

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": BODY})
"""


@pytest.fixture
def runs_a_loop(tmp_path: Path) -> str:
    (tmp_path / "runs_a_loop.py").write_text(RUNS_A_LOOP)
    return str(tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_application_that_runs_a_loop_while_it_is_imported(workers: int, runs_a_loop: str) -> None:
    with Server("runs_a_loop:app", "--workers", str(workers), "--app-dir", runs_a_loop) as server:
        assert get(server.port).body == b"prepared"


@contextlib.contextmanager
def program(text: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program that serves, and its port."""
    with subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment({"PYTHONPATH": f"{ROOT}:{ROOT}/tests:{Path(__file__).parent}"}),
        cwd=ROOT,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout
            said = []
            for line in process.stdout:
                said.append(line)
                if found := re.search(r"http://127.0.0.1:(\d+)", line):
                    yield process, int(found[1])
                    return
            raise AssertionError("".join(said))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "call", ["tricorn.run('runs_a_loop:app', port=0)", "tricorn.Server(tricorn.Config('runs_a_loop:app', port=0)).run()"]
)
def test_a_program_whose_application_runs_a_loop_while_it_is_imported(call: str, runs_a_loop: str) -> None:
    with program(f"import sys, tricorn\nsys.path.insert(0, {runs_a_loop!r})\n{call}\n") as (_, port):
        assert get(port).body == b"prepared"


VLLM = """
import asyncio, signal, sys
import tricorn
sys.modules["uvicorn"] = tricorn
import uvicorn
from test_embedding import App

async def serve(app):
    server = uvicorn.Server(uvicorn.Config(app, port=0))
    task = asyncio.get_running_loop().create_task(server.serve())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return server.shutdown()

async def main():
    app = App()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, app.hold.set)
    await (await serve(app))
    print("saw", *app.seen)

asyncio.run(main())
"""


def test_a_program_that_cancels_on_sigterm_and_then_shuts_down() -> None:
    with program(VLLM) as (process, port), socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert process.stdout
            process.terminate()
            assert any("Shutting down" in line for line in process.stdout)
            process.send_signal(signal.SIGUSR1)
            assert client.recv(1000).endswith(b"answered")
            rest, _ = process.communicate(timeout=30)
            assert process.returncode == 0, rest
            assert f"saw {' '.join(WHOLE_LIFE)}" in rest


# -------------------------------------------------------------------------------------------------- names and identities


def run_python(text: str) -> str:
    command = [sys.executable, "-W", "error", "-c", text]
    ended = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_version_is_uvicorns_where_tricorn_stands_for_it() -> None:
    for more in ("", "import tricorn.hooks\n", "import uvicorn.config\n"):
        text = f"import sys, tricorn\nsys.modules['uvicorn'] = tricorn\n{more}import uvicorn\nprint(uvicorn.__version__)\n"
        assert run_python(text) == "0.54.0\n", more
    assert run_python("import tricorn, tricorn.embedding.server\nprint(tricorn.__version__)\n") == "0.1.0\n"


def test_importing_tricorn_leaves_the_import_system_alone() -> None:
    text = "import sys\nbefore = sys.meta_path[:]\nimport tricorn\nfrom tricorn import Server, hooks\n"
    assert run_python(f"{text}print(sys.meta_path == before)\n") == "True\n"


def test_the_state_holds_what_the_lifespan_put_there() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["own"] = 1
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        worker = tricorn.current_worker()
        assert worker is not None
        seen.append((dict(scope["state"]), worker.slot, worker.pid, worker.is_ready))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async def main() -> None:
        server = make(app)
        await server.startup()
        await asyncio.to_thread(get, port_of(server))
        await server.shutdown()

    asyncio.run(main())
    assert seen == [({"own": 1}, 0, os.getpid(), True)]


def test_nothing_is_logged_when_a_loop_ends_with_a_server_on_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        server = make(App())
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        serving.cancel()

    asyncio.run(main())
    assert caplog.records == []
