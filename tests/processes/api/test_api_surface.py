"""Every public attribute of uvicorn 0.54's Config and Server, and its modules: each means something, or it is said that not."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import tricorn
from support.harness import ROOT, Client, environment, get, wait_until
from test_api import App, in_thread, port_of, port_said_by, program
from tricorn.compat.uvicorn_parts import ProxyHeadersMiddleware, get_client_addr, get_path_with_query_string
from tricorn.embedding.lifespan import LifespanOff, LifespanOn
from tricorn.errors import ConfigError
from tricorn.protocols.http1.connection import HttpConnection
from tricorn.protocols.websocket.connection import WebSocketConnection

PROBE = "tests.apps.probe:app"

CONFIG: dict[str, Any] = {
    # What keywords set, in their order; each as it was given, or as it is by default.
    "app": PROBE,
    "host": "127.0.0.1",
    "port": 8000,
    "uds": None,
    "fd": None,
    "loop": "auto",
    "http": "auto",
    "http2": True,
    "ws": "auto",
    "ws_max_size": 16777216,
    "ws_max_queue": 32,
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": 20.0,
    "ws_per_message_deflate": True,
    "lifespan": "auto",
    "log_config": None,
    "log_level": None,
    "access_log": True,
    "use_colors": None,
    "interface": "asgi3",
    "reload": False,
    "reload_delay": 0.25,
    "workers": 1,
    "proxy_headers": True,
    "server_header": True,
    "date_header": True,
    "root_path": "",
    "limit_concurrency": None,
    "limit_max_requests": None,
    "limit_max_requests_jitter": 0,
    "backlog": 2048,
    "timeout_keep_alive": 5,
    "timeout_notify": 30,
    "timeout_graceful_shutdown": None,
    "timeout_worker_healthcheck": None,
    "callback_notify": None,
    "ssl_keyfile": None,
    "ssl_certfile": None,
    "ssl_keyfile_password": None,
    "ssl_version": 17,
    "ssl_cert_reqs": 0,
    "ssl_ca_certs": None,
    "ssl_ciphers": None,
    "ssl_context_factory": None,
    "headers": [("A", "b")],
    "factory": False,
    "h11_max_incomplete_event_size": None,
    "reset_contextvars": False,
    "forwarded_allow_ips": "127.0.0.1,::1",
    # What it finds out.
    "reload_dirs": [],
    "reload_dirs_excludes": [],
    "reload_includes": [],
    "reload_excludes": [],
    "asgi_version": "3.0",
    "is_ssl": False,
    "use_subprocess": False,
    "should_reload": False,
    # What loading adds.
    "loaded": True,
    "ssl": None,
    "encoded_headers": [(b"server", b"tricorn"), (b"a", b"b")],
    "http_protocol_class": HttpConnection,
    "ws_protocol_class": WebSocketConnection,
    "lifespan_class": LifespanOn,
}
CONFIG_METHODS = ("configure_logging", "load_app", "load", "get_loop_factory", "bind_socket")
SERVER_METHODS = (
    *("run", "serve", "startup", "main_loop", "on_tick", "shutdown", "capture_signals", "handle_exit"),
    # And what is no method.
    *("config", "server_state", "started", "should_exit", "force_exit", "last_notified", "limit_max_requests", "lifespan"),
    "servers",
)
DIFFERENT = {"setup_event_loop"}
"""Of uvicorn's Config: there, too, it only raises AttributeError."""


def test_every_attribute_of_config() -> None:
    config = tricorn.Config(PROBE, log_config=None, headers=[("A", "b")])
    config.load()
    assert {name: getattr(config, name) for name in CONFIG} == CONFIG
    assert config.loaded_app is config.load_app()
    assert all(callable(getattr(config, name)) for name in CONFIG_METHODS)
    assert not any(hasattr(config, name) for name in DIFFERENT)


def test_every_attribute_of_server() -> None:
    server = tricorn.Server(tricorn.Config(App(), port=0, log_config=None))
    assert [name for name in SERVER_METHODS if not hasattr(server, name)] == []


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        ({"ws": "none"}, (HttpConnection, None, LifespanOn)),
        ({"interface": "wsgi"}, (HttpConnection, None, LifespanOn)),
        ({"lifespan": "off"}, (HttpConnection, WebSocketConnection, LifespanOff)),
    ],
)
def test_classes_follow_the_options(given: dict[str, Any], classes: tuple[Any, ...]) -> None:
    config = tricorn.Config(PROBE, log_config=None, **given)
    assert (config.http_protocol_class, config.ws_protocol_class, config.lifespan_class) == classes


