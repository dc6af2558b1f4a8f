"""Save the file, see the result: real servers with --reload, real files, and clients that never stop asking."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from support.editing import (
    APPLICATION,
    BROKEN,
    Project,
    living_workers,
    new_connections,
    wait_for_answer,
    wait_until_replaced,
    wait_until_watching,
    watcher_of,
)
from support.harness import (
    Client,
    Server,
    children_of,
    get,
    is_alive,
    pass_time,
    raw_connection,
    read_response,
    send_request,
    wait_until_read,
)

STREAM = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    while True:
        await send({"type": "http.response.body", "body": b"data: tick\\n\\n", "more_body": True})
        await asyncio.sleep(0.05)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# ---- saving


def test_a_save_is_announced_and_answered_by_the_new_code(project: Project) -> None:
    with project.serve() as server:
        wait_until_watching(server)
        assert get(server.port).body == b"one"
        [old] = living_workers(server)
        project.write("two")
        server.wait_for_log(r"edited\.py changed: reloading")
        server.wait_until_left(old)
        assert get(server.port).body == b"two"
        server.wait_for_log(r"edited\.py: reloaded in \d+ ms")
        assert server.stop(signal.SIGINT) == 0


def test_fifty_reloads_refuse_reset_and_fail_nothing(project: Project) -> None:
    with project.serve() as server:
        wait_until_watching(server)
        with new_connections(server.port) as answers:
            for number in range(50):
                project.write(f"version {number}")
                server.wait_for_log(r"reloaded in", count=number + 1)
        wrong = [answer for answer in answers if not isinstance(answer, bytes)]
        assert not wrong, f"{len(wrong)} of {len(answers)}: {wrong[:3]}\n{server.log[-3000:]}"
        # Two ask all the time, and get an answer from each version at least.
        assert len(answers) >= 50
        wait_until_replaced(server)
        assert get(server.port).body == b"version 49"


@pytest.mark.parametrize("workers", [1, 3])
def test_kept_connections_go_on_and_are_answered_by_the_new_code(project: Project, workers: int) -> None:
    with project.serve("--workers", str(workers), "--timeout-keep-alive", "60") as server:
        server.wait_for_ready(workers)
        wait_until_watching(server)
        clients = [Client(server.port) for _ in range(6)]
        assert [client.get().body for client in clients[:5]] == [b"one"] * 5
        # The last one has connected, and asks for the first time when the old code is gone.
        clients[5].connect()
        sockets = [client.sock for client in clients]
        for number in range(3):
            project.write(f"version {number}")
            server.wait_for_log("serves the new code", count=workers * (number + 1))
            wait_until_replaced(server, workers)
            assert [client.get().body for client in clients] == [b"version %d" % number] * 6
        assert [client.sock for client in clients] == sockets, "the connections are the same as before"
        for client in clients:
            client.close()


def test_many_kept_connections_are_handed_on(project: Project) -> None:
    with project.serve("--timeout-keep-alive", "60") as server:
        wait_until_watching(server)
        clients = [Client(server.port) for _ in range(150)]
        assert {client.get().body for client in clients} == {b"one"}
        sockets = [client.sock for client in clients]
        project.write("two")
        server.wait_for_log("reloaded in")
        wait_until_replaced(server)
        assert {client.get().body for client in clients} == {b"two"}
        assert [client.sock for client in clients] == sockets
        for client in clients:
            client.close()


def test_a_request_in_flight_is_finished_by_the_code_that_began_it(project: Project) -> None:
    slow = "    import asyncio; print('slow begins', flush=True); await asyncio.sleep(0.4)\n    body"
    project.save(APPLICATION.format(version="slow").replace("    body", slow))
    with project.serve() as server:
        wait_until_watching(server)
        with raw_connection(server.port) as connection:
            send_request(connection, "/")
            server.wait_for_log("slow begins")
            project.write("two")
            server.wait_for_log("reloaded in")
            wait_for_answer(server, b"two")
            assert read_response(connection).body == b"slow"


def test_saves_faster_than_reloads_end_with_the_last(project: Project) -> None:
    with project.serve("--workers", "2") as server:
        server.wait_for_ready(2)
        wait_until_watching(server)
        for number in range(20):
            project.write(f"version {number}")
            pass_time(0.03)
        server.wait_until(lambda: {get(server.port).body for _ in range(8)} == {b"version 19"})
        server.wait_until(lambda: len(living_workers(server)) == 2)


def test_what_was_saved_while_the_server_started_is_seen(project: Project) -> None:
    with project.serve() as server:
        server.wait_for_ready(1)
        project.write("two")
        wait_for_answer(server, b"two")


def test_an_import_from_outside_the_directories_is_watched(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "elsewhere.py").write_text("VERSION = 'one'\n")
    (outside / "not_imported.py").write_text("")
    beginning = f"import sys; sys.path.append({str(outside)!r})\nimport elsewhere\n"
    project.save(beginning + APPLICATION.format(version="x").replace('"x"', "elsewhere.VERSION"))
    with project.serve() as server:
        wait_until_watching(server)
        assert get(server.port).body == b"one"
        watcher = watcher_of(server)

        # It reports a save only once it watches; saving again and again is what a person would do, too.
        def saved_and_seen() -> bool:
            (outside / "not_imported.py").write_text("A = 1\n")
            (outside / "elsewhere.py").write_text("VERSION = 'second'\n")
            pass_time(1)
            return get(server.port).body == b"second"

        server.wait_until(saved_and_seen)
        assert is_alive(watcher)
        assert "not_imported.py" not in server.log


# ---- trouble


def test_a_broken_save_is_told_and_shown_until_it_is_fixed(project: Project) -> None:
    with project.serve("--workers", "2") as server:
        server.wait_for_ready(2)
        wait_until_watching(server)
        project.save(BROKEN)
        server.wait_for_log("shows this error", count=2)
        wait_until_replaced(server, workers=2)
        assert server.log.count("SyntaxError") == 1, "once for both workers"
        plain = get(server.port)
        assert plain.status == 500
        assert plain.headers["content-type"] == "text/plain; charset=utf-8"
        assert b"edited.py" in plain.body
        assert b"tricorn" not in plain.body, "only the developer's own frames"
        page = Client(server.port).ask("GET", "/some/path", headers={"Accept": "text/html,*/*;q=0.8"})
        assert page.status == 500
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert b"async def app(scope, receive, send:" in page.body
        assert b"<b>" not in page.body, "escaped"
        project.write("two")
        wait_for_answer(server, b"two")
        assert server.process.poll() is None
        server.wait_until(lambda: len(living_workers(server)) == 2)


def test_only_the_developers_frames_are_shown(project: Project) -> None:
    project.save("import json\n\n\ndef read():\n    return json.loads('{')\n\n\nread()\n")
    with project.serve() as server:
        wait_until_watching(server)
        text = get(server.port).body.decode()
        assert [line.strip().split(", ", 1)[1] for line in text.splitlines() if "File " in line] == [
            "line 8, in <module>",
            "line 5, in read",
        ]
        assert "JSONDecodeError: Expecting property name" in text


def test_an_application_broken_from_the_start_is_waited_for(project: Project) -> None:
    project.save("raise RuntimeError('from the beginning')\n")
    with project.serve() as server:
        wait_until_watching(server)
        assert b"from the beginning" in get(server.port).body
        project.write("two")
        wait_for_answer(server, b"two")


def test_a_lifespan_that_fails_is_shown_too(project: Project) -> None:
    with project.serve("--lifespan", "on") as server:
        wait_until_watching(server)
        answer = get(server.port)
        assert answer.status == 500
        assert b"AssertionError" in answer.body or b"lifespan" in answer.body


def test_a_page_that_waits_is_told_when_a_file_is_saved(project: Project) -> None:
    project.save(BROKEN)
    with project.serve() as server:
        wait_until_watching(server)
        with raw_connection(server.port) as connection:
            [old] = living_workers(server)
            send_request(connection, "/", "X-Tricorn-Wait: 1", method="HEAD")
            wait_until_read(connection)
            begun = time.monotonic()
            project.write("two")
            assert read_response(connection, method="HEAD").status == 500
            # It waits for nothing else.
            assert time.monotonic() - begun < 10
            server.wait_until_left(old)
            assert get(server.port).body == b"two"


def test_without_reload_nothing_is_shown_of_an_error(project: Project) -> None:
    project.save(BROKEN)
    server = Server("edited:app", "--app-dir", str(project.folder))
    server.start()
    assert server.wait_for_exit() == 3
    server.__exit__(None, None, None)


def test_a_killed_worker_is_replaced(project: Project) -> None:
    with project.serve() as server:
        wait_until_watching(server)
        os.kill(living_workers(server)[0], signal.SIGKILL)
        server.wait_for_ready(2)
        assert get(server.port).body == b"one"
        project.write("two")
        wait_for_answer(server, b"two")


def test_a_killed_watcher_is_replaced_and_misses_nothing(project: Project) -> None:
    with project.serve() as server:
        wait_until_watching(server)
        watcher = watcher_of(server)
        os.kill(watcher, signal.SIGKILL)
        project.write("two")
        server.wait_for_log("watching .* for changes", count=2)
        wait_for_answer(server, b"two")
        project.write("three")
        wait_for_answer(server, b"three")


def test_nobody_outlives_a_killed_supervisor(project: Project) -> None:
    with project.serve() as server:
        wait_until_watching(server)
        family = children_of(server.pid)
        assert len(family) >= 2
        os.kill(server.pid, signal.SIGKILL)
        server.wait_until(lambda: not any(map(is_alive, family)), timeout=10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "reload"])
def test_an_open_event_stream_holds_nobody_up(project: Project, number: signal.Signals) -> None:
    project.save(STREAM)
    # A grace long enough to see that the new code does not wait for its end; by default it is one second.
    options = ("--timeout-graceful-shutdown", "6") if number == signal.SIGHUP else ()
    with project.serve(*options) as server:
        wait_until_watching(server)
        with raw_connection(server.port) as connection:
            send_request(connection, "/")
            assert connection.recv(4096)
            [old] = living_workers(server)
            if number == signal.SIGINT:
                assert server.stop(number, timeout=15) == 0
            else:
                project.write("two")
                server.wait_for_log("reloading")
                server.wait_until_left(old)
                assert get(server.port).body == b"two"
                assert is_alive(old)
                server.wait_until(lambda: not is_alive(old), timeout=15)


def test_reloads_leak_nothing(project: Project) -> None:
    with project.serve("--no-reload-warm") as server:
        wait_until_watching(server)
        counts = []
        for number in range(30):
            project.write(f"version {number}")
            server.wait_for_log("reloaded in", count=number + 1)
            if number in (5, 29):
                # Said when it is reaped: a zombie still costs the supervisor its descriptors.
                server.wait_for_log("drained: exit code 0", count=number + 1)
                # It is named in the next line of the log.
                worker = psutil.Process(server.wait_until(lambda: living_workers(server))[0])
                counts.append((psutil.Process(server.pid).num_fds(), worker.num_fds()))
        assert counts[0] == counts[1]
