"""The examples for Prometheus and Grafana speak of metrics that exist, and promtool accepts them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tricorn.metrics.gather import EXITS, PHASES, RESULTS
from tricorn.metrics.table import METRICS, Type

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "prometheus"


@pytest.mark.parametrize("name", ["alerts.yml", "alerts_test.yml", "grafana.json"])
def test_they_name_metrics_that_exist(name: str) -> None:
    known = {"tricorn"}
    for metric in METRICS.values():
        known |= {metric.name}
        if metric.type is Type.HISTOGRAM:
            known |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    named = set(re.findall(r"\btricorn_\w+", (EXAMPLES / name).read_text()))
    assert named
    assert named <= known


def test_they_name_values_of_labels_that_exist() -> None:
    text = (EXAMPLES / "alerts.yml").read_text()
    named = {value for values in re.findall(r'(?:phase|reason|result)=~?"([^"]*)"', text) for value in values.split("|")}
    assert named <= {*PHASES, *EXITS, *RESULTS}


def test_the_dashboard_is_json() -> None:
    panels = json.loads((EXAMPLES / "grafana.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 12


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "command", [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]]
)
def test_promtool_accepts_them(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=EXAMPLES, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
