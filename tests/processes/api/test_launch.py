"""``tricorn.run`` with workers or reload, from real scripts: the supervisor and its workers inherit nothing of the script."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.harness import ROOT, Server, environment, get, is_alive, is_port_free

APP = """
import os, sys, threading
import routers

BEATS = []
def beat():
    BEATS.append(threading.get_ident())
    threading.Event().wait()
THREAD = threading.Thread(target=beat, daemon=True)
THREAD.start()

async def app(scope, receive, send):
    assert scope["type"] == "http"
    path = scope["path"]
    if path == "/pid":
        body = str(os.getpid())
    elif path == "/thread":
        body = str(THREAD.is_alive() and THREAD.native_id in map(int, os.listdir("/proc/self/task")))
    elif path == "/modules":
        body = " ".join(sys.modules)
    else:
        body = str(eval(path[1:].replace("~", " ")))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body.encode()})
"""
MAIN = """
import sys
import tricorn
if __name__ == "__main__":
    tricorn.run("script:app", port=0, access_log=False, {keywords})
    print("the script goes on", flush=True)
"""


class Script(Server):
    """A script that serves, and the files beside it."""

    def __init__(self, folder: Path, keywords: str, *flags: str, main: str = APP + MAIN, env: Mapping[str, str] | None = None):
        super().__init__("")
        self.folder = folder
        self.env = environment({"PYTHONPATH": str(ROOT), **(env or {})})
        self.cwd = folder
        (folder / "routers.py").write_text('X = "one"')
        (folder / "script.py").write_text(main.replace("{keywords}", keywords))
        self.command = [sys.executable, *flags, str(folder / "script.py")]

    def __enter__(self) -> Script:
        super().__enter__()
        try:
            self.port = int(self.wait_for_log(r"https?://[^\s:/]*:(\d+)").group(1))
            self.supervisor = int(self.wait_for_log(r"Supervisor \[(\d+)\]").group(1))
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def ask(self, question: str) -> str:
        return get(self.port, f"/{question.replace(' ', '~')}").body.decode()


def said_by(folder: Path, text: str, code: int) -> str:
    """What a script says that ends by itself, with ``code``."""
    script = Script(folder, "", main=text)
    script.start()
    try:
        assert script.wait_for_exit() == code, script.log
    finally:
        script.__exit__(*sys.exc_info())
    return script.log


def test_a_save_is_served(tmp_path: Path) -> None:
    with Script(tmp_path, "reload=True, reload_delay=0") as script:
        script.wait_for_log("ready in")
        script.wait_for_log("watching .* for changes")
        assert script.ask("routers.X") == "one"
        (tmp_path / "routers.py").write_text('X = "two"')
        script.wait_for_log("reloaded in")
        assert script.ask("routers.X") == "two"
        assert script.ask("thread") == "True"
        assert script.stop() == 0
        assert "the script goes on" in script.log


def test_workers_inherit_nothing_and_signals_to_the_script_steer_them(tmp_path: Path) -> None:
    with Script(tmp_path, "workers=2") as script:
        script.wait_for_ready(2)
        assert script.ask("thread") == "True"
        assert script.ask("sys.argv") == str([str(tmp_path / "script.py")])
        assert script.ask("__name__") == "script"
        (tmp_path / "routers.py").write_text('X = "three, and longer"')
        script.send(signal.SIGHUP)
        script.wait_for_log("Reload complete")
        script.wait_until(lambda: {script.ask("routers.X") for _ in range(9)} == {"three, and longer"})
        assert script.ask("thread") == "True"
        script.send(signal.SIGTTIN)
        script.wait_for_log("Now 3 workers")
        assert script.stop(signal.SIGINT) == 0
        assert "the script goes on" in script.log


def test_ctrl_c_reaches_the_whole_group(tmp_path: Path) -> None:
    with Script(tmp_path, "workers=2") as script:
        script.wait_for_ready(2)
        script.send_to_group(signal.SIGINT)
        assert script.wait_for_exit() == 0
        assert "the script goes on" in script.log
        assert "Traceback" not in script.log


def test_when_the_script_is_killed_the_port_is_free(tmp_path: Path) -> None:
    with Script(tmp_path, "workers=2") as script:
        script.wait_for_ready(2)
        script.send(signal.SIGKILL)
        script.wait_until(lambda: is_port_free(script.port))
        script.wait_until(lambda: not is_alive(script.supervisor))


def test_a_supervisor_that_is_killed_is_told_and_the_script_goes_on_to_exit(tmp_path: Path) -> None:
    with Script(tmp_path, "workers=2") as script:
        script.wait_for_ready(2)
        os.kill(script.supervisor, signal.SIGKILL)
        assert script.wait_for_exit() == 1
        assert f"The supervisor [{script.supervisor}] was killed by SIGKILL" in script.log


def with_signals(text: str) -> str:
    """A script that does ``text`` before it serves."""
    return APP + MAIN.replace("    tricorn.run", f"    import os, signal\n    {text}\n    tricorn.run")


REAP = "signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, os.WNOHANG))"


@pytest.mark.parametrize("text", ["signal.signal(signal.SIGCHLD, signal.SIG_IGN)", REAP])
def test_a_program_that_reaps_its_children_itself_is_told_how_the_supervisor_ended(tmp_path: Path, text: str) -> None:
    with Script(tmp_path, "workers=2", main=with_signals(text)) as script:
        script.wait_for_ready(2)
        assert script.stop() == 0
        assert "the script goes on" in script.log
        assert "Traceback" not in script.log
    failing = with_signals(text).replace("import routers", "if __name__ != '__main__': import no_such_module")
    assert "no module named 'no_such_module'" in said_by(tmp_path, failing.replace("{keywords}", "workers=2"), 3).lower()
    with Script(tmp_path, "workers=2", main=with_signals(text)) as script:
        script.wait_for_ready(2)
        os.kill(script.supervisor, signal.SIGKILL)
        assert script.wait_for_exit() == 1
        assert f"The supervisor [{script.supervisor}] was killed" in script.log
        assert "Traceback" not in script.log


def test_the_interpreters_options_and_the_import_path_are_carried_over(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder, found in ((elsewhere, "in the current directory"), (tmp_path, "beside the script")):
        (folder / "both.py").write_text(f"WHERE = {found!r}")
    (elsewhere / "script.py").write_text("raise RuntimeError('the wrong one')")
    with Script(tmp_path, "workers=2", "-W", "error::FutureWarning", "-X", "dev", "-O") as script:
        assert script.ask("(sys.flags.dev_mode, sys.flags.optimize, sys.warnoptions[-1])") == str(
            (True, 1, "error::FutureWarning")
        )
    script = Script(tmp_path, "workers=2")
    script.cwd = elsewhere
    with script:
        assert script.ask("__import__('both').WHERE") == "beside the script"
        assert script.ask("os.getcwd()") == str(elsewhere)


@pytest.mark.parametrize("keywords", ["workers=2", "reload=True", ""])
def test_an_unguarded_call_is_told_in_one_line(tmp_path: Path, keywords: str) -> None:
    text = f"import tricorn\nasync def app(scope, receive, send): ...\ntricorn.run('script:app', port=0, {keywords})\n"
    line = 'APP script:app: importing it calls tricorn.run; put that call under if __name__ == "__main__":'
    if "reload" not in keywords:
        said = said_by(tmp_path, text, 3)
        assert line in said
        assert "Traceback" not in said
        return
    script = Script(tmp_path, "", main=text)
    with script:
        script.wait_for_log("shows this error")
        assert line in script.log
        assert "Traceback" not in script.log


def test_an_unguarded_call_with_an_object_serves(tmp_path: Path) -> None:
    script = Script(tmp_path, "", main=APP + "import tricorn\ntricorn.run(app, port=0)\n")
    script.start()
    try:
        script.port = int(script.wait_for_log(r"https?://[^\s:/]*:(\d+)").group(1))
        assert script.ask("__name__") == "__main__"
        assert script.stop() == -signal.SIGTERM
    finally:
        script.__exit__(*sys.exc_info())


def test_an_application_in_the_script_itself(tmp_path: Path) -> None:
    with Script(tmp_path, "workers=2", main=(APP + MAIN).replace("script:app", "__main__:app")) as script:
        assert script.ask("__name__") == "script"
    said = said_by(tmp_path, "import tricorn, sys\nsys.modules['__main__'].__file__ = '<stdin>'\n"
                   "tricorn.run('__main__:app', workers=2)", 2)  # fmt: skip
    assert "APP __main__:app: can't be imported by workers" in said


def test_keywords_that_are_no_strings(tmp_path: Path) -> None:
    (tmp_path / "formats.py").write_text(
        "import logging\nclass Loud(logging.Formatter):\n"
        "    def format(self, record): return 'LOUD ' + super().format(record)\n"
    )
    config = (
        "log_config={'version': 1, 'formatters': {'loud': {'()': __import__('formats').Loud}}, 'handlers': {'err': {'class': "
        "'logging.StreamHandler', 'formatter': 'loud'}}, 'loggers': {'tricorn': {'handlers': ['err'], 'level': 'INFO'}}}"
    )
    with Script(tmp_path, f"workers=2, headers=[('x-a', 'b')], {config}") as script:
        assert get(script.port, "/1").headers["x-a"] == "b"
        script.wait_for_log(r"LOUD Worker 1 \[\d+\] ready")


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ("log_config={'version': 1, 'formatters': {'x': {'()': Mine}}}", "log_config: Mine is defined in the script"),
        ("callback_notify=call", "callback_notify: works in the program's own process only"),
        ("ssl_context_factory=call", "ssl_context_factory: works in the program's own process only"),
        ("headers=[(1, 2)], port=99999", "--port 99999: must be at most 65535"),
    ],
)
def test_what_workers_can_not_have_is_told(tmp_path: Path, keywords: str, said: str) -> None:
    text = (
        "import logging, tricorn\nclass Mine(logging.Formatter): ...\nasync def call(*_): ...\n"
        f"if __name__ == '__main__':\n    tricorn.run('script:app', workers=2, {keywords})\n"
    )
    assert said in said_by(tmp_path, text, 2)


def test_a_file_of_logging_settings_that_is_open(tmp_path: Path) -> None:
    (tmp_path / "log.ini").write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=err\n[formatters]\nkeys=loud\n[logger_root]\nlevel=INFO\nhandlers=err\n"
        "[handler_err]\nclass=StreamHandler\nformatter=loud\n[formatter_loud]\nformat=LOUD %(message)s\n"
    )
    with Script(tmp_path, "workers=2, log_config=open('log.ini')") as script:
        script.wait_for_log(r"LOUD Worker 1 \[\d+\] ready")


def test_the_file_of_variables_is_read_again(tmp_path: Path) -> None:
    pytest.importorskip("dotenv")
    file = tmp_path / "settings.env"
    file.write_text("A=old\nB=old\nC=old\n")
    with Script(tmp_path, "workers=2, env_file='settings.env'", env={"C": "outside"}) as script:
        script.wait_for_ready(2)
        assert script.ask("[os.environ.get(name) for name in 'ABC']") == "['old', 'old', 'outside']"
        file.write_text("A=new\nC=new\n")
        script.send(signal.SIGHUP)
        script.wait_for_log("Reload complete")
        wanted = {"['new', None, 'outside']"}
        script.wait_until(lambda: {script.ask("[os.environ.get(name) for name in 'ABC']") for _ in range(9)} == wanted)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_process_of_multiprocessing_serves(tmp_path: Path, method: str) -> None:
    main = """
