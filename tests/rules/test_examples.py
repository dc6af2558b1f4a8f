"""The files in examples/: the pages show them as they are, and the tools that read them understand them."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.harness import ROOT
from tricorn.config.options import OPTIONS
from tricorn.control.commands import COMMANDS

sys.path.insert(0, str(ROOT / "docs"))
import include

EXAMPLES = ROOT / "examples"


def test_pages_show_the_files_as_they_are() -> None:
    shown = [found[2] for page in include.pages() for found in include.BLOCK.finditer(page.read_text())]
    files = {
        str(path.relative_to(ROOT)) for room in ("systemd", "proxies", "kubernetes") for path in (EXAMPLES / room).iterdir()
    }
    assert files | {"examples/docker/Dockerfile"} <= set(shown)
    for page in include.pages():
        assert include.with_files(page.read_text()) == page.read_text(), f"{page.name}: make pages"


def manifests() -> dict[str, Any]:
    """Kubernetes' objects, by kind."""
    return {one["kind"]: one for one in yaml.safe_load_all((EXAMPLES / "kubernetes" / "shop.yaml").read_text())}


@pytest.mark.skipif(importlib.util.find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed")
@pytest.mark.parametrize("kind", manifests())
def test_kubernetes_understands_its_files(kind: str) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(manifests()[kind], "1.31", strict=True)


def test_the_pods_probes_fit_its_container() -> None:
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    args = container["args"]
    ready = args[args.index("--ready-path") + 1]
    assert {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe")} == {ready}
    program, command = container["livenessProbe"]["exec"]["command"]
    assert (program, command in COMMANDS) == ("tricornctl", True)
    grace = OPTIONS["timeout_graceful_shutdown"].default + float(args[args.index("--shutdown-delay") + 1])
    assert grace + 5 <= pod["terminationGracePeriodSeconds"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert isinstance(pod["securityContext"]["runAsUser"], int)
    assert all(one["name"].removeprefix("TRICORN_").lower() in OPTIONS for one in container["env"])


def test_the_image_checks_its_health_by_tricornctl() -> None:
    text = (EXAMPLES / "docker" / "Dockerfile").read_text()
    health = re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)
    assert health is not None
    program, command = json.loads(health[1])
    assert (program, command in COMMANDS) == ("tricornctl", True)
    assert "curl" not in re.sub(r"(?m)^#.*$", "", text)


def test_docker_waits_longer_than_a_stop_takes() -> None:
    (service,) = yaml.safe_load((EXAMPLES / "docker" / "compose.yaml").read_text())["services"].values()
    assert int(service["stop_grace_period"].removesuffix("s")) > OPTIONS["timeout_graceful_shutdown"].default
    assert Path(EXAMPLES / "docker" / ".dockerignore").exists()
