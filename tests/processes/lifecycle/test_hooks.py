"""``--hooks``: what is called, with what, in which process, and what a broken hook does to the rest."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.harness import Server, get, is_alive, open_files, run_tricorn

APP = "tests.apps.probe:app"
HOOKS = "tests.apps.hooks"


class Told:
    """What the hooks have written down."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self.env = {"HOOKS_TOLD": str(path)}

    def all(self, hook: str = "") -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line for line in lines if hook in ("", line["hook"])]

    def names(self) -> list[str]:
        return [line["hook"] for line in self.all()]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "told")


def serve(told: Told, name: str, *arguments: str) -> Server:
    return Server(APP, "--hooks", f"{HOOKS}:{name}", *arguments, env=told.env)


def test_each_is_called_once_in_its_process(told: Told) -> None:
    with serve(told, "All", "--workers", "2") as server:
        server.wait_until(lambda: len(told.all("on_worker_ready")) == 2 and told.all("on_fleet_ready"))
        workers = {line["slot"]: line["pid"] for line in told.all("on_worker_start")}
        assert set(workers) == {0, 1}
        for line in told.all("on_worker_start") + told.all("on_worker_ready"):
            assert line["in"] == line["pid"] == workers[line["slot"]]
        # Before the application is imported.
        assert [line["modules"] for line in told.all("on_worker_start")] == [["tests.apps.hooks"]] * 2
        [ready] = told.all("on_fleet_ready")
        assert (ready["pid"], ready["size"], ready["generation"]) == (server.pid, 2, 0)
        assert ready["addresses"] == [f"http://127.0.0.1:{server.port}"]
        runner = ready["in"]
        assert runner not in (server.pid, *workers.values())
        assert server.stop() == 0
        assert told.names()[-1] == "on_fleet_stopped"
        for hook in ("on_fleet_stopping", "on_fleet_stopped", "on_worker_exit"):
            assert {line["in"] for line in told.all(hook)} == {runner}
        for hook, count in (("on_fleet_ready", 1), ("on_fleet_stopping", 1), ("on_fleet_stopped", 1), ("on_worker_stop", 2)):
            assert len(told.all(hook)) == count, hook
        exits = {line["pid"]: (line["exit_code"], line["cause"]) for line in told.all("on_worker_exit")}
        assert exits == dict.fromkeys(workers.values(), (0, "exit code 0"))
        assert not is_alive(runner)


def test_a_crash_is_told(told: Told) -> None:
    with serve(told, "All") as server:
        server.wait_until(lambda: told.all("on_fleet_ready"))
        pid = int(get(server.port, "/pid").body)
        os.kill(pid, signal.SIGKILL)
        server.wait_until(lambda: told.all("on_worker_exit"))
        [exited] = told.all("on_worker_exit")
        assert (exited["pid"], exited["slot"], exited["exit_code"]) == (pid, 0, -signal.SIGKILL)
        assert exited["cause"].startswith("killed by SIGKILL")
        assert not told.all("on_worker_stop")
        # It is of the same generation, and the fleet is not ready once more.
        server.wait_until(lambda: len(told.all("on_worker_ready")) == 2)
        assert told.all("on_worker_ready")[1]["generation"] == 0
    assert len(told.all("on_fleet_ready")) == 1


def test_after_a_reload_they_are_imported_afresh(told: Told) -> None:
    with serve(told, "All") as server:
        server.wait_until(lambda: told.all("on_fleet_ready"))
        server.send(signal.SIGHUP)
        server.wait_until(lambda: told.all("on_fleet_reloaded"))
        [reloaded] = told.all("on_fleet_reloaded")
        [ready] = told.all("on_fleet_ready")
        assert reloaded["generation"] == 1
        assert reloaded["in"] != ready["in"]
        server.wait_until(lambda: not is_alive(ready["in"]))
        assert "hook runner is gone" not in server.log
        assert server.stop() == 0
    assert told.all("on_fleet_stopped")[0]["in"] == reloaded["in"]


def test_a_module_may_hold_the_functions(told: Told, tmp_path: Path) -> None:
    (tmp_path / "myhooks.py").write_text(
        "from tests.apps.hooks import tell\ndef on_fleet_ready(fleet):\n    tell('of a module', fleet)\n"
    )
    env = {**told.env, "PYTHONPATH": str(tmp_path)}
    with Server(APP, "--hooks", "myhooks", env=env) as server:
        server.wait_until(lambda: told.names() == ["of a module"])