def test_directories_that_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("src", "src/left_out", "lib"):
        (tmp_path / name).mkdir()
    config = tricorn.Config(
        PROBE, log_config=None, reload=True, reload_dirs=["src", "lib"], reload_excludes=["src/left_out", "*.tmp"]
    )
    assert (config.should_reload, config.reload_dirs) == (True, [tmp_path / "src", tmp_path / "lib"])
    assert config.reload_dirs_excludes == [tmp_path / "src/left_out"]
    assert config.settings().reload_dir == (str(tmp_path / "src"), str(tmp_path / "lib"))
    assert tricorn.Config(PROBE, log_config=None, reload=True).reload_dirs == [tmp_path]


class Custom(asyncio.Protocol):
    """What a program might give to uvicorn."""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"http": Custom}, "--http Custom: Tricorn takes no classes or functions here, but auto, h11, httptools"),
        ({"ws": Custom}, "--ws Custom: Tricorn takes no classes or functions here, but auto, wsproto, websockets"),
        ({"lifespan": Custom}, "--lifespan Custom: Tricorn takes no classes or functions here, but auto, on, off"),
        ({"http": "uvicorn.protocols.http.h11_impl:H11Protocol"}, "h11_impl:H11Protocol: must be one of auto, h11"),
    ],
)
def test_classes_of_the_programs_own_are_refused_in_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        tricorn.Config(PROBE, log_config=None, **given).settings()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_server_state_is_what_is_so_at_the_moment() -> None:
    server = tricorn.Server(tricorn.Config(App(), port=0, log_config=None, headers=[("A", "b")]))
    state = server.server_state
    assert (state.connections, state.tasks, state.total_requests, state.default_headers) == (set(), set(), 0, [])
    with in_thread(server) as port, contextlib.closing(Client(port)) as client:
        client.get("/")
        assert (len(state.connections), len(state.tasks), state.total_requests) == (1, 0, 1)
        client.request("GET", "/hold")
        wait_until(lambda: len(state.tasks) == 1)
        names = [name for name, _ in state.default_headers]
        assert sorted(names) == [b"a", b"date", b"server"]
        server.should_exit = server.force_exit = True


def test_server_lifespan() -> None:
    server = tricorn.Server(tricorn.Config(PROBE, port=0, log_config=None))
    with in_thread(server):
        assert server.lifespan is not None
        assert server.lifespan.should_exit is False


def test_the_recipe_that_starts_a_server_step_by_step() -> None:
    async def main() -> None:
        app = App()
        config = tricorn.Config(app, port=0, log_config=None)
        config.load()
        server = tricorn.Server(config)
        server.lifespan = made = config.lifespan_class(config)
        made.state["db"] = "connected"
        await server.startup()
        assert server.lifespan is made
        assert made.state["db"] == "connected"
        loop = asyncio.create_task(server.main_loop())
        assert (await asyncio.to_thread(get, port_of(server), "/x")).body == b"/x"
        server.should_exit = True
        await loop
        await server.shutdown()
        assert app.seen == ["lifespan.startup", "lifespan.shutdown"]

    asyncio.run(main())


def test_lifespan_by_itself() -> None:
    async def main() -> None:
        app = App()
        lifespan = tricorn.Config(app, log_config=None).lifespan_class(tricorn.Config(app, log_config=None))
        await lifespan.startup()
        assert lifespan.should_exit is False
        await lifespan.shutdown()
        assert app.seen == ["lifespan.startup", "lifespan.shutdown"]
        failing = LifespanOn(tricorn.Config("tests.apps.startup_fails:app", log_config=None))
        await failing.startup()
        assert failing.should_exit is True

    asyncio.run(main())


def test_limit_max_requests_with_its_jitter_is_what_holds() -> None:
    config = tricorn.Config(App(), port=0, log_config=None, limit_max_requests=2, limit_max_requests_jitter=3)
    server = tricorn.Server(config)
    assert server.limit_max_requests in (2, 3, 4, 5)
    with in_thread(server) as port:
        for _ in range(server.limit_max_requests or 0):
            assert not server.should_exit
            get(port)
        wait_until(lambda: server.should_exit)


