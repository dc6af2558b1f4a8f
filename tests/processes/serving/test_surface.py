"""Tricorn in uvicorn's place: its options are all here and mean the same, or it is said that they don't."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from support.harness import Client, Server, get, raw_connection, read_response, run_tricorn, send_request
from tricorn.config.options import Config
from tricorn.supervisor.listeners import bind
from tricorn.worker import websocket

UVICORN = """
    --host --port --uds --fd --reload --reload-dir --reload-include --reload-exclude --reload-delay --workers --loop --http
    --http2 --ws --ws-max-size --ws-max-queue --ws-ping-interval --ws-ping-timeout --ws-per-message-deflate --lifespan
    --interface --env-file --log-config --log-level --access-log --no-access-log --use-colors --no-use-colors --proxy-headers
    --no-proxy-headers --server-header --no-server-header --date-header --no-date-header --forwarded-allow-ips --root-path
    --limit-concurrency --backlog --limit-max-requests --limit-max-requests-jitter --timeout-keep-alive
    --timeout-graceful-shutdown --timeout-worker-healthcheck --ssl-keyfile --ssl-certfile --ssl-keyfile-password --ssl-version
    --ssl-cert-reqs --ssl-ca-certs --ssl-ciphers --header --version --app-dir --h11-max-incomplete-event-size
    --reset-contextvars --factory --help
