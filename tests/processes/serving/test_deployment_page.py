"""The page on deployment: systemd, Docker and Kubernetes understand what it shows, and its parts fit together."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.harness import ROOT, Client, Server

PAGE = (ROOT / "docs" / "deployment.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def units() -> dict[str, str]:
    """The files of systemd, by name."""
    found = {}
    for text in blocks("ini"):
        named = re.match(r"# /etc/systemd/system/(\S+)", text)
        assert named, text
        found[named[1]] = text
    return found


def service() -> configparser.SectionProxy:
    parser = configparser.RawConfigParser()
    parser.read_string(units()["shop.service"])
    return parser["Service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (.ci/run does that)")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for name, text in units().items():
        # Of what the units name, only programs must exist.
        text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", text)
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in units()]
    command = ["systemd-analyze", "verify", "--man=no", *files]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    about_ours = [line for line in checked.stderr.splitlines() if "shop" in line]
    assert (checked.returncode, about_ours) == (0, []), checked.stderr


def test_the_unit_works_with_systemd_252() -> None:
    assert service()["Type"] == "notify"
    assert service()["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_unit_and_proxies_fit_together(tmp_path: Path) -> None:
    options = shlex.split(service()["ExecStart"])[2:]
    path = options[options.index("--uds") + 1]
    for language in ("nginx", "haproxy"):
        assert f"unix:{path}" in (text := blocks(language)[0]) or f"unix@{path}" in text
    here = str(tmp_path / "http.sock")
    given = [{path: here, "auto": "1"}.get(option, option) for option in options]
    with Server("tests.apps.tells:app", *given, listen=()) as server:
        server.wait_for_ready(1)
        client = Client(uds=here)
        told = client.ask("GET", "/scope", headers={"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"})
        assert json.loads(told.body)["client"] == ["192.0.2.1", 0]
        assert json.loads(told.body)["scheme"] == "https"
        assert client.get("/ready").status == 200
        client.close()


def test_the_image_runs_as_a_user_that_kubernetes_knows_is_not_root() -> None:
    (text,) = blocks("dockerfile")
    users = re.findall(r"(?m)^USER (\S+)$", text)
    assert len(users) == 1
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[0])


def test_the_times_of_the_pod_fit_together() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    (text,) = blocks("yaml")
    pod = next(yaml.safe_load_all(text))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    probe = container["readinessProbe"]
    delay = float(container["args"][container["args"].index("--shutdown-delay") + 1])
    assert probe["periodSeconds"] * probe["failureThreshold"] + 2 <= delay
    assert delay + 30 < pod["terminationGracePeriodSeconds"]
    assert pod["securityContext"]["runAsNonRoot"] is True
