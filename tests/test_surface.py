"""Tricorn in uvicorn's place: its options are all here and mean the same, or it is said that they don't."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Client, Server, get, raw_connection, read_response, run_tricorn

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


def text_of(app: str, *arguments: str, path: str = "/", env: dict[str, str] | None = None) -> str:
    """What the application answers, served with these arguments."""
    with Server(f"{INTERFACES}:{app}", *arguments, env=env) as server:
        answer = get(server.port, path)
        assert answer.status == 200, server.log
        return answer.body.decode()


def test_every_option_of_uvicorn_is_in_the_help() -> None:
    words = set(run_tricorn("--help").stdout.replace(",", " ").replace("/", " ").split())
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
        (("--http2",), "--http2: Tricorn speaks HTTP/1.1; put a proxy before it that speaks HTTP/2"),
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
        ("interfaces:wsgi", "takes two arguments, as a WSGI application does; say --interface wsgi"),
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
        assert "it was called, but say so: --factory" in server.log


def test_a_client_of_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Server(f"{INTERFACES}:environment", listen=("--uds", path)) as server:
        server.wait_for_ready(1)
        client = Client(uds=path)
        assert client.get("/?NOTHING").body == b"unset"
        client.close()
