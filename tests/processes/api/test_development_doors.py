"""Other doors to Tricorn: ``tricorn.testing``, the fixture for pytest, Django's ``runserver``, FastAPI's command."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.harness import PATIENCE, Server, environment, get
from tricorn import testing

APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})

async def fails(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
"""


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        body: bytes = answer.read()
        return body


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


def test_serve_in_a_thread(folder: Path) -> None:
    with testing.serve("main:app", options={"app_dir": str(folder)}) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
        assert read(server.url) == b"hello"
        with testing.serve("main:app", options={"app_dir": str(folder)}) as other:
            assert other.port != server.port
            assert read(other.url) == b"hello"
    with pytest.raises(urllib.error.URLError):
        read(server.url)


@pytest.mark.parametrize("app", ["main:fails", "main:missing", "no_such_module:app"])
def test_an_application_that_does_not_start(app: str, folder: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="did not start"),
        testing.serve(app, options={"app_dir": str(folder)}, log_level="critical"),
    ):
        pass


def test_the_fixture_of_pytest(folder: Path) -> None:
    (folder / "conftest.py").write_text('pytest_plugins = ["tricorn.pytest_plugin"]\n')
    (folder / "test_it.py").write_text(
        "import urllib.request\nfrom main import app\n"
        "def test_it(tricorn_serve):\n"
        "    assert urllib.request.urlopen(tricorn_serve(app).url).read() == b'hello'\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    ended = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout


# ----------------------------------------------------------------------------------------------------------------- Django

SETTINGS = """
DEBUG = True
SECRET_KEY = "test"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site_urls"
INSTALLED_APPS = ["tricorn.django", "django.contrib.staticfiles"]
STATIC_URL = "/static/"
STATICFILES_DIRS = ["assets"]
USE_TZ = True
"""
URLS = """
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse("from Django"))]
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


def of_command(folder: Path, *command: str) -> Server:
    """The process of a command, with a harness's means."""
    server = Server("")
    server.command = [sys.executable, *command]
    server.cwd = folder
    return server


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site_settings.py").write_text(SETTINGS)
    (tmp_path / "site_urls.py").write_text(URLS)
    (tmp_path / "manage.py").write_text(MANAGE)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "style.css").write_text("body { color: red }")
    return tmp_path


def test_djangos_runserver(site: Path) -> None:
    with of_command(site, "manage.py", "runserver", "0") as server:
        port = int(server.wait_for_log(r"http://127\.0\.0\.1:(\d+)").group(1))
        server.wait_for_log("Watching .* for changes")
        assert "System check identified no issues" in server.log
        assert get(port).body == b"from Django"
        assert get(port, "/static/style.css").body == b"body { color: red }"
        (site / "site_urls.py").write_text(URLS.replace('from Django"', 'saved"'))
        server.wait_until(lambda: get(port).body == b"saved")
        server.wait_for_log(r"site_urls\.py: reloaded in")
        assert server.stop(signal.SIGINT) == 0


def test_djangos_runserver_without_reload_and_static_files(site: Path) -> None:
    with of_command(site, "manage.py", "runserver", "--noreload", "--nostatic", "127.0.0.1:0") as server:
        port = int(
            server.wait_for_log(r"running on http://127\.0\.0\.1:(\d+)|http://127\.0\.0\.1:(\d+)").group(0).rpartition(":")[2]
        )
        server.wait_until(lambda: get(port).body == b"from Django")
        assert get(port, "/static/style.css").status == 404
        assert server.stop(signal.SIGINT) == 0


# ---------------------------------------------------------------------------------------------------------------- FastAPI


@pytest.mark.skipif(find_spec("fastapi_cli") is not None, reason="fastapi-cli is installed")
def test_fastapis_command_is_missing() -> None:
    command = [sys.executable, "-m", "tricorn.fastapi", "dev"]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "Error: the command fastapi is not installed (pip install fastapi-cli)\n"
