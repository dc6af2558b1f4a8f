"""Programs that embed uvicorn and are too big for CI, served by Tricorn: ``make frameworks-all`` installs and runs them.

Each has an environment of its own below ``.venv-embedders``; where that is missing its test is skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.harness import PATIENCE, ROOT, Client, Response, Server, get, is_port_free
from support.proxies import free_port
from websockets.sync.client import connect

HERE = Path(__file__).parent / "embedders"
ENVIRONMENTS = ROOT / ".venv-embedders"


class Embedder(Server):
    """A program in its environment; ``PORT`` in its arguments is a free port, also told by the variable of that name."""

    def __init__(self, name: str, *arguments: str) -> None:
        bin = ENVIRONMENTS / name / "bin"
        if not bin.exists():
            pytest.skip(f"{name} is not installed: make frameworks-all does that")
        self.port = free_port()
        path = f"{bin}:{os.environ['PATH']}"
        super().__init__("", env={"PYTHONPATH": str(HERE / "place"), "PATH": path, "PORT": str(self.port)}, listen=())
        # NiceGUI and others behave differently where they notice a test.
        self.env = {variable: value for variable, value in self.env.items() if not variable.startswith("PYTEST")}
        self.command = [str(bin / arguments[0]), *(str(self.port) if one == "PORT" else one for one in arguments[1:])]
        self.cwd = HERE

    def __enter__(self) -> Embedder:
        super().__enter__()
        self.wait_until(lambda: self.process.poll() is not None or not is_port_free(self.port), 4 * PATIENCE)
        return self

    def wait_for(self, path: str, text: bytes) -> Response:
        """The answer once it has ``text``: some of these programs answer otherwise while they start."""

        def answered() -> Response | None:
            assert self.process.poll() is None, self.log
            try:
                answer = get(self.port, path)
            except OSError:
                return None
            return answer if text in answer.body else None

        return self.wait_until(answered, 4 * PATIENCE, f"{text!r} does not come")


def gradio(server: Embedder) -> None:
    assert server.wait_for("/", b"gradio").headers["server"] == "tricorn"
    client = Client(server.port)
    call = client.ask("POST", "/gradio_api/call/greet", b'{"data": ["you"]}', {"Content-Type": "application/json"})
    assert b"hello you" in get(server.port, f"/gradio_api/call/greet/{json.loads(call.body)['event_id']}").body
    client.close()


def nicegui(server: Embedder) -> None:
    assert server.wait_for("/", b"hello from nicegui").headers["server"] == "tricorn"
    assert get(server.port, "/_nicegui_ws/socket.io/?EIO=4&transport=polling").body.startswith(b'0{"sid"')


def chainlit(server: Embedder) -> None:
    assert server.wait_for("/", b"<html").headers["server"] == "tricorn"
    assert get(server.port, "/ws/socket.io/?EIO=4&transport=polling").body.startswith(b'0{"sid"')


def streamlit(server: Embedder) -> None:
    assert server.wait_for("/", b"Streamlit").headers["server"] == "tricorn"
    with connect(f"ws://127.0.0.1:{server.port}/_stcore/stream", open_timeout=PATIENCE, subprotocols=["streamlit"]) as client:  # type: ignore[list-item]
        assert client.subprotocol == "streamlit"


def bentoml(server: Embedder) -> None:
    server.wait_for("/", b"<html")
    client = Client(server.port)
    answer = client.ask("POST", "/greet", b'{"name": "you"}', {"Content-Type": "application/json"})
    assert (answer.status, answer.body) == (200, b"hello you")
    # It serves without a Server header; uvicorn would put the date before all other fields.
    assert list(answer.headers)[-1] == "date"
    client.close()


def rayserve(server: Embedder) -> None:
    server.wait_for_log("ray serves", timeout=4 * PATIENCE)
    assert server.wait_for("/", b"hello from ray").headers["server"] == "tricorn"


EMBEDDERS: dict[Callable[[Embedder], None], tuple[str, ...]] = {
    gradio: ("python", "gradio_app.py"),
    nicegui: ("python", "nicegui_app.py"),
    chainlit: ("chainlit", "run", "chainlit_app.py", "--headless", "--port", "PORT"),
    streamlit: ("streamlit", "run", "streamlit_app.py", "--server.headless", "true", "--server.port", "PORT"),
    bentoml: ("bentoml", "serve", "bentoml_app:Hello", "--port", "PORT"),
    rayserve: ("python", "rayserve_app.py"),
}


@pytest.mark.parametrize("check", EMBEDDERS, ids=lambda check: check.__name__)
def test_a_program_serves_by_tricorn(check: Callable[[Embedder], None]) -> None:
    with Embedder(check.__name__, *EMBEDDERS[check]) as server:
        check(server)
