"""The first minute: the application is found, help is short, and values are taken as people write them."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from support.harness import Server, get, run_tricorn
from tricorn.cli import help as help_texts
from tricorn.config.options import OPTIONS, Config, sections
from tricorn.config.sources import Sources
from tricorn.embedding.config import Config as ProgramConfig
from tricorn.errors import ConfigError

APP = """
async def {name}(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": __name__.encode()}})
"""


def write(directory: Path, *paths: str, name: str = "app") -> None:
    for path in paths:
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(APP.format(name=name) if file.name != "__init__.py" else "")


def load(directory: Path, monkeypatch: pytest.MonkeyPatch, app: str = "", **environment: str) -> tuple[Config, str]:
    """The configuration of ``tricorn APP`` in ``directory``, and the file that was found."""
    monkeypatch.chdir(directory)
    settings = Sources({"app": app} if app else {}, environment).load()
    return settings.config, settings.found


@pytest.mark.parametrize(
    ("files", "name", "found"),
    [
        (["main.py"], "app", "main:app"),
        (["app.py"], "application", "app:application"),
        (["main.py", "app.py"], "app", "main:app"),
        (["app/__init__.py", "app/main.py"], "app", "app.main:app"),
        (["app/main.py"], "app", "main:app"),
        (["manage.py", "mysite/__init__.py", "mysite/asgi.py"], "application", "mysite.asgi:application"),
        (["main.py"], "create_app", "main:create_app"),
        (["main.py"], "something", ""),
        (["mysite/asgi.py"], "application", ""),
        ([], "app", ""),
    ],
)
def test_the_application_is_found(
    files: list[str], name: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, *files, name=name)
    if "manage.py" in files:
        (tmp_path / "manage.py").write_text("")
    assert load(tmp_path, monkeypatch)[0].app == found


@pytest.mark.parametrize(
    ("given", "app", "app_dir"),
    [
        ("main.py", "main:app", ""),
        ("main", "main:app", ""),
        ("main.py:other", "main:other", ""),
        ("mysite.asgi", "mysite.asgi:app", ""),
        ("mysite/asgi.py", "mysite.asgi:app", ""),
        ("src/plain.py", "plain:app", "src"),
        ("main:app", "main:app", ""),
        ("missing", "missing", ""),
        ("missing.py", "missing", ""),
    ],
)
def test_a_module_or_a_file_means_its_application(
    given: str, app: str, app_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "main.py", "mysite/__init__.py", "mysite/asgi.py", "src/plain.py")
    config, found = load(tmp_path, monkeypatch, given)
    assert (config.app, config.app_dir, found) == (app, app_dir, "")


@pytest.mark.parametrize("given", ["main.py", "main", "sub.dynamic", ""])
def test_it_is_served(given: str, tmp_path: Path) -> None:
    write(tmp_path, "main.py", "sub/__init__.py", name="application")
    # No name in the source tells what this module has.
    (tmp_path / "sub" / "dynamic.py").write_text("import main\nglobals()['application'] = main.application\n")
    server = Server(given)
    server.command = [word for word in server.command if word]
    server.cwd = tmp_path
    with server:
        assert get(server.port).status == 200
        assert ("Found main:application in main.py" in server.log) is (given == "")


def test_a_file_that_is_not_python_is_no_reason_to_serve_another(tmp_path: Path) -> None:
    """Neither at the start nor at a reload; and once it is mended, it is served again."""
    write(tmp_path, "main.py", "app.py", name="application")
    good = (tmp_path / "main.py").read_text()
    server = Server("")
    server.command = [word for word in server.command if word]
    server.cwd = tmp_path
    with server:
        server.wait_for_ready(1)
        (tmp_path / "main.py").write_text(good + "x =\n")
        server.send(signal.SIGHUP)
        server.wait_for_log("SyntaxError")
        server.wait_for_log("abandoned")
        (tmp_path / "main.py").write_text(good)
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        for name in ("main.py", "app.py"):
            (tmp_path / name).unlink()
        server.send(signal.SIGHUP)
        server.wait_for_log("APP: missing, and no main.py")
        assert get(server.port).status == 200
    (tmp_path / "main.py").write_text("x =\n")
    write(tmp_path, "app.py")
    ended = run_tricorn("--app-dir", str(tmp_path), "--port", "0")
    assert ended.returncode == 3
    assert "SyntaxError" in ended.stderr


def test_dev_is_reload(tmp_path: Path) -> None:
    write(tmp_path, "main.py")
    server = Server("dev")
    server.cwd = tmp_path
    with server:
        assert get(server.port).status == 200
        server.wait_for_log("Watching .* for changes")


def test_a_module_without_an_application_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("class Service:\n    def __call__(self): ...\n\nservice = Service()\n")
    ended = run_tricorn("main", "--app-dir", str(tmp_path), "--port", "0")
    assert ended.returncode == 3
    assert "APP main: module 'main' has no attribute 'app' or 'application'; did you mean main:service?" in ended.stderr


# ------------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["main:app", "--help"], ["dev", "-h"]])
def test_the_help_is_short(arguments: list[str]) -> None:
    lines = run_tricorn(*arguments).stdout.splitlines()
    assert lines[0] == "Usage: tricorn [dev] [APP] [OPTIONS]"
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_what_the_short_help_names_exists() -> None:
    others = {"--help", "--help-all", "--version", "--check-config", "--print-config"}
    named = set(re.findall(r"--[a-z][a-z-]+", help_texts.SHORT))
    assert named - {known.flag for known in OPTIONS.values()} == others


@pytest.mark.parametrize("topic", [*help_texts.topics()])
def test_a_topic_shows_its_options(topic: str) -> None:
    shown = run_tricorn("--help", topic).stdout
    title = help_texts.topics()[topic]
    assert shown.startswith(f"{title}:\n")
    assert all(OPTIONS[name].flag in shown for name in sections()[title])


@pytest.mark.parametrize("topic", ["--port", "TRICORN_WORKERS", "no-access-log", "timeout_keep_alive"])
def test_an_option_is_a_topic(topic: str) -> None:
    shown = run_tricorn("--help", topic).stdout
    assert topic.lower().replace("tricorn_", "").replace("_", "-").strip("-") in shown
    assert len(re.findall(r"^  --", shown, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("topic", "flag"),
    [
        ("logs", "--log-level"),
        ("limit", "--limit-concurrency"),
        ("websockets", "--ws"),
        ("timeout", "--timeout-keep-alive"),
        ("proxy", "--proxy-headers"),
        ("ssl", "--ssl-certfile"),
    ],
)
def test_words_like_a_topic_are_understood(topic: str, flag: str) -> None:
    assert f"  {flag} " in help_texts.show(topic, lambda names: "".join(f"  {OPTIONS[name].flag} " for name in names or ()))


def test_an_unknown_topic_is_one_line() -> None:
    ended = run_tricorn("--help", "cooking")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Error: --help cooking: no such option or topic; topics are application, listening,")
    assert ended.stderr.count("\n") == 1


# ----------------------------------------------------------------------------------------------------------------- values

VALUES = [
    ("timeout_keep_alive", "30s", 30.0),
    ("timeout_keep_alive", "500ms", 0.5),
    ("timeout_keep_alive", "2.5", 2.5),
    ("timeout_graceful_shutdown", "5m", 300.0),
    ("limit_max_lifetime", "1 h", 3600.0),
    ("limit_max_lifetime", "1d", 86400.0),
    ("limit_request_body", "10MB", 10 * 2**20),
    ("limit_request_body", "1.5GiB", 3 * 2**29),
    ("limit_request_body", "64k", 65536),
    ("limit_request_body", "100", 100),
    ("limit_request_body", "100b", 100),
    ("limit_max_rss", "1GB", 1024),
    ("limit_max_rss", "512MB", 512),
    ("limit_max_rss", "300", 300),
    ("log_level", "INFO", "info"),
    ("http", "H11", "h11"),
]


@pytest.mark.parametrize(("name", "text", "value"), VALUES)
def test_values_as_people_write_them(
    name: str, text: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = OPTIONS[name]
    # On the command line, which reads by the same method as click does.
    assert known.read(text) == value
    assert getattr(load(tmp_path, monkeypatch, "a:b", **{f"TRICORN_{name.upper()}": text})[0], name) == value
    (tmp_path / "pyproject.toml").write_text(f"[tool.tricorn]\n{name} = '{text}'\n")
    assert getattr(load(tmp_path, monkeypatch, "a:b")[0], name) == value
    given = {name: text} if name in ProgramConfig.__dataclass_fields__ else {"options": {name: text}}
    assert getattr(ProgramConfig("a:b", log_config=None, **given).settings(), name) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("timeout_keep_alive", "30 parsecs", "must be a number of seconds, or a time such as 500ms, 30s or 5m"),
        ("limit_request_body", "10 apples", "must be a number of bytes, or a size such as 64KB or 10MB"),
        ("limit_max_rss", "lots", "must be a number of MiB, or a size such as 512MB or 1GB"),
        ("timeout_keep_alive", "-1s", "must be at least 0"),
        ("log_level", "LOUD", "must be one of critical, error, warning, info, debug, trace"),
    ],
)
def test_text_that_is_no_value(name: str, text: str, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OPTIONS[name].read(text)
    assert str(caught.value).endswith(f": {cause}")


# ------------------------------------------------------------------------------------------------------------ environment


def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    return Sources({"app": "a:b"}, environment).load().notes


def test_an_unknown_variable_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"TRICORN_WORKER": "4", "TRICORN_XYZZY": "1", "TRICORN_SLOT": "0", "PATH": "/bin"}
    assert notes(tmp_path, monkeypatch, environment) == (
        "TRICORN_WORKER in the environment: no such option; is it TRICORN_WORKERS?",
        "TRICORN_XYZZY in the environment: no such option",
    )


def test_what_kubernetes_sets_for_a_service_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "TRICORN_PORT": "tcp://10.0.0.1:8000",
        "TRICORN_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "TRICORN_PORT_8000_TCP_ADDR": "10.0.0.1",
        "TRICORN_SERVICE_HOST": "10.0.0.1",
        "TRICORN_SERVICE_PORT": "8000",
        "TRICORN_SERVICE_PORT_HTTP": "8000",
    }
    assert load(tmp_path, monkeypatch, "a:b", **environment)[0].port == 8000
    (note,) = notes(tmp_path, monkeypatch, environment)
    assert note.startswith("TRICORN_PORT=tcp://10.0.0.1:8000 is ignored: Kubernetes sets it")


def test_the_notes_are_logged(tmp_path: Path) -> None:
    write(tmp_path, "main.py")
    environment = {"TRICORN_PORTS": "1", "TRICORN_PORT": "tcp://10.0.0.1:8000"}
    with Server("main:app", "--app-dir", str(tmp_path), env=environment) as server:
        assert "TRICORN_PORTS in the environment: no such option; is it TRICORN_PORT?" in server.log
        assert "TRICORN_PORT=tcp://10.0.0.1:8000 is ignored" in server.log


def test_nothing_of_this_slows_the_usual_start() -> None:
    ended = run_tricorn("main:app", "--check-config", "--app-dir", "examples", env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rsplit("|", 1)[-1].strip() for line in ended.stderr.splitlines()}
    assert "tricorn.config.sources" in imported
    assert not imported & {"tricorn.cli.help", "tricorn.supervisor.port_owner"}
