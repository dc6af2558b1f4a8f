"""Every command line of the documentation is run: what serves must answer and stop, what ends must end well.

Changed is only what a test may not have: ports, files outside its folder, another user. What is not run stands in ``NOT_RUN``.
"""

from __future__ import annotations

import getpass
import http.client
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.certificates import Authority
from support.harness import PATIENCE, ROOT, Client, Server, environment
from support.proxies import free_port

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOT_RUN = {
    "make ": "sets up the environment in which the tests run",
    "pip install": "asks a package registry",
    "python benchmarks/": "takes an hour, and a quiet machine",
    "tricornctl ": "talks to a running server: tests/processes/control",
    "python manage.py": "needs a Django project: tests/processes/api/test_development_doors.py",
    "python -m tricorn.fastapi": "needs FastAPI's own command",
}
PROGRAMS = "tricorn|python|gunicorn|make|pip|curl|kill|eval"
SHELL = re.compile(rf"(?:\$ |    )?((?:{PROGRAMS}) .+)")
ENDS = re.compile(r"^eval |--print-config|--check-config|--help")
APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def create_app():
    return app
"""
HOOKS = """
def on_fleet_ready(fleet):
    print("hook: ready", flush=True)


class Hooks:
    def on_fleet_ready(self, fleet):
        print("hook: ready", flush=True)
"""


def lines_of(text: str) -> Iterator[tuple[str, str]]:
    """Each line of a page with the language of its block: "-" outside of any, "" where the block does not say."""
    language = "-"
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            language = line[3:].strip() if language == "-" else "-"
        else:
            yield language, line


def command_in(language: str, line: str) -> str | None:
    """The command that the line of a block tells to run, in whatever form that language has for it."""
    if language == "console" and line.startswith("$ "):
        return line[2:]
    if language == "-" and not line.startswith("    "):
        return None
    if language in ("", "-"):
        found = SHELL.fullmatch(line)
        return found[1] if found else None
    if language == "ini" and line.startswith("ExecStart="):
        return line.partition("=")[2]
    if language == "dockerfile" and line.startswith("CMD "):
        return shlex.join(json.loads(line[4:]))
    if language == "dockerfile" and line.startswith("RUN "):
        return line[4:]
    if language == "yaml" and line.lstrip().startswith("args:"):
        return shlex.join(yaml.safe_load(line)["args"])
    return None


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        written = (command_in(language, line) for language, line in lines_of(page.read_text()))
        found += [(page.name, command) for command in written if command]
    for example in EXAMPLES:
        if run := re.search(r"^(?:Run it:\s+)?(?:pip install \S+ && )?(tricorn .+)$", example.read_text(), re.MULTILINE):
            found.append((example.name, run[1]))
    return found


def is_run(command: str) -> bool:
    return not command.startswith(tuple(NOT_RUN))


def test_there_are_some_of_each_form() -> None:
    pages = {page for page, command in commands() if is_run(command)}
    assert pages >= {
        "README.md",
        "index.md",
        "deployment.md",
        "from-gunicorn.md",
        "hooks.md",
        "proxies.md",
        "reload.md",
        "tls.md",
    }
    assert pages >= {example.name for example in EXAMPLES}
    assert sum(page == "deployment.md" for page, _ in commands()) > 6
    for beginning in NOT_RUN:
        assert any(command.startswith(beginning) for _, command in commands()), f"{beginning!r} is shown nowhere any more"


@pytest.fixture
def shop() -> Iterator[Path]:
    """A folder with what the pages presuppose; everybody may read it, and its name is short enough for a UNIX socket in it."""
    with tempfile.TemporaryDirectory(prefix="shop") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for directory in ("run/shop", "shop"):
            (folder / directory).mkdir(parents=True)
        (folder / "main.py").write_text(APP)
        (folder / "mysite").mkdir()
        (folder / "mysite" / "__init__.py").touch()
        (folder / "mysite" / "asgi.py").write_text(f"{APP}\n\napplication = app\n")
        (folder / "shop" / "hooks.py").write_text(HOOKS)
        (folder / "logging.yaml").write_text("version: 1\ndisable_existing_loggers: false\n")
        certificate, key = Authority(folder).issue("localhost")
        Path(certificate).rename(folder / "chain.pem")
        Path(key).rename(folder / "key.pem")
        yield folder


def settings_of(page: str) -> str:
    """The settings that a page shows, for its commands without an application."""
    shown = re.search(r"^```toml\n(\[tool\.tricorn\].*?)^```", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)
    assert shown
    return shown[1]


def adapted(command: str, folder: Path, port: int) -> list[str]:
    """The command's words, with a port, files and a user that the test may have."""
    command = re.sub(r"(?<=[ :])/run/", f"{folder}/run/", command.replace("/srv/shop/.venv/bin/", ""))
    words = shlex.split(command, comments=True)
    for at, word in enumerate(words[:-1]):
        if word == "--port":
            words[at + 1] = str(port)
        elif word == "--bind":
            words[at + 1] = re.sub(r":\d+$", f":{port}", words[at + 1])
        elif word == "--user" and os.getuid() != 0:
            words[at + 1] = getpass.getuser()
    if words[0] == "gunicorn":
        words += ["--bind", f"127.0.0.1:{port}"]
    elif not {"--port", "--bind", "--uds"} & set(words):
        words += ["--port", str(port)]
    return words


