"""What is executed for an upgrade, where, and what happens to a program that does not begin."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.harness import ROOT, Server, get
from support.upgrades import descriptors, wait_for_upgrades

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hand memory over")

PROBE = "tests.apps.probe:app"
SCRIPT = "import sys\nfrom tricorn.cli.main import main\n\nsys.exit(main())\n"


def script(path: Path, first_line: str) -> Path:
    """A script as pip installs one."""
    path.write_text(f"#!{first_line}\n{SCRIPT}")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "first_line",
    [
        sys.executable,
        f"{sys.executable} -I",
        "/usr/bin/env python",
        # What pip writes if the path is too long for the kernel, or has spaces.
        "/bin/sh\n'''exec' \"" + sys.executable + '" "$0" "$@"\n\' \'\'\'',
    ],
)
def test_a_script_is_executed_again_as_it_was(first_line: str, tmp_path: Path) -> None:
    (tmp_path / "with spaces").mkdir()
    path = script(tmp_path / "with spaces" / "tricorn", first_line)
    path_of_python = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    server = Server(PROBE, "--app-dir", str(ROOT), "--header", "X-Words:two words", env=path_of_python)
    server.command[:3] = ["./tricorn"]
    server.cwd = path.parent
    with server:
        server.wait_for_ready(1)
        for number in range(1, 3):
            server.send(signal.SIGUSR2)
            wait_for_upgrades(server, number)
            server.send(signal.SIGHUP)
            server.wait_for_log("Reload complete", number)
            assert get(server.port, "/pid").headers["x-words"] == "two words"
        assert server.stop() == 0


@pytest.mark.parametrize("room", range(5, 12, 2))
def test_with_little_room_for_descriptors_it_is_done_or_refused(room: int) -> None:
    with Server(PROBE, "--workers", "2") as server:
        workers = server.wait_for_workers(2)
        server.send(signal.SIGUSR2)
        wait_for_upgrades(server)
        limit = descriptors(server.pid).total() + room
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
        server.send(signal.SIGUSR2)
        server.wait_for_log("(has taken over|Upgrade refused|Upgrade failed).*", 2)
        assert server.workers() == workers
        assert get(server.port, "/pid").status == 200
        assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can give up a privilege")
def test_the_directory_need_not_be_readable(place: Path) -> None:
    directory = place / "theirs"
    directory.mkdir(mode=0o711)
    shutil.chown(directory, "nobody")
    server = Server(PROBE, "--app-dir", str(ROOT), env={"PYTHONSAFEPATH": "1"})
    server.command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *server.command]
    server.cwd = directory
    with server:
        server.wait_for_ready(1)
        server.send(signal.SIGUSR2)
        wait_for_upgrades(server)
        assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("by", ["script", "module"])
def test_root_executes_no_interpreter_of_the_workers_user(by: str, place: Path) -> None:
    made = place / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True, timeout=120)
    (packages,) = made.glob("lib/python3*/site-packages")
    (packages / "others.pth").write_text("\n".join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]))
    (packages / "tricorn").symlink_to(ROOT / "src")
    shutil.chown(made / "bin", "nobody")
    path = script(place / "tricorn", str(made / "bin" / "python"))
    server = Server("examples.hello:app", "--user", "nobody")
    server.command[:3] = [str(path)] if by == "script" else [str(made / "bin" / "python"), "-m", "tricorn"]
    with server:
        server.wait_for_ready(1)
        server.send(signal.SIGUSR2)
        server.wait_for_log(f"Upgrade refused: the user .* can change {made}/bin/python, which root would execute")
        assert get(server.port, "/").status == 200


GOES_BACK = """
import os, sys
from tricorn.supervisor.early import UPGRADE
from tricorn.supervisor.upgrade import state
from tricorn.supervisor.upgrade.arrival import Arrival

earlier = [sys.executable, [sys.executable, "-c", "import signal; print(*signal.getitimer(signal.ITIMER_REAL))"]]
fd = state.write({"earlier": earlier, "descriptors": [], "directory": "/", "tricorn": "0", "lock": None})
Arrival(f"take {os.getpid()} {fd}", os.environ).fail("it is broken")
"""


def test_a_program_that_is_gone_back_to_must_begin_in_time_as_well() -> None:
    done = subprocess.run([sys.executable, "-c", GOES_BACK], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, again = map(float, done.stdout.split())
    assert 50 < seconds <= 60
    assert again == 0
