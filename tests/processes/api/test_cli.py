"""The command line follows from Config: every option's flag, environment variable and error."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import click
import pytest
from support.harness import run_tricorn
from tricorn import __version__
from tricorn.cli import main as cli
from tricorn.config import options as config
from tricorn.config.options import Config
from tricorn.config.sources import Sources

NAMES = [name for name in config.OPTIONS if name != "app"]
HEEDED = [name for name in NAMES if True not in config.OPTIONS[name].inapplicable]
"""The rest is tested in test_surface.py: it is said that they do not apply."""


def parse(*args: str, env: Mapping[str, str] | None = None) -> Config:
    """The Config that the command would serve with."""
    seen: list[Config] = []
    command = cli.build_command()
    command.callback = lambda print_config, check_config, **values: seen.append(Sources(values).load().config)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        command.main(list(args), standalone_mode=False)
    return seen[0]


def refuse(*args: str, env: Mapping[str, str] | None = None) -> str:
    """What the command says about a usage error."""
    with pytest.raises(click.ClickException) as caught:
        parse(*args, env=env)
    assert caught.value.exit_code == 2
    return caught.value.format_message()


def sample(name: str) -> tuple[str, Any]:
    """Some value of the option that is not its default: as text, and as Config holds it."""
    known = config.OPTIONS[name]
    kind = known.kind
    if known.choices:
        text = next(choice for choice in known.choices if choice != config.DEFAULTS[name])
        return text, text
    if known.worded:
        return "false" if config.DEFAULTS[name] else "true", not config.DEFAULTS[name]
    if kind is bool:
        return "", not config.DEFAULTS[name]
    if kind is str:
        files = {"config": os.devnull, "env_file": os.devnull}
        shaped = {
            "header": "X-Name:value",
            "bind": "a:1",
            "admin_bind": "a:1",
            "statsd": "a:1",
            "otlp_endpoint": "http://a:1",
            "umask": "27",
            "uds_permissions": "660",
            "warm_path": "/a",
        } | {"timeout_request_exempt": "/a", "reload_canary": "2"}
        text = (files | shaped).get(name, "some-text")
        return text, (text,) if known.is_repeatable else text
    number = int((known.minimum or 0) + 3)
    return str(number), kind(number)


@pytest.mark.parametrize("name", HEEDED)
def test_every_option_has_a_flag(name: str) -> None:
    text, value = sample(name)
    flag = config.flag(name)
    arguments = [flag, text] if text else [flag if value else f"--no-{flag[2:]}"]
    assert getattr(parse("main:app", *arguments), name) == value


@pytest.mark.parametrize("name", HEEDED)
def test_every_option_has_an_environment_variable(name: str) -> None:
    text, value = sample(name)
    if config.OPTIONS[name].kind is bool:
        text = "yes" if value else "no"
    for variable in config.OPTIONS[name].variables:
        assert getattr(parse("main:app", env={variable: text}), name) == value


def test_nothing_given_is_config_default() -> None:
    assert parse("main:app") == Config(app="main:app")


def test_the_command_line_wins_over_the_environment() -> None:
    environment = {"TRICORN_PORT": "1", "TRICORN_WORKERS": "5", "UVICORN_WORKERS": "6", "WEB_CONCURRENCY": "7"}
    settings = parse("main:app", "--port", "2", env=environment)
    assert (settings.port, settings.workers) == (2, 5)
    del environment["TRICORN_WORKERS"]
    assert parse("main:app", env=environment).workers == 6
    del environment["UVICORN_WORKERS"]
    assert parse("main:app", env=environment).workers == 7


def test_the_app_may_come_from_the_environment() -> None:
    assert parse(env={"TRICORN_APP": "main:app"}).app == "main:app"


def test_switches() -> None:
    assert parse("main:app", "--no-access-log").access_log is False
    assert parse("main:app", "--access-log", env={"TRICORN_ACCESS_LOG": "0"}).access_log is True
    assert [parse("main:app", *flags).use_colors for flags in ([], ["--use-colors"], ["--no-use-colors"])] == [
        None,
        True,
        False,
    ]


def test_repeatable_options() -> None:
    assert parse("main:app", "--host", "::1", "--host", "127.0.0.1").host == ("::1", "127.0.0.1")
    assert parse("main:app", env={"TRICORN_HOST": " ::1  127.0.0.1 "}).host == ("::1", "127.0.0.1")
    assert parse("main:app", env={"TRICORN_HEADER": "A: one two\nB:three\n"}).header == ("A: one two", "B:three")


def test_zero_is_a_value() -> None:
    assert parse("main:app", "--port", "0", "--timeout-keep-alive", "0").port == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["main:app", "--port", "http"], "--port http: must be a whole number"),
        (["main:app", "--port", "99999"], "--port 99999: must be at most 65535"),
        (["main:app", "--loop", "trio"], "--loop trio: must be one of auto, asyncio, uvloop"),
        (["main:"], "APP main:: must have the form MODULE:ATTRIBUTE, for example main:app"),
        ([":app"], "APP :app: must have the form MODULE:ATTRIBUTE, for example main:app"),
        (["run", "main:app"], "main:app: APP is given already, as run"),
    ],
)
def test_a_usage_error_names_option_value_and_cause(arguments: list[str], message: str) -> None:
    assert refuse(*arguments) == message


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TRICORN_PORT": "http"}, "TRICORN_PORT in the environment: --port http: must be a whole number"),
        ({"WEB_CONCURRENCY": "lots"}, "WEB_CONCURRENCY in the environment: --workers lots: must be a whole number or auto"),
        (
            {"TRICORN_WORKERS": "-1", "WEB_CONCURRENCY": "2"},
            "TRICORN_WORKERS in the environment: --workers -1: must be at least 0",
        ),
        ({"TRICORN_ACCESS_LOG": "maybe"}, "TRICORN_ACCESS_LOG in the environment: --access-log maybe: must be true or false"),
    ],
)
def test_an_error_from_the_environment_names_the_variable(environment: dict[str, str], message: str) -> None:
    assert refuse("main:app", env=environment) == message


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_every_option_with_its_default_and_unit(name: str) -> None:
    command = cli.build_command()
    text = " ".join(command.get_help(click.Context(command, terminal_width=4000)).split())
    after_flag = text.split(f" {config.flag(name)} ", 1)[1]
    explained, rest = after_flag.split(config.OPTIONS[name].help, 1)
    assert len(explained) < 60, "the help after the flag is another option's"
    default, unit = config.DEFAULTS[name], config.OPTIONS[name].unit
    if isinstance(default, int | float) and not isinstance(default, bool):
        assert rest.startswith(f" [default: {default} {unit}]" if unit else f" [default: {default}")


def test_without_fork_the_command_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delattr(os, "fork")
    assert cli.main(["main:app"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "needs os.fork" in error


@pytest.mark.parametrize(
    "arguments",
    [["main:app", "--port", "http"], ["main:app", "--no-such-option"], [], ["main:app", "--header", "x"], ["main:app", "more"]],
)
def test_a_usage_error_is_one_line_and_exit_code_2(arguments: list[str]) -> None:
    ended = run_tricorn(*arguments)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1


def test_python_dash_m_shows_help_and_version() -> None:
    ended = run_tricorn("--help-all")
    assert ended.returncode == 0
    assert ended.stdout.startswith("Usage: tricorn [OPTIONS] APP\n")
    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    assert run_tricorn("--version").stdout == f"Running tricorn {__version__} with {interpreter} on {platform.system()}\n"


@pytest.mark.parametrize(("flag", "by_click"), [("-h", False), ("--help", False), ("--help-all", True)])
def test_help_does_not_wait_for_heavy_imports(flag: str, by_click: bool) -> None:
    ended = run_tricorn(flag, env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rsplit("|", 1)[-1].strip() for line in ended.stderr.splitlines()}
    assert ("click" in imported) is by_click
    assert not imported & {"asyncio", "psutil", "h11", "uvloop", "watchfiles", "wsproto"}


def test_help_has_a_section_for_each_subject_and_fits_a_terminal() -> None:
    lines = run_tricorn("--help-all", env={"COLUMNS": "80"}).stdout.splitlines()
    assert [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")] == [
        *config.sections(),
        "Instead of serving",
    ]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("words", "offered"),
    [("tricorn --reload-p", "--reload-poll"), ("tricorn --log-level de", "debug"), ("tricorn --ws no", "none")],
)
def test_the_shell_completes_options_and_choices(words: str, offered: str) -> None:
    environment = {"_TRICORN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    assert run_tricorn(env=environment).stdout.split() == [f"plain,{offered}"]
