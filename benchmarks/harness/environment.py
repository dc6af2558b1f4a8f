"""The virtual environment in which servers run, and what there is to say about it and the machine."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent.parent
CHECKOUT = BENCHMARKS.parent
CACHE = BENCHMARKS / ".cache"
RESULTS = CACHE / "results"
DEFAULT_VENV = CACHE / f"venv-{sys.version_info.major}.{sys.version_info.minor}"

SCRIPT = """#!{python}
import sys
from {module} import {function}
sys.exit({function}())
"""


def requirements() -> list[str]:
    """The lines of requirements.txt and what Tricorn itself needs, its ``speed`` extra included."""
    lines = [line.partition("#")[0].strip() for line in (BENCHMARKS / "requirements.txt").read_text().splitlines()]
    declared = project()
    return [line for line in lines if line] + declared["dependencies"] + declared["optional-dependencies"]["speed"]


def project() -> dict[str, Any]:
    """The table ``[project]`` of pyproject.toml."""
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]


def prepare(folder: Path, refresh: bool = False) -> Path:
    """Make the environment if it is not there, or out of date with the requirements; returns its Python.

    ``refresh`` asks for the newest versions again. Raises CalledProcessError if pip fails.
    """
    wanted = requirements()
    stamp, fingerprint = folder / "requirements.sha256", hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    python = folder / "bin" / "python"
    if refresh or not stamp.exists() or stamp.read_text() != fingerprint:
        print(f"preparing {folder.relative_to(CHECKOUT) if folder.is_relative_to(CHECKOUT) else folder} ...", flush=True)
        if not python.exists():
            # Debian's venv stumbles over the links of an environment that is there already.
            venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", *wanted], check=True)
        stamp.write_text(fingerprint)
    link_tricorn(folder)
    return python


def link_tricorn(folder: Path) -> None:
    """Put the working tree's package into the environment, as an installation would, but always up to date.

    A symbolic link, because an editable installation's import hook runs at every start of Python in the environment:
    about 10 ms on the start-up time of every server measured. Compiled, as pip compiles what it installs: to compile while
    it runs costs a server time and memory.
    """
    package = next(folder.glob("lib/python*/site-packages")) / "tricorn"
    if package.resolve() != CHECKOUT / "src":
        if package.is_symlink():
            package.unlink()
        package.symlink_to(CHECKOUT / "src")
    subprocess.run([folder / "bin" / "python", "-m", "compileall", "-q", package], check=True)
    script = folder / "bin" / "tricorn"
    module, _, function = project()["scripts"]["tricorn"].partition(":")
    script.write_text(SCRIPT.format(python=folder / "bin" / "python", module=module, function=function))
    script.chmod(0o755)


def enter(folder: Path, refresh: bool = False) -> None:
    """Go on in the environment's Python: replaces the running process unless it is that already."""
    folder = folder.resolve()
    if Path(sys.prefix).resolve() == folder:
        return
    python = prepare(folder, refresh)
    arguments = [argument for argument in sys.argv if argument != "--refresh"]
    os.execv(python, [str(python), *arguments])


def missing_tools() -> list[str]:
    """What the measurements need from the operating system and do not find, each with the way to get it."""
    found = []
    if not sys.platform.startswith("linux"):
        found.append("Linux: CPU time, memory and wake-ups are read from its /proc and process clocks")
    if shutil.which("wrk") is None:
        found.append("wrk, the load generator: `apt-get install wrk` (Debian, Ubuntu), `dnf install wrk`, `brew install wrk`")
    return found


def version(package: str) -> str:
    """The version measured, ``-`` where it is not a package."""
    if package == "tricorn":
        import tricorn

        return f"{tricorn.__version__}, commit {commit()}"
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


def commit() -> str:
    """The commit of the working tree, with a ``+`` if it has changes."""
    described = subprocess.run(
        ["git", "-C", CHECKOUT, "describe", "--always", "--dirty=+", "--exclude=*"], capture_output=True, text=True
    )
    return described.stdout.strip() or "unknown"


def machine() -> dict[str, str]:
    """Processor, memory, kernel, Python and load generator, in words."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True)
    return {
        "CPUs": f"{len(os.sched_getaffinity(0))} x {model}",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load generator": (wrk.stdout or wrk.stderr).partition(" Copyright")[0].strip(),
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
    }
