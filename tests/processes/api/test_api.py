"""Tricorn in a program: uvicorn's examples with the import changed, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tricorn
from support.certificates import Authority
from support.harness import ROOT, Server, environment, get, run_tricorn, wait_until
from tricorn.embedding.config import PRISTINE
from tricorn.errors import ConfigError

KEYWORDS = (
    "app host port uds fd loop http http2 ws ws_max_size ws_max_queue ws_ping_interval ws_ping_timeout ws_per_message_deflate "
    "lifespan env_file log_config log_level access_log use_colors interface reload reload_dirs reload_delay reload_includes "
    "reload_excludes workers proxy_headers server_header date_header forwarded_allow_ips root_path limit_concurrency "
    "limit_max_requests limit_max_requests_jitter backlog timeout_keep_alive timeout_notify timeout_graceful_shutdown "
    "timeout_worker_healthcheck callback_notify ssl_keyfile ssl_certfile ssl_keyfile_password ssl_version ssl_cert_reqs "
    "ssl_ca_certs ssl_ciphers ssl_context_factory headers factory h11_max_incomplete_event_size reset_contextvars"
)
"""Of uvicorn 0.54's Config, in their order."""
PROBE = "tests.apps.probe:app"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """``tricorn.LOGGING_CONFIG`` may be changed by who uses it."""
    yield
    tricorn.LOGGING_CONFIG.clear()
    tricorn.LOGGING_CONFIG.update(copy.deepcopy(PRISTINE))


