"""Upgrades and the settings: what the check reads and with whose rights, and what the exchange does not need any more."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.certificates import Authority
from support.control import ctl
from support.harness import Server, get, wait_until
from support.upgrades import Meddler, wait_for_upgrades

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hand memory over")

PROBE = "tests.apps.probe:app"
GREETER = """
import os

print(f"greets {os.environ.get('GREETING', 'nobody')}", flush=True)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
"""


@pytest.fixture
def meddler(tmp_path: Path) -> Meddler:
    directory = tmp_path / "meddler"
    directory.mkdir()
    return Meddler(directory)


def test_a_mistake_in_the_settings_is_named(tmp_path: Path) -> None:
    settings = tmp_path / "tricorn.toml"
    settings.write_text("backlog = 100\n")
    with Server(PROBE, "--config", str(settings)) as server:
        server.wait_for_ready(1)
        settings.write_text('workers = "many"\n')
        done = ctl(server, "upgrade")
        assert done.returncode == 3
        assert "workers" in done.stderr
        assert "many" in done.stderr
        server.wait_for_log("Upgrade refused: .*workers.*many")
        settings.write_text("of_the_past = 1\n")
        assert "of_the_past" in ctl(server, "upgrade").stderr
        settings.write_text("")
        assert ctl(server, "upgrade").returncode == 0


@pytest.mark.parametrize("fails", [False, True])
def test_settings_that_are_broken_after_the_check_matter_only_to_the_next_reload(
    fails: bool, meddler: Meddler, tmp_path: Path
) -> None:
    settings = tmp_path / "tricorn.toml"
    variables = tmp_path / "variables"
    (tmp_path / "shop.py").write_text(GREETER)
    settings.write_text(f'env_file = "{variables}"\nworkers = 2\n')
    variables.write_text("GREETING=hello\n")
    meddler.let("take-waits")
    if fails:
        meddler.let("take-fails")
    with Server("shop:app", "--app-dir", str(tmp_path), "--config", str(settings), env=meddler.env) as server:
        server.wait_for_ready(2)
        workers = server.workers()
        server.send(signal.SIGUSR2)
        meddler.wait_for_arrival()
        settings.write_text("of_the_next_release = true\n")
        if fails:
            # The old program goes on without them.
            variables.unlink()
        meddler.go_on()
        server.wait_for_log("Upgrade failed: " if fails else "has taken over")
        assert server.workers() == workers
        server.send(signal.SIGHUP)
        server.wait_for_log("of_the_next_release")
        assert server.workers() == workers
        os.kill(workers[0], signal.SIGKILL)
        server.wait_for_ready(3)
        greetings = ["hello", "hello", "nobody" if fails else "hello"]
        assert re.findall(r"greets (\w+)", server.log) == greetings
        assert server.stop() == 0


def test_a_certificate_of_the_start_need_not_be_there_any_more(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first, key = authority.issue()
    settings = tmp_path / "tricorn.toml"
    settings.write_text(f'ssl_certfile = "{first}"\nssl_keyfile = "{key}"\n')
    with Server(PROBE, "--config", str(settings)) as server:
        server.wait_for_ready(1)
        second = tmp_path / "second.pem"
        second.write_bytes(Path(first).read_bytes())
        settings.write_text(f'ssl_certfile = "{second}"\nssl_keyfile = "{key}"\n')
        Path(first).unlink()
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        server.send(signal.SIGUSR2)
        wait_for_upgrades(server)
        # Nor is the check satisfied by what only the next reload would need.
        settings.write_text(f'ssl_certfile = "{tmp_path / "third.pem"}"\nssl_keyfile = "{key}"\n')
        done = ctl(server, "upgrade")
        assert (done.returncode, "third.pem" in done.stderr) == (3, True)
        assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_workers_user_can_not_let_root_import_the_application(place: Path) -> None:
    seen, theirs = place / "seen", place / "theirs"
    theirs.mkdir()
    seen.touch()
    seen.chmod(0o666)
    (place / "shop.py").write_text(
        f"import os\n\nwith open({str(seen)!r}, 'a') as file:\n    file.write(f'{{os.geteuid()}} ')\n\n"
        "async def app(scope, receive, send): ...\n"
    )
    settings, variables = theirs / "tricorn.toml", theirs / "variables"
    variables.write_text("NAME=1\n")
    common = f'lifespan = "off"\nenv_file = "{variables}"\n'
    settings.write_text(f'user = "nobody"\n{common}')
    subprocess.run(["chown", "-R", "nobody", str(theirs)], check=True)
    with Server("shop:app", "--app-dir", str(place), "--config", str(settings)) as server:
        server.wait_for_ready(1)
        settings.write_text(f'user = "root"\n{common}')
        server.send(signal.SIGUSR2)
        wait_for_upgrades(server)
        assert "0" not in seen.read_text().split()
        assert len(seen.read_text().split()) == 2
        secret = place / "secret"
        secret.write_text("PASSWORD=1\n")
        secret.chmod(0o600)
        settings.write_text(common.replace(str(variables), str(secret)))
        done = ctl(server, "upgrade")
        assert (done.returncode, "Permission denied" in done.stderr) == (3, True)
        assert server.stop() == 0


def test_the_check_writes_nothing_among_the_metrics_of_workers(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import os\n\nopen(os.path.join(os.environ.get('PROMETHEUS_MULTIPROC_DIR', '/tmp'), f'{os.getpid()}.mine'), 'w')"
        ".close()\n\nasync def app(scope, receive, send): ...\n"
    )
    options = ("--app-dir", str(tmp_path), "--lifespan", "off", "--app-metrics", "--admin-bind", "127.0.0.1:0")
    with Server("shop:app", *options) as server:
        server.wait_for_ready(1)
        (directory,) = Path("/dev/shm").glob(f"tricorn-metrics-{server.pid}-*")
        before = {path.name for path in directory.glob("*.mine")}
        server.send(signal.SIGUSR2)
        wait_for_upgrades(server)
        assert {path.name for path in directory.glob("*.mine")} == before
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        # The directory is still that of the workers.
        assert len([*directory.glob("*.mine")]) == 2
        assert server.stop() == 0
        assert not directory.exists()


def test_an_application_may_print_what_it_likes(tmp_path: Path) -> None:
    app, flag = tmp_path / "shop.py", tmp_path / "flag"
    app.write_text(
        "import os\n\nfor number in range(20000):\n    print(f'line {number} of an application that talks a lot', flush=True)\n"
        f"if os.path.exists({str(flag)!r}):\n    print('the last line')\n    os._exit(3)\n\n"
        "async def app(scope, receive, send): ...\n"
    )
    with Server("shop:app", "--app-dir", str(tmp_path), "--lifespan", "off") as server:
        server.wait_for_ready(1)
        assert ctl(server, "upgrade").returncode == 0
        flag.touch()
        done = ctl(server, "upgrade")
        assert done.returncode == 3
        assert "line 19999 of" in done.stderr
        assert len(done.stderr) < 10_000


def test_what_the_application_starts_is_gone_with_a_check_that_fails(tmp_path: Path) -> None:
    flag, told = tmp_path / "flag", tmp_path / "told"
    (tmp_path / "shop.py").write_text(
        f"import os, subprocess\n\nif os.path.exists({str(flag)!r}):\n    child = subprocess.Popen(['sleep', '1000'])\n"
        f"    open({str(told)!r}, 'w').write(str(child.pid))\n    os._exit(5)\n\nasync def app(scope, receive, send): ...\n"
    )
    with Server("shop:app", "--app-dir", str(tmp_path), "--lifespan", "off") as server:
        server.wait_for_ready(1)
        flag.touch()
        assert ctl(server, "upgrade").returncode == 3
        pid = int(told.read_text())
        wait_until(lambda: not os.path.exists(f"/proc/{pid}") or "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1])
        assert get(server.port).status == 500
        assert server.stop() == 0
