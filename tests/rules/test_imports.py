"""The rooms of the package and who may import whom; the checker itself is tested on planted breaches."""

from __future__ import annotations

import pytest
from support.harness import ROOT
from support.import_rules import imports_of, read_package, violations

SAMPLE = {
    "": "from .version import __version__\nfrom .cli.main import main\n",
    "version": "",
    "errors": "",
    "config": "",
    "config.options": "import dataclasses\nfrom ..errors import ConfigError\n",
    "config.frozen": "",
    "cli": "",
    "cli.main": "import click\nfrom ..version import __version__\nfrom ..supervisor.run import run\nfrom ..logs import setup\n",
    "supervisor": "",
    "supervisor.run": "import importlib\nimportlib.import_module('setproctitle')\nfrom ..worker.main import Birth\n"
    "from ..config.options import Config\nfrom . import fleet\n",
    "supervisor.fleet": "import itertools\nfrom ..config.options import Config\nfrom .messages import Stop\n",
    "supervisor.messages": "import enum\nfrom ..config.frozen import Value\n",
    "ipc": "",
    "ipc.scoreboard": "",
    "ipc.channel": "",
    "logs": "",
    "logs.setup": "from ..config.options import Config\n",
    "worker": "",
    "worker.main": "from ..config.options import Config\nfrom ..protocols.limits import Limits\n",
    "worker.serving": "",
    "protocols": "",
    "protocols.limits": "from ..config.frozen import Value\n",
    "protocols.http1": "",
    "protocols.http1.h11_codec": "import h11\nfrom ..limits import Limits\n",
}


def test_the_package_keeps_the_rules() -> None:
    found = violations(read_package(ROOT / "src"))
    assert not found, "\n".join(found)


def test_a_package_that_keeps_the_rules_passes() -> None:
    assert violations(SAMPLE) == []


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("worker.main", "from ..supervisor import fleet", "worker.main imports supervisor.fleet: worker may know"),
        ("worker.main", "import tricorn.supervisor.fleet", "worker.main imports supervisor.fleet: worker may know"),
        ("worker.main", "def f():\n    from ..cli.main import main", "worker.main imports cli.main: worker may know"),
        ("worker.main", "from .. import __version__", "worker.main imports tricorn: worker may know"),
        ("config.options", "from ..cli import main", "config.options imports cli.main: config may know no other room"),
        ("config.options", "from ..protocols.limits import Limits", "config may know no other room"),
        ("ipc.channel", "from ..worker import main", "ipc.channel imports worker.main: ipc may know no other room"),
        ("protocols.limits", "from ..config.options import Config", "imports config.options: protocols may know no other room"),
        ("protocols.http1.h11_codec", "from ...logs import setup", "imports logs.setup: protocols may know no other room"),
        ("protocols.http1", "from tricorn.worker.main import Birth", "protocols.http1 imports worker.main: protocols"),
        (
            "supervisor.run",
            "from ..worker import serving",
            "supervisor.run imports worker.serving: of worker, supervisor knows",
        ),
        ("supervisor.run", "from .. import worker", "supervisor.run imports worker: of worker, supervisor knows only"),
        ("supervisor.run", "from ..protocols import limits", "supervisor.run imports protocols.limits: supervisor may know"),
        ("supervisor.run", "import importlib\nimportlib.import_module(app)", "supervisor.run imports what a variable names"),
        ("supervisor.run", "import importlib\nimportlib.import_module('x')\n__import__(app)", "imports what a variable names"),
        ("cli.main", "from ..worker.serving import Server", "cli.main imports worker.serving: of worker, cli knows only"),
        ("cli.main", "from ..protocols import http1", "cli.main imports protocols.http1: cli may know"),
        ("supervisor.fleet", "import time", "supervisor.fleet imports time: decisions are pure"),
        ("supervisor.fleet", "from os import kill", "supervisor.fleet imports os: decisions are pure"),
        ("supervisor.fleet", "import random", "supervisor.fleet imports random: decisions are pure"),
        ("supervisor.fleet", "from ..ipc import scoreboard", "fleet imports ipc.scoreboard: decisions are pure"),
        ("supervisor.messages", "import logging", "supervisor.messages imports logging: decisions are pure"),
        ("supervisor.messages", "from .fleet import Fleet", "cycle: supervisor.fleet -> supervisor.messages"),
    ],
)
def test_a_breach_is_found(module: str, line: str, complaint: str) -> None:
    found = violations(SAMPLE | {module: f"{SAMPLE[module]}\n{line}\n"})
    assert any(complaint in one for one in found), found


def test_a_cycle_that_only_the_type_checker_sees_is_found() -> None:
    hidden = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .main import Birth\n"
    found = violations(SAMPLE | {"worker.serving": hidden, "worker.main": "from . import serving\n"})
    assert "cycle: worker.main -> worker.serving -> worker.main" in found


def test_a_room_without_a_rule_is_found() -> None:
    assert violations(SAMPLE | {"attic": ""} | {"attic.box": "from ..version import x\n"}) != []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("worker.serving", "from . import main, nothing", {".worker.main", ".worker"}),
        ("worker.serving", "from .. import config, __version__", {".config", "."}),
        ("worker.serving", "from ..protocols.limits import Limits\nimport os.path", {".protocols.limits", "os.path"}),
        ("worker", "from . import main", {".worker.main"}),
        ("", "from .config.options import Config\nimport tricorn.cli", {".config.options", ".cli"}),
    ],
)
def test_imports_are_resolved(module: str, source: str, found: set[str]) -> None:
    assert imports_of(module, source, frozenset(SAMPLE)) == found
