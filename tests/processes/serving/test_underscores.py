"""Headers whose names have underscores: which applications get them."""

from __future__ import annotations

import pytest
from support.harness import Server, raw_connection, read_response, send_request
from websockets.sync.client import connect

LINES = ("Remote_User: admin", "X-A: 1", "X_A: 2", "Cookie: a=b", "X-A: 3", "Cookie: c=d", "Content_Type: x")


def headers_of(app: str, *arguments: str) -> dict[str, str]:
    """What the application gets of ``LINES``."""
    with Server(f"tests.apps.interfaces:{app}", *arguments) as server, raw_connection(server.port) as connection:
        send_request(connection, "/", *LINES)
        lines = read_response(connection).body.decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_wsgi_applications_get_none_and_each_name_once() -> None:
    expected = {"HTTP_HOST": "test", "HTTP_X_A": "1,3", "HTTP_COOKIE": "a=b; c=d"}
    assert headers_of("wsgi_headers", "--interface", "wsgi") == expected


@pytest.mark.parametrize(("arguments", "user"), [((), "admin"), (("--no-underscores-in-headers",), None)])
def test_asgi_applications_get_them_unless_told_otherwise(arguments: tuple[str, ...], user: str | None) -> None:
    found = headers_of("asgi_headers", *arguments)
    assert (found.get("remote_user"), found["x-a"]) == (user, "3")


def test_websockets_are_requests_too() -> None:
    with (
        Server("tests.apps.interfaces:asgi_headers", "--no-underscores-in-headers") as server,
        connect(f"ws://127.0.0.1:{server.port}", additional_headers={"X_A": "2", "X-B": "3"}, proxy=None) as websocket,
    ):
        told = str(websocket.recv())
        assert "x-b=3" in told
        assert "x_a" not in told