"""
"""The options that uvicorn 0.54 has in its help."""
INTERFACES = "tests.apps.interfaces"
PROBE = "tests.apps.probe:app"


def text_of(app: str, *arguments: str, path: str = "/", env: dict[str, str] | None = None) -> str:
    """What the application answers, served with these arguments."""
    with Server(f"{INTERFACES}:{app}", *arguments, env=env) as server:
        answer = get(server.port, path)
        assert answer.status == 200, server.log
        return answer.body.decode()


def test_every_option_of_uvicorn_is_in_the_help() -> None:
    words = set(run_tricorn("--help-all").stdout.replace(",", " ").replace("/", " ").split())
    assert not [option for option in UVICORN.split() if option not in words]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("Asgi2", "--interface", "asgi2"), "asgi 2.0"),
        (("Asgi2", "--interface", "auto"), "asgi 2.0"),
        (("wsgi", "--interface", "wsgi"), "wsgi /"),
    ],
)
def test_interface(arguments: tuple[str, ...], answer: str) -> None:
    assert text_of(*arguments) == answer


def test_interface_asgi3_is_taken_at_its_word() -> None:
    with Server(f"{INTERFACES}:Asgi2", "--interface", "asgi3", "--lifespan", "off") as server:
        assert get(server.port).status == 500


def test_env_file_sets_variables_for_the_application_but_overrides_none(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("FIRST=one\nSECOND='two words'\nWEB_CONCURRENCY=2\n")
    with Server(f"{INTERFACES}:environment", "--env-file", str(file), env={"FIRST": "mine"}) as server:
        assert get(server.port, "/?FIRST,SECOND").body == b"mine two words"
        # As with uvicorn, it counts for the number of workers, too.
        server.wait_for_ready(2)


def test_env_file_is_read_anew_on_a_reload(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("FIRST=one\nSECOND=two\n")
    with Server(f"{INTERFACES}:environment", "--env-file", str(file)) as server:
        assert get(server.port, "/?FIRST,SECOND").body == b"one two"
        file.write_text("FIRST=changed\n")
        server.send(1)
        server.wait_for_log("reload complete")
        assert get(server.port, "/?FIRST,SECOND").body == b"changed unset"


def test_env_file_that_is_missing() -> None:
    ended = run_tricorn("main:app", "--env-file", "nowhere")
    assert (ended.returncode, ended.stderr) == (2, "Error: --env-file nowhere: No such file or directory\n")


def test_loop_may_be_a_function_of_the_applications_side() -> None:
    assert text_of("loop_name", "--loop", f"{INTERFACES}:make_loop") == "asyncio.unix_events the loop's maker was here"


def test_reset_contextvars() -> None:
    makes = ("--loop", f"{INTERFACES}:make_loop")
    assert text_of("context", *makes) == "the loop's maker was here"
    assert text_of("context", *makes, "--reset-contextvars") == "nothing"


@pytest.mark.parametrize(("most", "size", "status"), [(None, 30_000, 431), (100_000, 80_000, 200), (2_000, 4_000, 431)])
def test_h11_max_incomplete_event_size(most: int | None, size: int, status: int) -> None:
    arguments = () if most is None else ("--h11-max-incomplete-event-size", str(most))
    with Server("tests.apps.probe:app", *arguments) as server, raw_connection(server.port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * size))
        assert read_response(connection).status == status


def test_ws_has_uvicorns_names() -> None:
    with Server("tests.apps.probe:app", "--ws", "websockets-sansio") as server:
        assert get(server.port).status == 200


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        (("--http", "zttp"), "--http zttp: Tricorn does not parse with it; --http auto serves instead"),
        (("--loop", "zuvloop"), "--loop zuvloop: Tricorn does not run on it; --loop auto serves instead"),
    ],
)
def test_what_does_not_apply_is_said_and_the_rest_served(arguments: tuple[str, ...], note: str) -> None:
    with Server("tests.apps.probe:app", *arguments) as server:
        assert get(server.port).status == 200
        assert server.log.count(note) == 1


def test_uvicorns_variables_are_read() -> None:
    environment = {"UVICORN_HEADERS": "A:1 B:2", "UVICORN_SERVER_HEADER": "false"}
    with Server("tests.apps.probe:app", "--header", "C:3", env=environment) as server:
        headers = get(server.port).headers
        # The command line wins.
        assert "server" not in headers
        assert (headers.get("c"), headers.get("a")) == ("3", None)
    with Server("tests.apps.probe:app", env=environment) as server:
        assert (get(server.port).headers["a"], get(server.port).headers["b"]) == ("1", "2")


# ---------------------------------------------------------------------------------------------------- errors that help


@pytest.mark.parametrize(
    ("app", "error"),
    [
        ("intrefaces:environment", "no module named 'intrefaces'"),
        ("intrefaces:environment", "; did you mean interfaces:environment?"),
        ("interfaces:enviroment", "has no attribute 'enviroment'; did you mean interfaces:environment?"),
        ("interfaces:not_an_app", "str object is not callable, so it is no ASGI application"),
        ("interfaces:wsgi", "takes two arguments, as a WSGI application does; give --interface wsgi"),
    ],
)
def test_an_application_that_is_not_there(app: str, error: str) -> None:
    ended = run_tricorn(app, "--app-dir", "tests/apps", "--port", "0")
    assert ended.returncode == 3
    assert error in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_module_is_not_a_missing_import_of_the_application(tmp_path: Path) -> None:
    (tmp_path / "imports.py").write_text("import nowhere\n")
    ended = run_tricorn("imports:app", "--app-dir", str(tmp_path), "--port", "0")
    assert ended.returncode == 3
    assert "the application failed to import" in ended.stderr
    assert "No module named 'nowhere'" in ended.stderr
    assert 'imports.py", line 1' in ended.stderr


def test_a_factory_without_factory_is_called_and_it_is_said() -> None:
    with Server(f"{INTERFACES}:make_app") as server:
        assert get(server.port).status == 200
        assert "so it was called; better give --factory" in server.log


def test_a_client_of_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Server(f"{INTERFACES}:environment", listen=("--uds", path)) as server:
        server.wait_for_ready(1)
        client = Client(uds=path)
        assert client.get("/?NOTHING").body == b"unset"
        client.close()


# ------------------------------------------------------------- options of uvicorn's that no other test gives to a server


def test_server_and_date_headers_can_be_left_out() -> None:
    with Server(PROBE) as server:
        assert {"server", "date"} <= set(get(server.port).headers)
    with Server(PROBE, "--no-server-header", "--no-date-header") as server:
        assert not {"server", "date"} & set(get(server.port).headers)


def test_limit_concurrency() -> None:
    with Server(PROBE, "--limit-concurrency", "1") as server, raw_connection(server.port) as first:
        send_request(first, "/")
        assert read_response(first).status == 200
        refused = get(server.port)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")


def test_limit_max_requests_jitter() -> None:
    with Server(PROBE, "--limit-max-requests", "1", "--limit-max-requests-jitter", "1000000") as server:
        # Without it the worker would be replaced after the first.
        assert len({get(server.port, "/pid").body for _ in range(20)}) == 1
        assert "--limit-max-requests 1 reached" not in server.log


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the kernel does not tell")
def test_backlog() -> None:
    listeners = bind(Config(port=0, backlog=7))
    try:
        # Of a listening socket tcpi_sacked is the length of its queue (net/ipv4/tcp.c, tcp_get_info).
        info = listeners.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert struct.unpack_from("I", info, 28)[0] == 7
    finally:
        listeners.close()


def test_websocket_options_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "upgrade", lambda service, settings: settings)
    given = Config(ws_max_size=1, ws_max_queue=2, ws_ping_interval=3, ws_ping_timeout=4, ws_per_message_deflate=False)
    made: Any = websocket.make_upgrade(None, given, None)  # type: ignore[arg-type]  # whoever is upgraded is not asked
    assert (made.max_size, made.max_queue, made.ping_interval, made.ping_timeout, made.deflate) == (1, 2, 3, 4, False)


def test_reload_include_and_exclude(tmp_path: Path) -> None:
    (tmp_path / "watched.py").write_text("from tests.apps.probe import app\n")
    arguments = ("--reload", "--reload-dir", str(tmp_path), "--reload-include", "*.txt", "--reload-exclude", "left_*.txt")
    with Server("watched:app", "--app-dir", str(tmp_path), *arguments, env={"PYTHONPATH": "."}) as server:
        server.wait_for_ready(1)
        (tmp_path / "left_out.txt").write_text("nobody cares")
        (tmp_path / "taken.txt").write_text("somebody does")
        server.wait_for_log(r"taken.txt: reloaded in")
        assert "left_out.txt" not in server.log
