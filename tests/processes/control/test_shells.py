"""Shells complete tricornctl with the scripts that it prints."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from support.control import run_ctl
from support.harness import environment


def script(shell: str) -> str:
    printed = run_ctl(env=environment({"_TRICORNCTL_COMPLETE": f"{shell}_source"}))
    assert (printed.returncode, printed.stderr) == (0, "")
    return printed.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("re", {"requests", "reload", "resize", "restart", "reopen-logs"}),
        ("--js", {"--json"}),
        ("--json st", {"status", "stacks", "stop"}),
        ("log-level d", {"debug"}),
        ("reload --t", {"--timeout"}),
        ("stop --n", {"--now", "--no-wait"}),
    ],
)
def test_bash_completes(typed: str, offered: set[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    words = ["tricornctl", *typed.split(" ")]
    ask = f'\nCOMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; _tricornctl; echo "${{COMPREPLY[@]}}"'
    ended = subprocess.run([bash, "-c", script("bash") + ask], capture_output=True, text=True, check=True, timeout=30)
    assert set(ended.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_take_their_scripts(shell: str) -> None:
    printed = script(shell)
    assert "reopen-logs" in printed
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    assert subprocess.run([found, "-n"], input=printed, text=True, capture_output=True, check=False).stderr == ""


def test_an_unknown_shell_is_one_line() -> None:
    ended = run_ctl(env=environment({"_TRICORNCTL_COMPLETE": "tcsh_source"}))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1


def test_what_is_not_needed_is_not_imported() -> None:
    """It starts fast, also beside a busy server."""
    program = "import sys, tricorn.control.main; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    unwanted = {
        "asyncio",
        "click",
        "psutil",
        "logging",
        "inspect",
        "subprocess",
        "ssl",
        "tricorn.supervisor",
        "tricorn.protocols",
    }
    assert not unwanted & set(loaded)