def test_on_tick_of_a_subclass() -> None:
    counted = threading.Event()

    class Ticking(tricorn.Server):
        async def on_tick(self, counter: int) -> bool:
            if counter >= 3:
                counted.set()
            return await super().on_tick(counter)

    with in_thread(Ticking(tricorn.Config(App(), port=0, log_config=None))):
        assert counted.wait(10)


def test_options_that_need_a_supervisor_are_not_ignored(caplog: pytest.LogCaptureFixture) -> None:
    server = tricorn.Server(tricorn.Config(App(), port=0, log_config=None, options={"hooks": "a:b"}))
    with pytest.raises(SystemExit) as ended:
        server.run()
    assert ended.value.code == 2
    assert "--hooks: needs a supervisor; tricorn.run has one if there are workers" in caplog.text


# --------------------------------------------------------------------------------------------------- uvicorn's modules

IMPORTS = """
import uvicorn, tricorn, tricorn.config.option, tricorn.logging
from tricorn import config as options
from uvicorn.config import Config, LOGGING_CONFIG, LOG_LEVELS, STARTUP_FAILURE, INTERFACES, HTTP_PROTOCOLS, WS_PROTOCOLS
from uvicorn.config import LIFESPAN, LOOP_FACTORIES, TRACE_LOG_LEVEL
from uvicorn.main import Server, ServerState, main, run
from uvicorn.server import HANDLED_SIGNALS, Server as Server2
from uvicorn.logging import AccessFormatter, ColourizedFormatter, DefaultFormatter
from uvicorn.importer import ImportFromStringError, import_from_string
from uvicorn.supervisors import ChangeReload, Multiprocess
from uvicorn.supervisors.multiprocess import Multiprocess as Multiprocess2
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.middleware.asgi2 import ASGI2Middleware
from uvicorn.lifespan.on import LifespanOn
from uvicorn.lifespan.off import LifespanOff
from uvicorn.loops.auto import auto_loop_factory
from uvicorn.loops.asyncio import asyncio_loop_factory
from uvicorn.protocols.utils import ClientDisconnected, get_client_addr, get_path_with_query_string
from uvicorn._types import ASGIApplication, ASGIReceiveCallable, ASGISendCallable, Scope
import uvicorn.config, uvicorn.main

assert Config is tricorn.Config is uvicorn.config.Config is uvicorn.Config
assert LOGGING_CONFIG is tricorn.LOGGING_CONFIG is uvicorn.config.LOGGING_CONFIG
assert Server is Server2 is tricorn.Server and run is tricorn.run
assert AccessFormatter is tricorn.logging.AccessFormatter
assert callable(uvicorn.main) and callable(uvicorn.main.main) and main.name == 'tricorn'
assert (uvicorn.__version__, tricorn.__version__) == ('0.54.0', '0.1.0')
assert asyncio_loop_factory() is __import__('asyncio').SelectorEventLoop and callable(auto_loop_factory())
assert set(HTTP_PROTOCOLS) == {'auto', 'h11', 'httptools'} and LOG_LEVELS['info'] == 20
# Tricorn's own modules are what they were.
assert tricorn.config is options and options.option.Option and sys.modules['tricorn.config'] is options
assert [name for name in sys.modules if name.startswith('uvicorn.') and not hasattr(sys.modules[name], '_homes')] == []
for name in ('uvicorn.protocols.http.h11_impl', 'uvicorn.cli', 'uvicorn.supervisor', 'uvicorn.worker.run'):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        assert str(error) == f"No module named {error.name!r} in Tricorn, which stands in for uvicorn", error
        assert error.name.startswith('uvicorn.') and name.startswith(error.name)
    else:
        raise AssertionError(name)
try:
    from uvicorn.config import create_ssl_context
except ImportError as error:
    assert 'create_ssl_context' in str(error)
try:
    import_from_string('nowhere:app')
except ImportFromStringError as error:
    assert "no module named 'nowhere'" in str(error), error
assert import_from_string('os:path.join') is __import__('os').path.join and import_from_string(run) is run
import logging.config
logging.config.dictConfig({**LOGGING_CONFIG, 'formatters': {name: {**one, '()': one['()'].replace('tricorn', 'uvicorn')}
    for name, one in LOGGING_CONFIG['formatters'].items()}})
import importlib.util
assert importlib.util.find_spec('uvicorn') is not None
print('all is there')
"""


