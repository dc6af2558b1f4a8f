"""Every option has one home: what Config says is complete, consistent and enforced."""

from __future__ import annotations

import re
import subprocess
import sys
import typing

import click
import pytest
from support.harness import ROOT
from tricorn.cli import main as cli
from tricorn.config import options as config
from tricorn.config.options import Config
from tricorn.errors import ConfigError

NAMES = sorted(config.OPTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_explains_itself(name: str) -> None:
    known = config.OPTIONS[name]
    assert known.help.endswith(".")
    assert len(known.help) < 120
    if known.kind is float:
        assert known.unit, f"{name} is a number of what?"


@pytest.mark.parametrize("name", NAMES)
def test_every_default_obeys_its_own_constraint(name: str) -> None:
    config.OPTIONS[name].check(config.DEFAULTS[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_default_survives_being_written_out(name: str) -> None:
    """What help shows as the default can be typed as the value."""
    known = config.OPTIONS[name]
    values = known.default if known.is_repeatable else (known.default,)
    for value in values:
        if value is not None and not isinstance(value, bool):
            assert known.convert(str(value)) == value


def test_config_is_frozen_and_all_its_fields_have_options() -> None:
    settings = Config(app="main:app")
    with pytest.raises(AttributeError):
        settings.port = 1  # type: ignore[misc]
    assert list(config.OPTIONS) == list(Config.__annotations__)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "0", 0),
        ("timeout_keep_alive", "2.5", 2.5),
        ("timeout_keep_alive", "2", 2.0),
        ("workers", "3", 3),
        ("host", "::1", "::1"),
        ("limit_max_rss", "512", 512),
    ],
)
def test_text_becomes_a_value(name: str, text: str, value: object) -> None:
    assert config.OPTIONS[name].convert(text) == value


def test_auto_workers_is_at_least_one() -> None:
    assert config.OPTIONS["workers"].convert("auto") >= 1


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("port", "http", "--port http: must be a whole number"),
        ("port", "80.5", "--port 80.5: must be a whole number"),
        (
            "timeout_keep_alive",
            "soon",
            "--timeout-keep-alive soon: must be a number of seconds, or a time such as 500ms, 30s or 5m",
        ),
        ("workers", "many", "--workers many: must be a whole number or auto"),
    ],
)
def test_text_that_is_no_value(name: str, text: str, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.OPTIONS[name].convert(text)
    assert str(caught.value) == cause


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"port": 65536}, "--port 65536: must be at most 65535"),
        ({"port": -1}, "--port -1: must be at least 0"),
        ({"workers": -1}, "--workers -1: must be at least 0"),
        ({"loop": "trio"}, "--loop trio: must be one of auto, asyncio, uvloop"),
        ({"log_level": "loud"}, "--log-level loud: must be one of critical, error, warning, info, debug, trace"),
        ({"port": "8000"}, "--port '8000': must be of type int"),
        ({"timeout_worker_healthcheck": 0.5}, "--timeout-worker-healthcheck 0.5: must be at least 2"),
        ({"header": ("no colon",)}, "--header no colon: must have the form Name:Value"),
        ({"header": (":value",)}, "--header :value: must have the form Name:Value"),
        ({"header": ("Bad Name: a",)}, "--header Bad Name: a: 'Bad Name' is not the name of a header"),
        ({"header": ("X: a\nInjected: y",)}, "--header X: a\nInjected: y: the value has characters that a header can't have"),
        ({"header": ("X: \u2603",)}, "--header X: \u2603: the value has characters that a header can't have"),
        (
            {"header": ("Content-Length: 5",)},
            "--header Content-Length: 5: Tricorn itself sets Content-Length for each response",
        ),
        ({"timeout_keep_alive": float("nan")}, "--timeout-keep-alive nan: must be a finite number"),
        ({"timeout_worker_healthcheck": float("inf")}, "--timeout-worker-healthcheck inf: must be a finite number"),
    ],
)
def test_a_broken_constraint_names_option_value_and_cause(values: dict[str, typing.Any], cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(app="main:app", **values)
    assert str(caught.value) == cause
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("script", "page"), [("settings.py", "settings.md"), ("man.py", "tricorn.1"), ("man_ctl.py", "tricornctl.1")]
)
def test_pages_that_follow_from_the_options_are_up_to_date(script: str, page: str) -> None:
    """Written anew by ``make pages``."""
    made = subprocess.run([sys.executable, f"docs/{script}"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / page).read_text() == made


def test_the_man_page_has_every_option_of_the_help() -> None:
    told = (ROOT / "docs" / "tricorn.1").read_text().replace("\\-", "-")
    with click.Context(command := cli.build_command()) as context:
        rows = [row for one in command.get_params(context) if (row := one.get_help_record(context)) is not None]
    flags = [flag for row in rows for flag in re.findall(r"--[a-z0-9-]+", row[0])]
    assert {"--version", "--help", "--print-config", "--check-config", "--no-access-log"} <= set(flags)
    assert [flag for flag in flags if f"\\fB{flag}\\fR" not in told] == []
