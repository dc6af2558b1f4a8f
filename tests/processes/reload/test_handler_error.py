"""With --reload: what a developer sees of a handler's exception, and pages that reload themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import PROGRAM, Browser
from support.editing import Project, wait_until_watching
from support.harness import Client, Response, Server

APPLICATION = """
import asyncio

VERSION = "{version}"


def find(name):
    users = {{"ann": 1}}
    return users[name]


async def answer(send, status, body, kind=b"text/html"):
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({{"type": "http.response.start", "status": status, "headers": headers}})
    await send({{"type": "http.response.body", "body": body}})


async def app(scope, receive, send):
    assert scope["type"] == "http"
    path = scope["path"]
    if path == "/fails":
        find("<b>bob</b>")
    elif path == "/framework":
        # As Starlette does: an answer first, then the exception.
        await answer(send, 500, b"Internal Server Error", b"text/plain")
        find("bob")
    elif path == "/says-500":
        await answer(send, 500, b"said by the application", b"text/plain")
    elif path == "/breaks-off":
        await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]}})
        await send({{"type": "http.response.body", "body": b"12345", "more_body": True}})
        find("bob")
    elif path == "/caused":
        try:
            find("bob")
        except KeyError as error:
            raise ValueError("no such user") from error
    elif path == "/page":
        await answer(send, 200, f"<body><p id=version>{{VERSION}}</p></body>".encode())
    else:
        await answer(send, 200, VERSION.encode(), b"text/plain")
"""
LINES = "document.querySelector('main') && document.querySelector('main').innerText"
TITLE = "document.title"
HTML = {"Accept": "text/html,*/*;q=0.8"}
VERSION = "document.getElementById('version') && document.getElementById('version').textContent"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    write(made, "one")
    return made


@pytest.fixture
def server(project: Project) -> Iterator[Server]:
    with serve(project) as server:
        yield server


def serve(project: Project, *arguments: str) -> Server:
    """With an access log, and at the usual level."""
    server = project.serve("--log-level", "info", "--access-log", *arguments)
    server.command.remove("--no-access-log")
    return server


def write(project: Project, version: str) -> None:
    project.save(APPLICATION.format(version=version))


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> Response:
    client = Client(server.port)
    try:
        return client.ask(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    finally:
        client.close()


def test_text_for_clients_that_take_anything(server: Server) -> None:
    for path in ("/fails", "/framework"):
        answer = ask(server, path)
        assert answer.status == 500
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        text = answer.body.decode()
        assert "KeyError" in text
        assert "return users[name]" in text
        assert "src/protocols" not in text, "only the developer's own frames"


def test_json_for_clients_that_take_json(server: Server) -> None:
    answer = ask(server, "/fails?q=1", "POST", Accept="application/json")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    told = json.loads(answer.body)
    assert told["detail"] == "KeyError: '<b>bob</b>'"
    assert told["where"] == "POST /fails?q=1"
    assert [frame["function"] for frame in told["frames"]] == ["app", "find"]
    assert told["frames"][1]["code"] == "return users[name]"


def test_a_page_for_browsers(server: Server) -> None:
    answer = ask(server, "/fails?<i>", Accept="text/html", Cookie="session=secret-value", X_Name="<script>alert(1)</script>")
    page = answer.body.decode()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'nonce-")
    assert "frame-ancestors 'none'" in policy
    assert policy.split("nonce-")[1].split("'")[0] in page
    assert answer.headers["cache-control"] == "no-store"
    assert "<b>bob" not in page
    assert "<i>&lt;" not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "secret-value" not in page
    assert "vscode://file/" in page
    assert "<mark>users[name]</mark>" in page


def test_the_cause_is_shown_too(server: Server) -> None:
    page = ask(server, "/caused", Accept="text/html").body.decode()
    assert "ValueError: no such user" in page
    assert "<h2>KeyError: &#x27;bob&#x27;</h2>" in page


def test_others_see_what_the_application_says(server: Server) -> None:
    for headers in ({"Host": "evil.example"}, {"Host": "localhost", "X-Forwarded-For": "8.8.8.8"}):
        for accept in ("text/html", "application/json", "*/*"):
            assert ask(server, "/framework", Accept=accept, **headers).body == b"Internal Server Error"
            assert b"KeyError" not in ask(server, "/fails", Accept=accept, **headers).body


def test_an_application_that_says_500_itself_is_left_alone(server: Server) -> None:
    assert ask(server, "/says-500", **HTML).body == b"said by the application"


def test_what_has_begun_breaks_off(server: Server) -> None:
    with pytest.raises(Exception, match=r"IncompleteRead|5 more|Remote"):
        ask(server, "/breaks-off", **HTML)


def test_the_log_has_the_developers_frames_only(server: Server) -> None:
    ask(server, "/fails")
    server.wait_for_log("KeyError: '<b>bob</b>'")
    assert "Exception in ASGI application: GET /fails" in server.log
    assert "return users[name]" in server.log
    assert "application.py" not in server.log


def test_the_log_has_all_frames_at_level_debug(project: Project) -> None:
    with project.serve() as server:
        ask(server, "/fails")
        server.wait_for_log("KeyError: '<b>bob</b>'")
        assert "protocols/application.py" in server.log


def test_without_reload_there_is_none_of_this(project: Project) -> None:
    with Server("edited:app", "--app-dir", str(project.folder)) as server:
        for path in ("/fails", "/framework"):
            assert ask(server, path, **HTML).body == b"Internal Server Error"
        assert "x-tricorn-wait" not in ask(server, "/page", **HTML).body.decode()
        server.wait_for_log("application.py")


def test_pages_reload_themselves_only_on_wish(project: Project) -> None:
    with serve(project, "--reload-browser") as server:
        page = ask(server, "/page", **HTML)
        assert page.body.endswith(b"</script>\n")
        assert b"x-tricorn-wait" in page.body
        assert page.headers["content-length"] == str(len(page.body))
        for headers in ({"Accept": "*/*"}, HTML | {"Sec-Fetch-Dest": "empty"}, HTML | {"Host": "evil.example"}):
            assert b"script" not in ask(server, "/page", **headers).body
        assert b"script" not in ask(server, "/", **HTML).body
    with serve(project) as server:
        assert b"script" not in ask(server, "/page", **HTML).body


@pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
def test_in_a_browser_the_page_heals_by_itself(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    with serve(project, "--reload-browser") as server, Browser(tmp_path_factory.mktemp("profile")) as browser:
        wait_until_watching(server)
        with browser.open(f"http://127.0.0.1:{server.port}/fails") as tab:
            tab.wait_for(TITLE, "KeyError: '<b>bob</b>'")
            assert "return users[name]" in tab.run(LINES)
            assert tab.run("document.querySelectorAll('b').length") == 0
            assert tab.run("getComputedStyle(document.querySelector('mark')).backgroundColor") != "rgba(0, 0, 0, 0)"
            if folder := os.environ.get("PICTURES"):
                (Path(folder) / "handler_error.png").write_bytes(tab.picture())
            project.save(
                APPLICATION.format(version="two").replace('find("<b>bob</b>")', 'await answer(send, 200, b"<p>mended")')
            )
            tab.wait_for("document.body.innerText.trim()", "mended")
        with browser.open(f"http://127.0.0.1:{server.port}/page") as tab:
            tab.wait_for(VERSION, "two")
            write(project, "three")
            tab.wait_for(VERSION, "three")
        assert '"HEAD' not in server.log, "the page's own requests are not logged"
        assert "drained" not in server.log
        server.wait_for_log(r"edited\.py: reloaded in \d+ ms", count=2)