def run_python(text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", text]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False)


def test_uvicorns_modules() -> None:
    ended = run_python(f"import sys, tricorn\nsys.modules['uvicorn'] = tricorn\n{IMPORTS}")
    assert (ended.returncode, ended.stdout) == (0, "all is there\n"), ended.stderr


def test_a_module_taken_from_the_top_is_uvicorns() -> None:
    text = "import uvicorn.server\nfrom uvicorn import config, main\nassert callable(main) and config.Config is tricorn.Config"
    ended = run_python(f"import sys, tricorn, tricorn.config\nsys.modules['uvicorn'] = tricorn\n{text}")
    assert ended.returncode == 0, ended.stderr


def test_who_has_the_real_uvicorn_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "uvicorn").mkdir()
    (tmp_path / "uvicorn" / "__init__.py").write_text("")
    (tmp_path / "uvicorn" / "config.py").write_text("REAL = True\n")
    text = f"import sys, tricorn\nsys.path.insert(0, {str(tmp_path)!r})\nimport uvicorn.config\nassert uvicorn.config.REAL\n"
    ended = run_python(text)
    assert ended.returncode == 0, ended.stderr


def test_workers_is_gunicorns() -> None:
    pytest.importorskip("gunicorn")
    ended = run_python(
        "import sys, tricorn\nsys.modules['uvicorn'] = tricorn\nfrom uvicorn.workers import UvicornWorker\n"
        "from tricorn.gunicorn import TricornWorker\nassert UvicornWorker is TricornWorker\n"
    )
    assert ended.returncode == 0, ended.stderr


SUPERVISED = """
import sys, tricorn
sys.modules['uvicorn'] = tricorn
import uvicorn
from uvicorn.supervisors import {name}
config = uvicorn.Config('tests.apps.probe:app', port=0, {given})
server = uvicorn.Server(config)
sock = config.bind_socket()
{name}(config, target=server.run, sockets=[sock]).run()
"""


@pytest.mark.parametrize(("name", "given"), [("Multiprocess", "workers=2"), ("ChangeReload", "reload=True")])
def test_supervisors_serve_on_sockets_that_a_program_has_bound(name: str, given: str, tmp_path: Path) -> None:
    with program(SUPERVISED.format(name=name, given=given), tmp_path) as process:
        port = port_said_by(process)
        assert wait_until(lambda: get(port, "/pid")).body != str(process.pid).encode()
        process.terminate()
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 0, rest


@pytest.mark.parametrize(
    ("client", "kind", "client_told", "scheme"),
    [
        (("127.0.0.1", 1), "http", ("9.9.9.9", 0), "https"),
        (("127.0.0.1", 1), "websocket", ("9.9.9.9", 0), "wss"),
        (("8.8.8.8", 1), "http", ("8.8.8.8", 1), "http"),
    ],
)
def test_proxy_headers_middleware(client: tuple[str, int], kind: str, client_told: tuple[str, int], scheme: str) -> None:
    told: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.update(scope)

    headers = [(b"x-forwarded-for", b"9.9.9.9"), (b"x-forwarded-proto", b"https")]
    scope = {"type": kind, "client": client, "server": ("a", 80), "scheme": "http", "headers": headers}
    none: Any = None
    asyncio.run(_call(ProxyHeadersMiddleware(app, ["127.0.0.1"]), scope, none))
    assert (told["client"], told["scheme"], told["type"]) == (client_told, scheme, kind)


async def _call(app: Any, scope: Any, none: Any) -> None:
    await app(scope, none, none)


def test_what_a_scope_says() -> None:
    scope = {"client": ("::1", 9), "path": "/a b", "query_string": b"x=1"}
    assert (get_client_addr(scope), get_path_with_query_string(scope)) == ("::1:9", "/a%20b?x=1")
    assert (get_client_addr({"client": None}), get_path_with_query_string({"path": "/", "query_string": b""})) == ("", "/")


def test_the_table_of_modules_names_what_is_there() -> None:
    names = importlib.import_module("tricorn.compat.uvicorn_names")
    for module, homes in names.MODULES.items():
        if module != "workers":
            made = names.Names(f"uvicorn.{module}", homes)
            assert [name for name in homes if getattr(made, name, None) is None] == [], module
