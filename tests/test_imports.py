"""The rooms of the package and who may import whom; the checker itself is tested on planted breaches."""

from __future__ import annotations

import pytest
from harness import ROOT
from import_rules import imports_of, read_package, violations

SAMPLE = {
    "": "from .config import Config\n",
    "config": "import dataclasses\n",
    "judges": "import re\n",
    "cli": "import click\nfrom . import __version__, config\nfrom .supervisor.run import run\nfrom .worker import logs\n",
    "supervisor": "",
    "supervisor.run": "import importlib\nimportlib.import_module('setproctitle')\nfrom ..worker.run import Birth\n"
    "from ..config import Config\nfrom . import fleet\n",
    "supervisor.fleet": "import itertools\nfrom ..config import Config\nfrom .messages import Stop\n",
    "supervisor.messages": "import enum\n",
    "worker": "",
    "worker.run": "from ..config import Config\nfrom ..protocols.limits import Limits\nfrom .scoreboard import Row\n",
    "worker.scoreboard": "",
    "worker.channel": "",
    "worker.logs": "from ..config import Config\n",
    "worker.server": "",
    "protocols": "",
    "protocols.limits": "",
    "protocols.http": "",
    "protocols.http.h11_codec": "import h11\nfrom ..limits import Limits\n",
}


def test_the_package_keeps_the_rules() -> None:
    found = violations(read_package(ROOT / "src"))
    assert not found, "\n".join(found)


def test_a_package_that_keeps_the_rules_passes() -> None:
    assert violations(SAMPLE) == []


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("worker.run", "from ..supervisor import fleet", "worker.run imports supervisor.fleet: imports go downhill only"),
        ("worker.run", "import tricorn.supervisor.fleet", "worker.run imports supervisor.fleet: imports go downhill only"),
        ("worker.run", "def f():\n    from ..cli import main", "worker.run imports cli: imports go downhill only"),
        ("config", "from . import cli", "config imports cli: config is a leaf"),
        ("judges", "from .config import Config", "judges imports config: judges is a leaf"),
        ("config", "from .protocols.limits import Limits", "config imports protocols.limits: config is a leaf"),
        ("protocols.limits", "from ..config import Config", "protocols.limits imports config: protocols knows neither"),
        ("protocols.http.h11_codec", "from ...worker import logs", "imports worker.logs: protocols knows neither"),
        (
            "protocols.http",
            "from tricorn.worker.run import Birth",
            "protocols.http imports worker.run: protocols",
        ),
        ("supervisor.run", "from ..worker import server", "supervisor.run imports worker.server: of lower rooms"),
        ("supervisor.run", "from .. import worker", "supervisor.run imports worker: of lower rooms"),
        ("supervisor.run", "from ..protocols import limits", "supervisor.run imports protocols.limits: of lower rooms"),
        ("supervisor.run", "import importlib\nimportlib.import_module(app)", "supervisor.run imports what a variable names"),
        ("supervisor.run", "import importlib\nimportlib.import_module('x')\n__import__(app)", "imports what a variable names"),
        ("cli", "from .worker.server import Server", "cli imports worker.server: beside supervisor"),
        ("cli", "from .protocols import http", "cli imports protocols.http: beside supervisor"),
        ("supervisor.fleet", "import time", "supervisor.fleet imports time: decisions are pure"),
        ("supervisor.fleet", "from os import kill", "supervisor.fleet imports os: decisions are pure"),
        ("supervisor.fleet", "import random", "supervisor.fleet imports random: decisions are pure"),
        (
            "supervisor.fleet",
            "from ..worker import scoreboard",
            "fleet imports worker.scoreboard: decisions are pure",
        ),
        ("supervisor.messages", "import logging", "supervisor.messages imports logging: decisions are pure"),
        (
            "supervisor.messages",
            "from .fleet import Fleet",
            "cycle: supervisor.fleet -> supervisor.messages",
        ),
        (
            "worker.scoreboard",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .run import Birth",
            "cycle: worker.run -> worker.scoreboard -> worker.run",
        ),
    ],
)
def test_a_breach_is_found(module: str, line: str, complaint: str) -> None:
    found = violations(SAMPLE | {module: f"{SAMPLE[module]}\n{line}\n"})
    assert any(complaint in one for one in found), found


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("worker.server", "from . import run, nothing", {".worker.run", ".worker"}),
        ("worker.server", "from .. import config, __version__", {".config", "."}),
        ("worker.server", "from ..protocols.limits import Limits\nimport os.path", {".protocols.limits", "os.path"}),
        ("worker", "from . import run", {".worker.run"}),
        ("", "from .config import Config\nimport tricorn.cli", {".config", ".cli"}),
    ],
)
def test_imports_are_resolved(module: str, source: str, found: set[str]) -> None:
    assert imports_of(module, source, frozenset(SAMPLE)) == found
