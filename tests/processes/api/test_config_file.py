"""The file of settings, the order of sources, and what --print-config and --check-config say."""

from __future__ import annotations

import re
import signal
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.harness import Server, get, run_tricorn
from tricorn.config import options as config
from tricorn.config.options import Config
from tricorn.config.sources import Settings, Sources, show
from tricorn.errors import ConfigError

PROBE = "tests.apps.probe:app"


def load(text: str, tmp_path: Path, env: Mapping[str, str] | None = None, **given: Any) -> Settings:
    file = tmp_path / "tricorn.toml"
    file.write_text(text)
    return Sources({"config": str(file), **given}, dict(env or {})).load()


def refuse(text: str, tmp_path: Path, name: str = "tricorn.toml") -> str:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Sources({"config": str(file)}, {}).load()
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_a_file_sets_options_of_every_type(tmp_path: Path) -> None:
    text = """
    app = "main:app"
    host = ["127.0.0.1", "::1"]
    port = 9000
    timeout-keep-alive = 2.5
    timeout_graceful_shutdown = 3
    access_log = false
    header = "A: one"
    workers = "auto"
    """
    given: dict[str, Any] = {
        "app": "main:app",
        "host": ("127.0.0.1", "::1"),
        "port": 9000,
        "timeout_keep_alive": 2.5,
        "timeout_graceful_shutdown": 3,
    }
    given |= {
        "timeout_graceful_shutdown": 3,
        "access_log": False,
        "header": ("A: one",),
        "workers": config.OPTIONS["workers"].convert("auto"),
    }
    assert load(text, tmp_path).config == Config(**given, config=str(tmp_path / "tricorn.toml"))


def test_command_line_over_environment_over_file_over_default(tmp_path: Path) -> None:
    text = "port = 1\nworkers = 2\nbacklog = 3\n"
    found = load(text, tmp_path, {"TRICORN_PORT": "10", "UVICORN_WORKERS": "20"}, port=100)
    assert (found.config.port, found.config.workers, found.config.backlog, found.config.surge) == (100, 20, 3, 1)
    origins = [found.origins[name] for name in ("port", "workers", "backlog", "surge")]
    assert origins == ["command line", "UVICORN_WORKERS", str(tmp_path / "tricorn.toml"), "default"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("prot = 80", "tricorn.toml: prot = 80: no such option; is it port?"),
        ("zzz = 80", "tricorn.toml: zzz = 80: no such option"),
        ("config = 'x'", "tricorn.toml: config = 'x': no such option; is it log_config?"),
        ("port = '80'", "tricorn.toml: port = '80': must be of type int"),
        ("port = true", "tricorn.toml: port = True: must be of type int"),
        ("port = 99999", "tricorn.toml: port = 99999: must be at most 65535"),
        ("reload = 1", "tricorn.toml: reload = 1: must be of type bool"),
        ("host = [1]", "tricorn.toml: host = [1]: must be of type str"),
        ("port = [80]", "tricorn.toml: port = [80]: must be of type int"),
        ("[port]\na = 1", "tricorn.toml: port = {'a': 1}: must be of type int"),
        ("loop = 'trio'", "tricorn.toml: loop = 'trio': must be one of auto, asyncio, uvloop"),
        ("app = 'main:'", "tricorn.toml: app = 'main:': must have the form MODULE:ATTRIBUTE, for example main:app"),
        ("timeout-keep-alive = -1", "tricorn.toml: timeout-keep-alive = -1: must be at least 0"),
    ],
)
def test_an_error_names_file_key_and_value(text: str, error: str, tmp_path: Path) -> None:
    assert refuse(text, tmp_path) == error


def test_what_is_not_toml_says_where(tmp_path: Path) -> None:
    error = refuse("port = 80\nhost =\n", tmp_path)
    assert error.startswith("--config tricorn.toml: not TOML: ")
    assert "line 2" in error