class App:
    """Remembers what its lifespan was told."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.hold = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while "lifespan.shutdown" not in self.seen:
                self.seen.append((await receive())["type"])
                await send({"type": f"{self.seen[-1]}.complete"})
            return
        if scope["path"] == "/hold":
            self.seen.append("held")
            await self.hold.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})


def port_of(server: tricorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


@contextlib.contextmanager
def in_thread(server: tricorn.Server) -> Iterator[int]:
    """The recipe of the documentation: serve in a thread, for tests."""
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        yield port_of(server)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def test_config_takes_every_keyword_of_uvicorns_in_their_order() -> None:
    names = list(inspect.signature(tricorn.Config).parameters)
    assert " ".join(names) == f"{KEYWORDS} options"


def test_every_field_becomes_settings() -> None:
    config = tricorn.Config(
        PROBE,
        "::1",
        9000,
        log_config=None,
        log_level=logging.WARNING,
        headers=[("A", "b")],
        reload_dirs="here",
        ws_ping_interval=None,
        forwarded_allow_ips=["10.0.0.0/8", "::1"],
        ssl_certfile=Path("cert.pem"),
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        options={"limit_request_body": 7},
    )
    settings = config.settings()
    assert (settings.host, settings.port, settings.log_level) == (("::1",), 9000, "warning")
    assert (settings.header, settings.reload_dir, settings.ws_ping_interval) == (("A:b",), ("here",), 0)
    assert (settings.forwarded_allow_ips, settings.ssl_certfile) == ("10.0.0.0/8,::1", "cert.pem")
    assert (settings.limit_request_body, settings.timeout_graceful_shutdown) == (7, 30)


def test_a_wrong_value_is_told_as_the_command_tells_it() -> None:
    with pytest.raises(ConfigError, match="--port 99999: must be at most 65535"):
        tricorn.Config(PROBE, port=99999, log_config=None).settings()
    with pytest.raises(ConfigError, match="nonsense = 1: no such option"):
        tricorn.Config(PROBE, log_config=None, options={"nonsense": 1}).settings()


def test_variables_that_uvicorn_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("WEB_CONCURRENCY=3\n")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.1.1.1")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    config = tricorn.Config(PROBE, log_config=None, env_file=tmp_path / "env")
    assert (config.workers, config.forwarded_allow_ips, config.use_subprocess) == (3, "10.1.1.1", True)


def test_load_and_the_attributes_it_sets() -> None:
    config = tricorn.Config(PROBE, log_config=None, headers=[("A", "b")])
    assert config.loaded is False
    config.load()
    assert config.loaded is True
    assert config.interface == "asgi3"
    assert config.encoded_headers == [(b"server", b"tricorn"), (b"a", b"b")]
    assert (config.ssl, config.is_ssl, config.asgi_version, config.should_reload) == (None, False, "3.0", False)
    assert config.loaded_app is config.load_app()


def test_an_application_that_is_not_there_exits_with_3(caplog: pytest.LogCaptureFixture) -> None:
    for load in (tricorn.Config("nowhere:app", log_config=None).load_app, tricorn.Config("nowhere:app", log_config=None).load):
        with pytest.raises(SystemExit) as ended:
            load()
        assert ended.value.code == 3
    assert "no module named 'nowhere'" in caplog.text


def test_bind_socket_and_serve_on_it() -> None:
    app = App()
    config = tricorn.Config(app, port=0, log_config=None)
    bound = config.bind_socket()
    assert bound.get_inheritable()

    async def main() -> None:
        server = tricorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        while not server.started:
            await asyncio.sleep(0.001)
        assert (await asyncio.to_thread(get, port_of(server), "/x")).body == b"/x"
        server.should_exit = True
        await serving
        assert bound.fileno() == -1
        assert not server.servers[0].is_serving()

    asyncio.run(main())
    assert app.seen == ["lifespan.startup", "lifespan.shutdown"]


def test_serve_leaves_the_loop_as_it_was() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        for _ in range(2):
            server = tricorn.Server(tricorn.Config(App(), port=0, log_config=None))
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.001)
            assert signal.getsignal(signal.SIGTERM) == server.handle_exit
            server.should_exit = True
            await serving
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        assert len(asyncio.all_tasks()) == 1
        assert not [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]

    asyncio.run(main())


def test_a_cancelled_server_lets_go() -> None:
    async def main() -> None:
        server = tricorn.Server(tricorn.Config(App(), port=0, log_config=None))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.001)
        port = port_of(server)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0

    asyncio.run(main())


def test_force_exit_waits_for_nothing() -> None:
    app = App()
    server = tricorn.Server(tricorn.Config(app, port=0, log_config=None))
    with in_thread(server) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: "held" in app.seen)
        server.should_exit = True
        wait_until(lambda: not server.servers[0].is_serving())
        server.force_exit = True
        assert client.recv(100).startswith(b"HTTP/1.1 503 ")
    assert "lifespan.shutdown" not in app.seen


def test_in_a_thread() -> None:
    app = App()
    with in_thread(tricorn.Server(tricorn.Config(app, port=0, log_config=None))) as port:
        assert get(port, "/a").body == b"/a"
    assert app.seen == ["lifespan.startup", "lifespan.shutdown"]


def test_startup_and_shutdown_by_hand() -> None:
    async def main() -> None:
        app = App()
        server = tricorn.Server(tricorn.Config(app, port=0, log_config=None))
        await server.startup()
        assert server.started
        assert (await asyncio.to_thread(get, port_of(server), "/x")).body == b"/x"
        await server.shutdown()
        assert app.seen == ["lifespan.startup", "lifespan.shutdown"]

    asyncio.run(main())


def test_limit_max_requests_ends_the_server() -> None:
    server = tricorn.Server(tricorn.Config(App(), port=0, log_config=None, limit_max_requests=2))
    with in_thread(server) as port:
        get(port), get(port)
        wait_until(lambda: server.should_exit)


def test_callback_notify() -> None:
    calls = []

    async def notified() -> None:
        calls.append(1)

    server = tricorn.Server(tricorn.Config(App(), port=0, log_config=None, timeout_notify=0, callback_notify=notified))
    with in_thread(server):
        wait_until(lambda: len(calls) > 1)


def test_ssl_context_factory(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    made = []

    def factory(config: tricorn.Config, default: Any) -> ssl.SSLContext:
        context: ssl.SSLContext = default()
        made.append(context)
        return context

    config = tricorn.Config(
        App(), port=0, log_config=None, ssl_certfile=certificate, ssl_keyfile=key, ssl_context_factory=factory
    )
    with in_thread(tricorn.Server(config)) as port, socket.create_connection(("127.0.0.1", port)) as raw:
        client = ssl.create_default_context(cafile=authority.file)
        with client.wrap_socket(raw, server_hostname="localhost") as secure:
            secure.sendall(b"GET /tls HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert b"/tls" in secure.recv(4096)
    assert made == [config.ssl]


def test_logging_config_that_a_program_changes(capfd: pytest.CaptureFixture[str]) -> None:
    tricorn.LOGGING_CONFIG["formatters"]["access"]["fmt"] = "own %(client_addr)s %(request_line)s %(status_code)s"
    tricorn.LOGGING_CONFIG["formatters"]["default"]["fmt"] = "own %(levelprefix)s %(message)s"
    with in_thread(tricorn.Server(tricorn.Config(App(), port=0, log_config=tricorn.LOGGING_CONFIG))) as port:
        get(port, "/a")
    out, err = capfd.readouterr()
    assert re.fullmatch(r"own 127.0.0.1:\d+ GET /a HTTP/1.1 200 OK\n", out)
    assert "own INFO:     Shutting down\n" in err


def test_log_level_and_no_access_log(capfd: pytest.CaptureFixture[str]) -> None:
    with in_thread(tricorn.Server(tricorn.Config(App(), port=0, log_level="warning"))) as port:
        get(port)
    with in_thread(tricorn.Server(tricorn.Config(App(), port=0, access_log=False))) as port:
        get(port)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("Shutting down") == 1


# ------------------------------------------------------------------------------------------------------ whole programs


@contextlib.contextmanager
def program(text: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A program of its own that serves; its output is one pipe."""
    file = tmp_path / "program.py"
    file.write_text(text)
    env = environment({"PYTHONPATH": str(ROOT)})
    with subprocess.Popen(
        [sys.executable, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def port_said_by(process: subprocess.Popen[str]) -> int:
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"http://127.0.0.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("".join(said))


EXAMPLES = {
    "run": "import tricorn as uvicorn\nif __name__ == '__main__':\n"
    "    uvicorn.run('tests.apps.probe:app', port=0, log_level='info')\n",
    "run with an object": "import tricorn as uvicorn\nfrom tests.apps.probe import app\nuvicorn.run(app, port=0)\n",
    "run with workers": "import tricorn as uvicorn\nif __name__ == '__main__':\n"
    "    uvicorn.run('tests.apps.probe:app', port=0, workers=2)\n",
    "Server": "import tricorn as uvicorn\n"
    "config = uvicorn.Config('tests.apps.probe:app', port=0, log_level='info')\nuvicorn.Server(config).run()\n",
    "serve": "import asyncio\nimport tricorn as uvicorn\nasync def main():\n"
    "    config = uvicorn.Config('tests.apps.probe:app', port=0, log_level='info')\n"
    "    await uvicorn.Server(config).serve()\nasyncio.run(main())\n",
    "in uvicorn's place": "import sys, tricorn\nsys.modules['uvicorn'] = tricorn\n"
    "import uvicorn\nfrom uvicorn.config import LOGGING_CONFIG\n"
    "uvicorn.run('tests.apps.probe:app', port=0, log_config=LOGGING_CONFIG)\n",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_uvicorns_examples(name: str, tmp_path: Path) -> None:
    with program(EXAMPLES[name], tmp_path) as process:
        port = port_said_by(process)
        assert wait_until(lambda: get(port).status) == 200
        process.terminate()
        rest, _ = process.communicate(timeout=30)
        # As with uvicorn, who stops a server by a signal sees the process end by it; a supervisor has answered it.
        assert process.returncode == (0 if "workers" in name else -signal.SIGTERM), rest
        assert "lifespan shutdown in" in rest


def test_run_exits_as_the_command(tmp_path: Path) -> None:
    for text, code, said in (
        ("run('nowhere:app', port=0)", 3, "no module named 'nowhere'"),
        ("run('tests.apps.probe:app', port=99999)", 2, "--port 99999: must be at most 65535"),
        ("run(lambda: None, workers=2)", 3, "the application must be named"),
        ("run('tests.apps.startup_fails:app', port=0)", 3, "start-up failed"),
    ):
        with program(f"import tricorn\ntricorn.{text}\n", tmp_path) as process:
            out, _ = process.communicate(timeout=30)
            assert (process.returncode, said in out) == (code, True), out


def test_main_is_a_click_command() -> None:
    import click
    from click.testing import CliRunner

    assert isinstance(tricorn.main, click.Command)
    result = CliRunner().invoke(tricorn.main, ["main:app", "--port", "x"])
    assert result.exit_code == 2
    assert "--port x: must be a whole number" in result.output


def test_workers_0_serves_in_the_commands_own_process() -> None:
    with Server(PROBE, "--workers", "0") as server:
        assert int(get(server.port, "/pid").body) == server.pid
        assert server.workers() == []
        assert server.stop() == 0
        assert "lifespan shutdown" in server.log


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((PROBE, "--reload"), 2, "--reload: needs a supervisor, which --workers 0 does without"),
        (("nowhere:app",), 3, "no module named 'nowhere'"),
        ((PROBE, "--host", "192.0.2.1"), 1, "--host 192.0.2.1: not an address of this machine"),
    ],
)
def test_workers_0_that_cannot_be(arguments: tuple[str, ...], code: int, said: str) -> None:
    ended = run_tricorn(*arguments, "--workers", "0")
    assert ended.returncode == code
    assert said in ended.stderr
