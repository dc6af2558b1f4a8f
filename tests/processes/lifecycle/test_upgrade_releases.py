"""From one release to the next: environments with a Tricorn each, and a link that leads to one of them."""

from __future__ import annotations

import importlib.metadata
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.harness import Client, Server, environment, get

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hand memory over")


class Releases:
    """Environments with a Tricorn each, and a link ``current`` to one of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.current = directory / "current"
        (directory / "shop.py").write_text((Path(__file__).parents[2] / "apps" / "probe.py").read_text())

    def make(self, name: str, wheel: Path) -> Path:
        """An environment with what is in the wheel; the other packages are those of the tests' environment."""
        made = self.directory / name
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True, timeout=120)
        (packages,) = made.glob("lib/python3*/site-packages")
        shutil.unpack_archive(str(wheel), packages, "zip")
        (packages / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
        return packages / "tricorn"

    def switch(self, name: str) -> None:
        """Let the link lead to an environment, at once."""
        new = self.directory / "new"
        new.symlink_to(self.directory / name)
        new.rename(self.current)


def build(source: Path, version: str, out: Path) -> Path:
    """A wheel of that version. Skips the test if none can be built here."""
    copy = out / f"source-{version}"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
        if (source / name).is_dir():
            shutil.copytree(source / name, copy / name, ignore=ignored)
        else:
            shutil.copy(source / name, copy / name)
    (copy / "src" / "version.py").write_text(f'"""Which Tricorn this is."""\n\n__version__ = "{version}"\n')
    # Without isolation the build needs no network, but only a setuptools of the version that pyproject.toml asks for can do it.
    recent = int(importlib.metadata.version("setuptools").split(".")[0]) >= 77 if find_spec("setuptools") else False
    command = [sys.executable, "-m", "build", "--wheel", *(["--no-isolation"] if recent else []), "--outdir", str(out)]
    built = subprocess.run([*command, str(copy)], capture_output=True, text=True, check=False, timeout=300)
    if built.returncode != 0:
        pytest.skip(f"no wheel can be built here: {built.stderr[-300:]}")
    (wheel,) = out.glob(f"tricorn-{version}-*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("wheels")
    root = Path(__file__).parents[3]
    return build(root, "7.0.0", out), build(root, "7.1.0", out)


@pytest.fixture
def releases(tmp_path: Path, wheels: tuple[Path, Path]) -> Releases:
    made = Releases(tmp_path)
    for name, wheel in zip(("old", "new-release"), wheels, strict=True):
        made.make(name, wheel)
    made.switch("old")
    return made


def serve(releases: Releases) -> Server:
    server = Server("shop:app", "--workers", "2", "--app-dir", str(releases.directory), "--control-socket", "none")
    server.command[0] = str(releases.current / "bin" / "python")
    server.cwd = releases.directory
    server.env = environment()
    return server


def test_from_one_release_to_the_next_and_back(releases: Releases) -> None:
    with serve(releases) as server:
        server.wait_for_ready(2)
        workers = server.workers()
        assert "Tricorn 7.0.0 starts" in server.log
        releases.switch("new-release")
        server.send(signal.SIGUSR2)
        server.wait_for_log("Tricorn 7.1.0 has taken over from 7.0.0, with 2 workers")
        assert server.workers() == workers
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        releases.switch("old")
        server.send(signal.SIGUSR2)
        server.wait_for_log("Tricorn 7.0.0 has taken over from 7.1.0, with 2 workers")
        assert get(server.port, "/pid").status == 200
        assert server.stop() == 0


def test_a_release_that_fails_after_it_was_executed_is_left_for_the_old_one(releases: Releases) -> None:
    (package,) = releases.directory.glob("new-release/lib/python3*/site-packages/tricorn")
    with serve(releases) as server:
        server.wait_for_ready(2)
        workers = server.workers()
        # The check does not come so far.
        file = package / "supervisor" / "build.py"
        file.write_text(file.read_text().replace("def build(self)", "def build_nothing(self)"))
        releases.switch("new-release")
        server.send(signal.SIGUSR2)
        server.wait_for_log("Tricorn 7.1.0 on Python .* can take over")
        server.wait_for_log("Upgrade failed: AttributeError: .*; Tricorn 7.0.0 goes on")
        assert server.workers() == workers
        assert get(server.port, "/pid").status == 200
        # The next upgrade looks where the names lead, and not where the old program was found.
        file.write_text(file.read_text().replace("def build_nothing(self)", "def build(self)"))
        server.send(signal.SIGUSR2)
        server.wait_for_log("Tricorn 7.1.0 has taken over from 7.0.0, with 2 workers")
        assert server.workers() == workers
        assert server.stop() == 0


def test_what_a_release_opens_before_it_fails_is_not_lost(releases: Releases) -> None:
    (package,) = releases.directory.glob("new-release/lib/python3*/site-packages/tricorn")
    with serve(releases) as server:
        server.wait_for_ready(2)
        workers = server.workers()
        client = Client(server.port)
        worker = client.get("/pid").body
        # It fails between a worker's channel and the files that belong to it, and forgets the channel.
        file = package / "supervisor" / "child.py"
        file.write_text(file.read_text().replace('fd=state["stalls"]', 'fd=state["something else"]'))
        releases.switch("new-release")
        server.send(signal.SIGUSR2)
        server.wait_for_log("Upgrade failed: KeyError: 'something else'; Tricorn 7.0.0 goes on")
        server.send(signal.SIGTTIN)
        server.wait_for_ready(3)
        assert set(workers) < set(server.workers())
        assert client.get("/pid").body == worker
        client.close()
        assert server.stop() == 0


def test_a_release_with_another_state_is_refused(releases: Releases) -> None:
    (package,) = releases.directory.glob("new-release/lib/python3*/site-packages/tricorn")
    file = package / "supervisor" / "upgrade" / "state.py"
    file.write_text(file.read_text().replace("SCHEMA = 1\n", "SCHEMA = 2\n"))
    with serve(releases) as server:
        server.wait_for_ready(2)
        releases.switch("new-release")
        server.send(signal.SIGUSR2)
        server.wait_for_log("Upgrade refused: Tricorn 7.1.0 can't take over from 7.0.0, whose state has version 1 and not 2")
        assert get(server.port, "/pid").status == 200