def test_a_missing_file() -> None:
    ended = run_tricorn("--config", "nowhere.toml")
    assert (ended.returncode, ended.stderr) == (2, "Error: --config nowhere.toml: No such file or directory\n")


def test_the_projects_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "pyproject.toml"
    monkeypatch.chdir(tmp_path)
    assert Sources({}, {}).load().config == Config()
    project.write_text("[project]\nname = 'other'\n")
    assert Sources({}, {}).load().config == Config()
    project.write_text("[tool.tricorn]\nport = 9\n")
    assert Sources({}, {}).load().config.port == 9
    project.write_text("[tool.tricorn]\nprot = 9\n")
    with pytest.raises(ConfigError, match=r"^pyproject.toml \[tool.tricorn\]: prot = 9: no such option; is it port\?$"):
        Sources({}, {}).load()
    # A file that is named is the only one.
    assert load("backlog = 5", tmp_path).config.port == 8000


def test_a_reload_reads_the_file_again(tmp_path: Path) -> None:
    file = tmp_path / "tricorn.toml"
    file.write_text("header = ['A: one']\n")
    with Server(PROBE, "--config", str(file)) as server:
        assert get(server.port).headers["a"] == "one"
        file.write_text("header = ['A: two']\n")
        server.send(signal.SIGHUP)
        server.wait_for_log("reload complete")
        assert get(server.port).headers["a"] == "two"
        # A file that is broken changes nothing.
        file.write_text("header = 1\n")
        server.send(signal.SIGHUP)
        server.wait_for_log(r"reload abandoned, the configuration is broken: .*tricorn.toml: header = 1: must be of type str")
        assert get(server.port).headers["a"] == "two"


def test_print_config_shows_every_value_with_its_origin(tmp_path: Path) -> None:
    file = tmp_path / "tricorn.toml"
    file.write_text("backlog = 5\n")
    environment = {"TRICORN_PORT": "9", "TRICORN_SSL_KEYFILE_PASSWORD": "hush"}
    ended = run_tricorn("main:app", "--config", str(file), "--workers", "2", "--print-config", env=environment)
    assert ended.returncode == 0
    assert "hush" not in ended.stdout
    lines = {line.split(" = ")[0].lstrip("# ").split(" ")[0]: line for line in ended.stdout.splitlines()}
    assert set(lines) == set(config.OPTIONS) - {"config"}
    shown = {name: re.split(r" += | +# ", lines[name]) for name in ("workers", "port", "backlog", "surge")}
    assert shown == {
        "workers": ["workers", "2", "command line"],
        "port": ["port", "9", "TRICORN_PORT"],
        "backlog": ["backlog", "5", str(file)],
        "surge": ["surge", "1", "default"],
    }


def test_what_is_printed_can_be_read_again(tmp_path: Path) -> None:
    settings = load("app = 'a:b'\nroot-path = 'quote \" and ü'\nheader = ['A: 1', 'B: 2']\nreload = true\n", tmp_path)
    again = load(show(settings), tmp_path)
    assert again == Settings(settings.config, again.origins)
    assert tomllib.loads(show(settings))["timeout_graceful_shutdown"] == 1
    assert settings.origins["timeout_graceful_shutdown"] == "default with --reload"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((PROBE,), 0, f"The settings are valid, and {PROBE} can be imported."),
        (("tests.apps.probe:nothing",), 3, "has no attribute 'nothing'"),
        (("tests.apps.broken:app",), 3, "failed to import"),
        ((PROBE, "--ssl-certfile", "nowhere.pem"), 2, "--ssl-certfile nowhere.pem: No such file or directory"),
        ((PROBE, "--port", "x"), 2, "--port x: must be a whole number"),
        ((), 2, "APP: missing"),
    ],
)
def test_check_config(arguments: tuple[str, ...], code: int, said: str) -> None:
    ended = run_tricorn(*arguments, "--check-config")
    assert ended.returncode == code, ended.stderr
    assert said in ended.stdout + ended.stderr