class Shown(Server):
    """What the documentation shows, run in ``folder`` by a shell that finds the programs of this environment."""

    def __init__(self, words: list[str], folder: Path, port: int) -> None:
        super().__init__("", env={"PATH": search_path(), "ADDRESS_FILE": str(folder / "addresses")})
        self.command, self._folder = words, folder
        self.cwd = ROOT if any(word.startswith("examples.") for word in words) else folder
        self.port = port
        self._uds = words[words.index("--uds") + 1] if "--uds" in words else None
        self._secure = "--ssl-certfile" in words

    def __enter__(self) -> Shown:
        self.start()
        return self

    def status(self) -> int:
        """The status that it answers with; 0 while it does not."""
        client: http.client.HTTPConnection = Client(self.port, self._uds)
        if self._secure:
            context = ssl.create_default_context(cafile=self._folder / "ca.pem")
            client = http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE, context=context)
        try:
            client.request("GET", "/")
            return client.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            client.close()

    def answers(self) -> bool:
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log}"
        return self.status() == 200


def search_path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


SERVING = [(page, command) for page, command in commands() if is_run(command) and not ENDS.search(command)]
ENDING = [(page, command) for page, command in commands() if is_run(command) and ENDS.search(command)]


@pytest.mark.parametrize(("page", "command"), SERVING)
def test_what_serves_answers_and_stops(page: str, command: str, shop: Path) -> None:
    port = free_port()
    words = adapted(command, shop, port)
    if shutil.which(words[0], path=search_path()) is None:
        pytest.skip(f"{words[0]} is not installed")
    with Shown(words, shop, port) as server:
        server.wait_until(server.answers)
        if words[0] == "gunicorn":
            # It tells its workers once to stop, and they don't hear it in the first moment of their lives.
            server.wait_for_log("running on", count=int(words[words.index("-w") + 1]))
        if "--hooks" in words and not page.endswith(".py"):
            server.wait_for_log("hook: ready")
        assert server.stop() == 0
        assert "Traceback" not in server.log


@pytest.mark.parametrize(("page", "command"), ENDING)
def test_what_ends_ends_well(page: str, command: str, shop: Path) -> None:
    (shop / "pyproject.toml").write_text(settings_of("index.md"))
    env = environment({"PATH": search_path()})
    ended = subprocess.run(
        ["bash", "-ec", command], cwd=shop, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (ended.returncode, ended.stderr) == (0, "")