import multiprocessing, signal, sys
import tricorn
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    process = context.Process(target=tricorn.run, args=("script:app",), kwargs=dict(port=0, workers=2, access_log=False))
    process.start()
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    process.join()
    sys.exit(process.exitcode)
""".replace("{method}", method)
    with Script(tmp_path, "", main=APP + main) as script:
        script.wait_for_ready(2)
        assert script.ask("routers.X") == "one"
        assert script.stop() == 0


def test_sockets_and_descriptors_are_handed_on(tmp_path: Path) -> None:
    main = MAIN.replace("port=0", "fd=given.fileno()").replace("    tricorn.run", "    given = bound(); tricorn.run")
    bound = "import socket\ndef bound():\n    given = socket.create_server(('127.0.0.1', 0))\n    return given\n"
    with Script(tmp_path, "workers=2", main=APP + bound + main) as script:
        assert script.ask("routers.X") == "one"
        assert script.stop() == 0
        assert is_port_free(script.port)


def test_as_python_starts_a_module(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text((APP + MAIN).replace("{keywords}", "workers=2").replace("script:app", "__main__:app"))
    script = Script(tmp_path, "")
    script.command = [sys.executable, "-m", "shop"]
    with script:
        assert script.ask("__name__") == "shop.__main__"
        assert script.ask("routers.X") == "one"


# ---- deploys by a link


def release(folder: Path, version: str) -> Path:
    """A release with a script; as archives unpack them, so that times do not tell one from the other."""
    (folder / "sub").mkdir(parents=True)
    (folder / "routers.py").write_text(f"X = {version!r}")
    (folder / f"only_in_{version}.py").write_text("")
    (folder / "script.py").write_text((APP + MAIN).replace("{keywords}", "workers=2"))
    os.utime(folder, (1, 1))
    return folder


@pytest.mark.parametrize(
    ("cwd", "command"),
    [
        ("current", ["script.py"]),
        ("", ["current/script.py"]),
        ("/", ["{}/current/script.py"]),
        ("current/sub", ["../script.py"]),
        ("current", ["-m", "script"]),
    ],
)
def test_a_reload_serves_what_the_operators_name_leads_to(tmp_path: Path, cwd: str, command: list[str]) -> None:
    first, second, name = release(tmp_path / "r1", "r1"), release(tmp_path / "r2", "r2"), tmp_path / "current"
    name.symlink_to(first)
    script = Script(release(tmp_path / "unused", "r0"), "")
    script.cwd = tmp_path / cwd
    script.env |= {"PWD": str(script.cwd)}
    script.command = [sys.executable, *(part.format(tmp_path) for part in command)]
    with script:
        script.wait_for_ready(2)
        assert script.ask("routers.X") == "r1"
        (tmp_path / "new").symlink_to(second)
        (tmp_path / "new").rename(name)
        script.send(signal.SIGHUP)
        script.wait_for_log("Reload complete")
        assert {script.ask("routers.X") for _ in range(9)} == {"r2"}
        assert script.ask("__import__('only_in_r2').__name__") == "only_in_r2"
        shutil.rmtree(first)
        script.send(signal.SIGHUP)
        script.wait_for_log("Reload complete", count=2)
        assert {script.ask("routers.X") for _ in range(9)} == {"r2"}


def test_a_script_that_is_a_link_itself_is_served_from_where_it_leads(tmp_path: Path) -> None:
    """As Python does; a directory of links to scripts is no home of modules."""
    release(tmp_path / "r1", "r1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "script.py").symlink_to(tmp_path / "r1" / "script.py")
    script = Script(release(tmp_path / "unused", "r0"), "")
    script.cwd = Path("/")
    script.command = [sys.executable, str(tmp_path / "bin" / "script.py")]
    with script:
        script.wait_for_ready(2)
        assert script.ask("routers.X") == "r1"
        script.send(signal.SIGHUP)
        script.wait_for_log("Reload complete")
        assert script.ask("routers.X") == "r1"


def test_in_uvicorns_place_it_is_there_for_workers_too(tmp_path: Path) -> None:
    main = MAIN.replace("    tricorn.run", "    sys.modules['uvicorn'] = tricorn; tricorn.run")
    with Script(tmp_path, "workers=2", main=APP + main) as script:
        assert script.ask("__import__('uvicorn').__name__") == "tricorn"
