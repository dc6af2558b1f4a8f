"""``tricornctl doctor``, on real servers with something wrong, and where no server runs."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority
from support.control import ctl, run_ctl
from support.harness import PATIENCE, Server, environment
from tricorn.control.doctor import collect

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PROBE = "tests.apps.probe:app"


def certificate(folder: Path, mode: int) -> tuple[str, ...]:
    """Options for TLS; the key's file has ``mode``."""
    chain, key = Authority(folder).issue()
    os.chmod(key, mode)
    return ("--ssl-certfile", chain, "--ssl-keyfile", key)


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """By check; with the exit code that belongs to them."""
    found = json.loads(done.stdout)["findings"]
    assert done.returncode == (3 if found else 0), done.stderr
    assert done.stderr == ""
    for one in found:
        assert one.keys() == {"check", "problem", "why", "cure"}
        assert all(text and "\n" not in text for text in one.values())
    return {one["check"]: one for one in found}


def alone(folder: Path, **variables: str) -> dict[str, dict[str, Any]]:
    """What is found in ``folder`` where no server runs."""
    env = environment({"TRICORN_CONTROL_SOCKET": str(folder / "nobody"), "NO_COLOR": "1", **variables})
    return findings(run_ctl("doctor", "--json", cwd=folder, env=env | {"PYTHONPATH": os.getcwd()}))


def test_a_running_server_with_many_faults(tmp_path: Path) -> None:
    options = (*certificate(tmp_path, 0o644), "--access-log-format", "%(t)s", "--log-level", "trace")
    env = {"TZ": "XYZ-2", "PYTHONASYNCIODEBUG": "1"}
    with Server(PROBE, "--host", "0.0.0.0", "--forwarded-allow-ips", "*", *options, env=env) as server:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        found = findings(ctl(server, "doctor", "--json"))
    assert "a process may open 1024 files" in found["open files"]["problem"]
    assert "--forwarded-allow-ips is *" in found["proxies"]["problem"]
    assert str(tmp_path / "server.key") in found["key file"]["problem"]
    assert "UTC+02:00" in found["time zone"]["problem"]
    assert "PYTHONASYNCIODEBUG" in found["debugging"]["problem"]
    assert "log level" in found


def test_the_same_server_put_right(tmp_path: Path) -> None:
    options = (*certificate(tmp_path, 0o600), "--access-log-format", "%(t)s")
    env = {"TZ": "UTC"}
    with Server(
        PROBE, "--forwarded-allow-ips", "10.0.0.0/8", "--workers", "2", "--backlog", "100", *options, env=env
    ) as server:
        found = findings(ctl(server, "--json", "doctor"))
    assert (
        not {"open files", "backlog", "proxies", "key file", "time zone", "debugging", "log level", "event loop"} & found.keys()
    )


def test_in_words_each_finding_has_its_cure() -> None:
    with Server(PROBE, "--reload") as server:
        done = ctl(server, "doctor")
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    at = lines.index("reload: --reload is on")
    assert lines[at + 1].startswith("  why:  ")
    assert lines[at + 2].startswith("  cure: ")


def test_without_a_server_it_looks_at_the_settings_and_the_system_here(tmp_path: Path) -> None:
    (tmp_path / "tricorn.toml").write_text("")
    found = alone(tmp_path, TRICORN_RELOAD="true", TRICORN_WORKERS="9999", PYTHONDEVMODE="1")
    assert "reload" in found
    assert "9999 workers" in found["workers"]["problem"]
    assert "PYTHONDEVMODE" in found["debugging"]["problem"]


def test_settings_that_no_server_starts_with_are_a_finding(tmp_path: Path) -> None:
    found = alone(tmp_path, TRICORN_WORKERS="many")
    assert list(found) == ["settings"]
    assert "many" in found["settings"]["problem"]


def test_a_server_that_was_named_must_be_there(tmp_path: Path) -> None:
    done = run_ctl("--socket", str(tmp_path / "nobody"), "doctor")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        ('test "$*" = "show shop.service --property=TimeoutStopUSec" && echo "TimeoutStopUSec=1min 30s"', 90),
        ("echo TimeoutStopUSec=infinity", None),
        ("echo TimeoutStopUSec=20s; exit 1", None),
        ("exec sleep 60", None),
        ("", None),
    ],
)
def test_systemd_is_asked_for_the_time_of_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, seconds: float | None
) -> None:
    command = tmp_path / "systemctl"
    if script:
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin" if script else str(tmp_path))
    monkeypatch.setattr(collect, "SYSTEMCTL_TIME", 0.5 if "sleep" in script else PATIENCE)
    found = collect.systemd_time("shop.service", False)
    assert (found and found.seconds) == seconds
