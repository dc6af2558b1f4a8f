"""Upgrades for tests: waits for them, and a module that meddles with the programs that are executed."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

from support.harness import Server, wait_until

TAKEN = "has taken over from"
"""What the log says when an upgrade is complete."""

MEDDLER = '''
"""Python imports it before anything else (site). What to do stands in files beside it."""

import os
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
mode = os.environ.get("TRICORN_UPGRADE", "").partition(" ")[0]


def wants(what):
    return bool(mode) and os.path.exists(os.path.join(here, f"{mode}-{what}"))


if wants("waits"):
    open(os.path.join(here, "arrived"), "w").close()
    while not os.path.exists(os.path.join(here, "go")):
        time.sleep(0.005)
if wants("exits"):
    os._exit(0)
if wants("fails"):
    sys.modules["tricorn.supervisor.build"] = None
'''


class Meddler:
    """Meddles with what is executed for an upgrade: ``check``, ``take`` or ``back`` as the first part of what to do."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "sitecustomize.py").write_text(MEDDLER)
        self.env = {"PYTHONPATH": str(directory)}

    def let(self, what: str) -> None:
        """From now on let a program do that: ``check-exits``, ``take-waits``, ``take-fails`` ..."""
        (self.directory / what).touch()

    def wait_for_arrival(self) -> None:
        """Wait until a program that waits has been executed."""
        wait_until((self.directory / "arrived").exists, what="nothing was executed")

    def go_on(self) -> None:
        """Let it go on."""
        (self.directory / "go").touch()


def wait_for_upgrades(server: Server, count: int = 1) -> None:
    """Wait until so many upgrades are complete."""
    server.wait_for_log(TAKEN, count)


def descriptors(pid: int) -> Counter[str]:
    """How many descriptors of each kind the process has open."""
    links = Counter[str]()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        # One that was open to list the others is gone.
        with suppress(FileNotFoundError):
            links[os.readlink(f"/proc/{pid}/fd/{fd}").partition(":[")[0]] += 1
    return links


def memory(pid: int) -> int:
    """Bytes of memory that are the process's own, or its share of what it shares (PSS, proc_pid_smaps(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def born(pid: int) -> str:
    """When the process began; its number with that names it for ever."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