def test_the_example(told: Told, tmp_path: Path) -> None:
    file = tmp_path / "addresses"
    with Server("examples.hello:app", "--hooks", "examples.hooks:Hooks", env={"ADDRESS_FILE": str(file)}) as server:
        server.wait_until(lambda: file.exists() and file.read_text() == f"http://127.0.0.1:{server.port}")
        server.wait_for_log(r"slot 0: process \d+ begins")
        server.wait_for_ready(1)
        # The runner of the hooks is a child, too, but does not listen.
        [worker] = server.serving()
        os.kill(worker, signal.SIGKILL)
        server.wait_for_log("slot 0: killed by SIGKILL.*; here a pager would ring")
        assert server.stop() == 0
    assert not file.exists()


def test_a_stop_is_told_while_the_fleet_still_serves(told: Told) -> None:
    with serve(told, "All", "--shutdown-delay", "30") as server:
        server.wait_until(lambda: told.all("on_fleet_ready"))
        server.send(signal.SIGTERM)
        server.wait_until(lambda: told.all("on_fleet_stopping"))
        assert get(server.port, "/pid").status == 200
        assert not told.all("on_worker_exit")


def test_the_runner_is_told_nothing_twice_after_it_died(told: Told) -> None:
    with serve(told, "All") as server:
        server.wait_until(lambda: told.all("on_fleet_ready"))
        os.kill(told.all("on_fleet_ready")[0]["in"], signal.SIGKILL)
        server.wait_for_log("hook runner is gone")
        assert server.stop() == 0
    assert len(told.all("on_fleet_ready")) == 1
    # What came up meanwhile has waited for the next one.
    assert told.names()[-1] == "on_fleet_stopped"


def test_with_reload(told: Told) -> None:
    with serve(told, "All", "--reload") as server:
        server.wait_until(lambda: told.all("on_fleet_ready") and told.all("on_worker_ready"))
        assert server.stop() == 0
    assert told.names()[-1] == "on_fleet_stopped"


def test_the_runner_holds_no_listener(told: Told) -> None:
    with serve(told, "All") as server:
        server.wait_until(lambda: told.all("on_fleet_ready"))
        runner = told.all("on_fleet_ready")[0]["in"]
        assert server.listener() is not None
        assert server.listener() not in open_files(runner)


