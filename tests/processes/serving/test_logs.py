"""Where the logs go, and in which form."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from support.harness import Server, get, run_tricorn

PROBE = "tests.apps.probe:app"
FILES = {
    "log.json": json.dumps(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "plain": {"format": "mine %(name)s %(message)s"},
                "access": {"()": "uvicorn.logging.AccessFormatter"},
            },
            "handlers": {
                "out": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"},
                "access": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"},
            },
            "loggers": {
                "uvicorn": {"handlers": ["out"], "level": "INFO", "propagate": False},
                "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
            },
        }
    ),
    "log.yaml": """
version: 1
formatters: {plain: {format: 'mine %(name)s %(message)s'}}
handlers: {out: {class: logging.StreamHandler, formatter: plain, stream: 'ext://sys.stdout'}}
root: {handlers: [out], level: INFO}
""",
    "log.ini": """
[loggers]
keys = root
[handlers]
keys = out
[formatters]
keys = plain
[logger_root]
level = INFO
handlers = out
[handler_out]
class = StreamHandler
formatter = plain
args = (sys.stdout,)
[formatter_plain]
format = mine %(name)s %(message)s
""",
}


@pytest.mark.parametrize("name", FILES)
def test_log_config(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(FILES[name])
    with Server(PROBE, "--log-config", str(file)) as server:
        assert get(server.port).status == 200
        server.wait_for_log(r'^mine (tricorn|uvicorn).access 127.0.0.1:\d+ - "GET / HTTP/1.1" 200$'.replace("^", "(?m)^"))
        assert "mine tricorn.error Tricorn" in server.log
        assert "INFO:" not in server.log


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("log.json", "{", "Expecting property name"),
        ("log.yaml", "version: 2", "Unsupported version: 2"),
        ("log.ini", "nothing", "no section headers"),
        ("log.json", json.dumps({"version": 1, "handlers": {"a": {"class": "no.Such"}}}), "No module named 'no'"),
    ],
)
def test_a_log_config_that_is_wrong(name: str, text: str, cause: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text)
    ended = run_tricorn(PROBE, "--log-config", str(file))
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"Error: --log-config {file}: ")
    assert cause in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_log_config_does_not_go_with_what_it_replaces(tmp_path: Path) -> None:
    ended = run_tricorn(PROBE, "--log-config", "x.ini", "--log-format", "json")
    assert ended.returncode == 2
    assert ended.stderr == "Error: --log-format json: --log-config says where the log goes, and how\n"


@pytest.mark.parametrize(("argument", "colored"), [("--use-colors", True), ("--no-use-colors", False)])
def test_use_colors(argument: str, colored: bool) -> None:
    with Server(PROBE, argument) as server:
        assert get(server.port).status == 200
        server.wait_for_log("GET / HTTP/1.1")
        assert ("\x1b[32mINFO\x1b[0m:     Tricorn" in server.log) is colored
        assert ("\x1b[32m200 OK\x1b[0m" in server.log) is colored


def test_an_application_can_filter_uvicorns_access_log(tmp_path: Path) -> None:
    (tmp_path / "filtering.py").write_text(
        "import logging\n"
        "from tests.apps.probe import app\n"
        "class NoPids(logging.Filter):\n"
        "    def filter(self, record):\n"
        "        return record.args[2] != '/pid'\n"
        "logging.getLogger('uvicorn.access').addFilter(NoPids())\n"
        "logging.getLogger('uvicorn.error').info('said to uvicorn')\n"
    )
    with Server("filtering:app", "--app-dir", str(tmp_path), env={"PYTHONPATH": "."}) as server:
        assert get(server.port, "/pid").status == get(server.port, "/slot").status == 200
        server.wait_for_log(r'INFO:     127.0.0.1:\d+ - "GET /slot HTTP/1.1" 200 OK')
        assert "GET /pid" not in server.log
        assert "INFO:     said to uvicorn" in server.log


def test_log_format_json() -> None:
    with Server(PROBE, "--log-format", "json", listen=("--port", "0")) as server:
        assert get(server.port, "/fail").status == 500
        server.wait_for_log('"status": 500')
        server.wait_for_log('"exception"')
        lines = objects(server.log)
        access = next(line for line in lines if line.get("status") == 500)
        assert (access["method"], access["path"], access["version"]) == ("GET", "/fail", "1.1")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", access["time"])
        error = next(line for line in lines if "exception" in line)
        assert "ValueError: the application's own fault" in error["exception"]
        assert (error["level"], error["logger"], error["slot"]) == ("error", "tricorn.error", 0)


def objects(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def test_access_log_format() -> None:
    text = (
        '%(h)s %(l)s %(u)s "%(r)s" %(m)s %(U)s %(q)s %(H)s %(s)s %(B)s "%({x-own}i)s" %({content-length}o)s %(D)s %(p)s 100%%'
    )
    with Server(PROBE, "--access-log-format", text) as server:
        server_pid = int(get(server.port, "/pid?a=1").body)
        size = len(str(server_pid))
        pattern = rf'127.0.0.1 - - "GET /pid\?a=1 HTTP/1.1" GET /pid a=1 HTTP/1.1 200 {size} "-" {size} \d+ <{server_pid}> 100%'
        server.wait_for_log(pattern)
        assert server.log.count("GET /pid?a=1") == 1


def test_what_was_refused_is_logged_in_the_format_too() -> None:
    with Server(PROBE, "--access-log-format", "%(h)s %(s)s") as server:
        assert get(server.port, "/a\x7fb".replace("\x7f", "%7f")).status == 404
        import socket

        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(b"nonsense\r\n\r\n")
            assert b"400" in raw.recv(4096)
        server.wait_for_log(r"127\.0\.0\.1 400")


def test_access_log_format_json() -> None:
    with Server(PROBE, "--access-log-format", "json") as server:
        assert get(server.port, "/pid?a=1").status == 200
        server.wait_for_log('"query": "a=1"')
        told = objects(server.log)[-1]
        assert (told["path"], told["status"], told["bytes"]) == ("/pid", 200, len(str(told["pid"])))
        assert 0 <= told["seconds"] < 30


def test_an_unknown_atom() -> None:
    ended = run_tricorn(PROBE, "--access-log-format", "%(x)s")
    assert (ended.returncode, ended.stderr) == (2, "Error: --access-log-format %(x)s: there is no %(x)s\n")


def test_log_files_are_opened_again_on_usr1(tmp_path: Path) -> None:
    error, access = tmp_path / "error.log", tmp_path / "access.log"
    arguments = ("--error-log-file", str(error), "--access-log-file", str(access), "--port=0")
    with Server(PROBE, *arguments, listen=()) as server:
        server.wait_until(lambda: error.exists() and "ready in" in error.read_text())
        found = re.search(r"http://127.0.0.1:(\d+)", error.read_text())
        assert found
        port = int(found[1])
        assert get(port).status == 200
        server.wait_until(lambda: "GET /" in access.read_text())
        for file in (error, access):
            os.rename(file, f"{file}.1")
        server.send(signal.SIGUSR1)
        server.wait_until(lambda: error.exists() and access.exists())

        def logged_anew() -> bool:
            get(port, "/slot")
            return "GET /slot" in access.read_text()

        server.wait_until(logged_anew)
        server.stop()
        assert "Stopped" in error.read_text()
        assert "Stopped" not in Path(f"{error}.1").read_text()
        assert "INFO:" not in server.log


def test_a_log_file_that_cannot_be_opened() -> None:
    ended = run_tricorn(PROBE, "--error-log-file", "/nowhere/error.log")
    assert (ended.returncode, ended.stderr) == (2, "Error: --error-log-file /nowhere/error.log: No such file or directory\n")
