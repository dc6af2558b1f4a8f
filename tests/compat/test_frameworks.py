"""Real frameworks, as their users run them."""

from __future__ import annotations

import json

from support.harness import Client, Server, get, raw_connection, send_request


def test_fastapi() -> None:
    with Server("examples.fastapi_app:app", "--workers", "2") as server:
        server.wait_for_ready(2)
        client = Client(server.port)
        assert json.loads(client.get("/notes/1").body) == {"text": "milk"}
        assert client.get("/notes/7").status == 404
        posted = client.ask("POST", "/echo", b'{"text": "tea"}', {"Content-Type": "application/json"})
        assert (posted.status, json.loads(posted.body)) == (200, {"text": "tea"})
        assert client.ask("POST", "/echo", b"{}", {"Content-Type": "application/json"}).status == 422
        assert b"swagger" in client.get("/docs").body.lower()
        client.close()
        assert server.stop() == 0


def test_django() -> None:
    with Server("tests.apps.django_app:app", "--workers", "2") as server:
        server.wait_for_ready(2)
        client = Client(server.port)
        assert int(client.get("/").body) in server.workers()
        body = b"0123456789" * 100_000
        echoed = client.ask("POST", "/echo", body, {"Content-Type": "application/octet-stream"})
        assert (echoed.status, echoed.body) == (200, body)
        assert client.get("/nowhere").status == 404
        client.close()
        # Django does not speak lifespan: --lifespan auto goes on without, and says nothing alarming.
        assert "ERROR" not in server.log
        assert "Traceback" not in server.log
        assert server.stop() == 0


def test_a_client_that_leaves_in_the_middle_is_nobodys_error() -> None:
    """Django stops its view when it hears of the disconnect; neither that nor the disconnect is worth an error in the log."""
    with Server("tests.apps.django_app:app") as server:
        server.wait_for_ready(1)
        for _ in range(20):
            with raw_connection(server.port) as connection:
                send_request(connection, "/slow")
        assert get(server.port).status == 200
        assert server.stop() == 0
        assert "ERROR" not in server.log
        assert "Traceback" not in server.log


def test_the_streaming_example() -> None:
    with Server("examples.streaming:app") as server:
        server.wait_for_ready(1)
        page = get(server.port)
        assert page.headers["content-type"].startswith("text/html")
        assert b'new EventSource("/events")' in page.body
        client = Client(server.port)
        client.request("GET", "/events")
        answer = client.getresponse()
        assert answer.getheader("Content-Type") == "text/event-stream"
        lines = [answer.readline() for _ in range(6)]
        events = [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
        assert [event["count"] for event in events] == [1, 2]
        client.close()
        answer.close()
        # Well before the grace of thirty seconds.
        assert server.stop(timeout=15) == 0