def test_it_opens_log_files_again(told: Told, tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    with Server(APP, "--hooks", f"{HOOKS}:Raises", "--error-log-file", str(log), env=told.env, listen=("--port=0",)) as server:
        server.wait_until(lambda: log.exists() and "of the fleet" in log.read_text())
        log.rename(tmp_path / "old.log")
        server.send(signal.SIGUSR1)
        server.wait_until(log.exists)
        assert server.stop() == 0
    assert "of the end" in log.read_text()


# ------------------------------------------------------------------------------------------------------------- what fails


def test_a_hook_that_raises_is_logged_and_the_rest_goes_on(told: Told) -> None:
    with serve(told, "Raises") as server:
        server.wait_for_log(f"--hooks {HOOKS}:Raises: on_worker_ready failed\n(.*\n)+LookupError: of the worker")
        server.wait_for_log(f"--hooks {HOOKS}:Raises: on_fleet_ready failed\n(.*\n)+LookupError: of the fleet")
        assert get(server.port, "/pid").status == 200
        assert server.stop() == 0
    assert told.names() == ["on_fleet_stopping"]


def test_a_hook_that_ends_its_process_is_called_once(told: Told) -> None:
    with serve(told, "Dies") as server:
        server.wait_for_log(r"hook runner is gone \(exit code 9\)")
        assert get(server.port, "/pid").status == 200
        assert server.stop() == 0
    assert told.names() == ["on_fleet_ready", "on_fleet_stopping"]


def test_a_hook_that_hangs_is_killed_in_the_end(told: Told) -> None:
    with serve(told, "Hangs") as server:
        server.wait_until(lambda: told.all("on_fleet_ready"))
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began > 4
        assert "has not finished what it was told to do; killed" in server.log


def test_a_stop_at_once_does_not_wait_for_it(told: Told) -> None:
    with serve(told, "Hangs") as server:
        server.wait_until(lambda: told.all("on_fleet_ready"))
        server.send(signal.SIGTERM)
        server.wait_until(lambda: told.all("on_fleet_stopped"))
        began = time.monotonic()
        assert server.stop(signal.SIGQUIT) == 0
        assert time.monotonic() - began < 4


def test_a_hook_that_hangs_does_not_outlive_a_supervisor_that_is_killed(told: Told) -> None:
    with serve(told, "HangsInTheMiddle") as server:
        server.wait_until(lambda: told.all("on_fleet_ready"))
        runner = told.all("on_fleet_ready")[0]["in"]
        server.send(signal.SIGKILL)
        server.wait_until(lambda: not is_alive(runner))


def test_a_hook_may_still_run_when_its_runner_is_replaced(told: Told) -> None:
    with serve(told, "HangsInTheMiddle") as server:
        server.wait_until(lambda: told.all("on_fleet_ready"))
        runner = told.all("on_fleet_ready")[0]["in"]
        for reloads in (1, 2):
            server.send(signal.SIGHUP)
            server.wait_until(lambda reloads=reloads: len(told.all("on_fleet_reloaded")) == reloads)
        assert is_alive(runner)
        # Its lifeline was handed on to nobody: not to the workers that were forked since.
        server.send(signal.SIGKILL)
        server.wait_until(lambda: not is_alive(runner))


def test_a_stop_at_once_waits_for_no_hook(told: Told) -> None:
    with serve(told, "Hangs") as server:
        server.wait_until(lambda: told.all("on_fleet_ready"))
        assert server.stop(signal.SIGQUIT) == 0
    assert told.names() == ["on_fleet_ready"]


def start(*arguments: str, app: str = APP) -> tuple[int, str]:
    ended = run_tricorn(app, "--port", "0", *arguments)
    return ended.returncode, ended.stderr


PREFIX = f"--hooks {HOOKS}"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere:hooks", "--hooks nowhere:hooks: no module named 'nowhere'"),
        (f"{HOOKS}:Nowhere", f"{PREFIX}:Nowhere: module '{HOOKS}' has no attribute 'Nowhere'"),
        (f"{HOOKS}:Unknown", f"{PREFIX}:Unknown: on_worker_redy is no hook; did you mean on_worker_ready?"),
        (f"{HOOKS}:AsyncStart", f"{PREFIX}:AsyncStart: on_worker_start must not be async: it is called before"),
        (f"{HOOKS}:TooFew", f"{PREFIX}:TooFew: on_fleet_ready must take one argument, a tricorn.hooks.Fleet"),
        (f"{HOOKS}:NotCallable", f"{PREFIX}:NotCallable: on_fleet_ready is not callable"),
        (f"{HOOKS}:nothing", f"{PREFIX}:nothing: has no hook; there are on_template_loaded, on_worker_forked, "),
        (f"{HOOKS}:NeedsMore", f"{PREFIX}:NeedsMore: an object of this class can't be made\n"),
        (f"{HOOKS}:Exits", f"{PREFIX}:Exits: an object of this class can't be made\n"),
        (f"{HOOKS}:RaisesWhenLookedUp", f"{PREFIX}:RaisesWhenLookedUp: its hooks can't be looked up\n"),
        (f"{HOOKS}:RaisesAtStart", f"{PREFIX}:RaisesAtStart: on_worker_start failed\n"),
        ("tests.apps.broken", "--hooks tests.apps.broken: the module failed to import\n"),
    ],
)
def test_the_operators_mistakes(name: str, said: str) -> None:
    code, stderr = start("--hooks", name, "--workers", "2")
    assert code == 3
    assert stderr.count(said) == 1, stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--hooks", "a:b:c"), 2, "--hooks a:b:c: must be a module, or have the form MODULE:OBJECT"),
        (("--hooks", f"{HOOKS}:All", "--workers", "0"), 2, "--hooks: needs a supervisor, which --workers 0 does without"),
        (("--hooks", f"{HOOKS}:Unknown", "--check-config"), 3, "on_worker_redy is no hook"),
    ],
)
def test_mistakes_that_show_before_a_fork(arguments: tuple[str, ...], code: int, said: str) -> None:
    ended = start(*arguments)
    assert ended[0] == code
    assert said in ended[1]


def test_a_fleet_that_never_starts_calls_none(told: Told) -> None:
    ended = run_tricorn("tests.apps.startup_fails:app", "--port", "0", "--hooks", f"{HOOKS}:All", env=told.env)
    assert ended.returncode == 3
    assert {line["hook"] for line in told.all()} == {"on_worker_start"}
