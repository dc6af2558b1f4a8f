"""Who sees the traceback that --reload shows: the developer's machine, asked for by one of its own names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.editing import BROKEN, Project
from support.harness import Client
from tricorn.worker.developer import is_local

LOCAL = ("127.0.0.1", 50000)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.", "app.localhost:8000", "127.0.0.1:8000", "127.8.9.1", "[::1]:8000", "[::1]"],
)
def test_names_of_the_machine_itself(host: str) -> None:
    assert is_local(LOCAL, host)
    assert is_local(("::1", 1), host)
    assert is_local(("::ffff:127.0.0.1", 1), host)
    assert not is_local(("192.168.1.2", 1), host)
    assert not is_local(("not an address", 1), host)
    assert not is_local(None, host)


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.example", "evil.example:8000", "localhost.evil.example", "evillocalhost", "127.0.0.1.evil.example"),
        *("0.0.0.0", "[::]:8000", "[::ffff:8.8.8.8]", "192.168.1.2:8000", "[", "]", "[::1", "2130706433", "127.1"),
    ],
)
def test_other_names(host: str) -> None:
    assert not is_local(LOCAL, host)


def test_a_syntax_error_shows_the_place_in_the_file_and_nothing_of_python_s_own(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.save(BROKEN)
    with project.serve() as server:
        server.wait_for_log("shows this error")
        client = Client(server.port)
        page, data = (
            client.ask("GET", "/", headers={"Host": "localhost", "Accept": accept}).body
            for accept in ("text/html", "application/json")
        )
        client.close()
    assert b"frozen importlib" not in page
    assert page.count(b"<section>") == 1
    (frame,) = json.loads(data)["frames"]
    assert frame["file"].endswith("edited.py")
    assert frame["line"]
    assert frame["code"]


def test_others_get_the_status_and_no_traceback(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.save(BROKEN)
    with project.serve() as server:
        server.wait_for_log("shows this error")
        client = Client(server.port)
        for accept in ("text/html", "*/*"):
            shown = client.ask("GET", "/", headers={"Host": f"localhost:{server.port}", "Accept": accept})
            assert shown.status == 500
            assert b"was never closed" in shown.body
            for headers in (
                {"Host": f"evil.example:{server.port}"},
                {"Host": "localhost", "X-Forwarded-For": "8.8.8.8"},
                {"Host": "evil.example", "X-Tricorn-Wait": "1"},
            ):
                hidden = client.ask("GET", "/", headers={"Accept": accept, **headers})
                assert hidden.status == 500
                assert b"edited" not in hidden.body
                assert b"Syntax" not in hidden.body
                assert hidden.body.startswith(b"The application failed to start.")
        client.close()
