"""Plain command lines are read as click reads them, or not at all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import click
import pytest
from tricorn.cli import main as cli
from tricorn.cli import quick as plain
from tricorn.config import options as config

VALUES = (
    "1",
    "0",
    "2.5",
    "auto",
    "off",
    "text",
    "true",
    "a:b",
    "a:b:c",
    "X-Name:value",
    "",
    "-1",
    "--port",
    "=",
    "80=81",
    "zttp",
)
WORDS = ("main:app", "main", "-", "--", "-p", "--help", "--version", "--check-config", "--print-config", "--nothing", "--por")


def by_click(words: Sequence[str]) -> dict[str, Any] | None:
    """The values that click finds set; None where it does anything else than to serve."""
    seen: list[dict[str, Any]] = []
    command = cli.build_command()
    command.callback = lambda print_config, check_config, **values: seen.append(
        {} if print_config or check_config else {name: value for name, value in values.items() if value not in (None, ())}
    )
    try:
        command.main(list(words), standalone_mode=False)
    except click.ClickException:
        return None
    return seen[0] if seen else None


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("main:app", {"app": "main:app"}),
        ("main:app --port 9000 --no-access-log", {"app": "main:app", "port": 9000, "access_log": False}),
        ("--port=1 --port 2 main:app --reload", {"app": "main:app", "port": 2, "reload": True}),
        ("--host ::1 --host=a main:app", {"app": "main:app", "host": ("::1", "a")}),
        ("--ws-per-message-deflate false a:b", {"app": "a:b", "ws_per_message_deflate": False}),
        ("--access-log", {"access_log": True}),
        ("", {}),
    ],
)
def test_plain_lines(line: str, given: dict[str, Any]) -> None:
    assert plain.read(line.split()) == given == by_click(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "a:b c:d",
        "--port x a:b",
        "--port",
        "--reload=1",
        "--no-reload",
        "-- a:b",
        "a:b --help",
        "--version",
        "--port -1",
        "--por 1",
    ],
)
def test_other_lines_are_clicks(line: str) -> None:
    assert plain.read(line.split()) is None


@pytest.mark.parametrize("seed", range(20))
def test_any_line_is_declined_or_read_as_by_click(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(seed)
    flags = [*plain.known_flags(), *(f"--no-{name}" for name in ("reload", "port"))]
    taken = 0
    for _ in range(20):
        words: list[str] = []
        for _ in range(chance.randint(1, 4)):
            flag, value = chance.choice(flags).replace(config.flag("app"), "m:a"), chance.choice(VALUES)
            words += chance.choice(((flag,), (flag, value), (f"{flag}={value}",), (chance.choice(WORDS),)))
        given = plain.read(words)
        taken += given is not None
        assert given is None or given == by_click(words), words
    assert taken or seed, "nothing was plain"
