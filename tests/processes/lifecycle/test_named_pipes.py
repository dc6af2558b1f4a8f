"""A named pipe in the place of a file that an option names: refused at once, so the supervisor never waits for its writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.harness import ROOT, Server, get, run_tricorn

APP = "examples.hello:app"
LOGGING = '{"version": 1, "handlers": {"err": {"class": "logging.StreamHandler"}}, "root": {"handlers": ["err"], "level": 20}}'
NAMED = {
    "--config": ("settings.toml", "workers = 1\n"),
    "--env-file": ("variables.env", "A=1\n"),
    "--log-config": ("logging.json", LOGGING),
}


@pytest.fixture(params=NAMED)
def named(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    option = request.param
    if option == "--env-file":
        pytest.importorskip("dotenv", reason="python-dotenv is not installed")
    name, text = NAMED[option]
    (tmp_path / name).write_text(text)
    return option, tmp_path / name


def test_at_a_reload(named: tuple[str, Path]) -> None:
    option, file = named
    with Server(APP, option, str(file)) as server:
        get(server.port)
        file.unlink()
        os.mkfifo(file)
        server.send(signal.SIGHUP)
        server.wait_for_log("is not a regular file")
        server.send(signal.SIGTERM)
        assert server.wait_for_exit() == 0


def test_at_the_start(named: tuple[str, Path]) -> None:
    option, file = named
    file.unlink()
    os.mkfifo(file)
    result = run_tricorn(APP, "--port", "0", option, str(file))
    assert (result.returncode, result.stderr) == (2, f"Error: {option} {file}: is not a regular file\n")


def test_the_pipe_of_a_shell_is_read_at_the_start() -> None:
    """``--config <(command)``: its writer closes it."""
    command = f"{sys.executable} -m tricorn {APP} --check-config --config <(echo 'workers = 3')"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
