"""The programs' Config follows from the options, and values that only uvicorn knows are noted wherever they are given."""

from __future__ import annotations

import logging
import sys
import types
import typing
from pathlib import Path
from typing import Any

import pytest
import tricorn
from support.harness import ROOT, Server, get, run_tricorn
from test_api import App, in_thread
from tricorn.config.options import DEFAULTS, OPTIONS
from tricorn.config.sources import Sources
from tricorn.embedding.config import KEYWORDS, MEANINGS, from_settings

PROBE = "tests.apps.probe:app"
OF_UVICORN_ALONE = {"callback_notify", "timeout_notify", "ssl_context_factory", "options"}
"""Keywords that no option stands behind."""
SHARED = {known.keyword: known for known in OPTIONS.values() if known.keyword in KEYWORDS}
INAPPLICABLE = [(name, value) for name, known in OPTIONS.items() for value in known.inapplicable]


def test_every_keyword_is_an_option_or_of_uvicorn_alone() -> None:
    assert SHARED.keys() | OF_UVICORN_ALONE == KEYWORDS
    assert OPTIONS.keys() >= MEANINGS.keys()


@pytest.mark.parametrize("keyword", sorted(SHARED))
def test_a_keyword_has_its_options_default_and_type(keyword: str) -> None:
    known, hints = SHARED[keyword], typing.get_type_hints(tricorn.Config)
    config = tricorn.Config(PROBE, log_config=None)
    if keyword not in ("app", "log_config"):
        assert getattr(config.settings(), known.name) == DEFAULTS[known.name]
    parts = typing.get_args(hints[keyword]) if isinstance(hints[keyword], types.UnionType) else (hints[keyword],)
    kinds = {typing.get_origin(part) or part for part in parts}
    assert kinds & {known.kind, list, Any}, f"{keyword}: {hints[keyword]}"
    if known.default is None:
        assert kinds & {types.NoneType, Any}


def test_settings_survive_a_config() -> None:
    settings = tricorn.Config(
        PROBE, ("::1", "127.0.0.1"), None, log_config=None, headers=[("A", "b")], ws_ping_timeout=None, root_path="/x"
    ).settings()
    assert (settings.host, settings.port, settings.ws_ping_timeout) == (("::1", "127.0.0.1"), 0, 0)
    assert from_settings(settings).settings() == settings


def test_there_are_inapplicable_values() -> None:
    assert ("loop", "zuvloop") in INAPPLICABLE


@pytest.mark.parametrize(("name", "value"), INAPPLICABLE)
class TestInapplicableValues:
    """Each is noted once, and the default takes its place."""

    @staticmethod
    def note(name: str, value: Any) -> str:
        return f"{OPTIONS[name].show(value)}: {OPTIONS[name].inapplicable[value]}"

    def test_config(self, name: str, value: Any, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, logger="tricorn.error"):
            config = tricorn.Config(PROBE, log_config=None, **{OPTIONS[name].keyword: value})
            settings = config.settings()
            assert getattr(settings, name) == DEFAULTS[name]
            assert callable(config.get_loop_factory())
            config.load()
        assert [record.getMessage() for record in caplog.records].count(self.note(name, value)) == 1

    def test_options_of_config(self, name: str, value: Any, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, logger="tricorn.error"):
            config = tricorn.Config(PROBE, log_config=None, options={name: value})
            assert getattr(config.settings(), name) == DEFAULTS[name]
        assert self.note(name, value) in caplog.text

    def test_server(self, name: str, value: Any, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, logger="tricorn.error"):
            config = tricorn.Config(App(), port=0, log_config=None, **{OPTIONS[name].keyword: value})
            with in_thread(tricorn.Server(config)) as port:
                assert get(port, "/x").body == b"/x"
        assert self.note(name, value) in caplog.text

    @pytest.mark.parametrize("workers", [1, 2])
    def test_run(self, name: str, value: Any, workers: int, tmp_path: Path) -> None:
        (tmp_path / "script.py").write_text(
            "import tricorn\nif __name__ == '__main__':\n"
            f"    tricorn.run({PROBE!r}, port=0, workers={workers}, {OPTIONS[name].keyword}={value!r})\n"
        )
        server = Server("")
        server.command = [sys.executable, str(tmp_path / "script.py")]
        server.env["PYTHONPATH"] = str(ROOT)
        with server:
            port = int(server.wait_for_log(r"http://127.0.0.1:(\d+)").group(1))
            assert get(port, "/pid").status == 200
            server.stop()
        assert self.note(name, value) in server.log

    def test_command(self, name: str, value: Any) -> None:
        known = OPTIONS[name]
        arguments = [known.flag] if known.is_switch else [known.flag, value]
        ended = run_tricorn(PROBE, *arguments, "--check-config")
        assert ended.returncode == 0
        assert self.note(name, value) in ended.stderr

    def test_environment(self, name: str, value: Any) -> None:
        for variable in OPTIONS[name].variables:
            settings = Sources({}, {variable: str(value).lower()}).load()
            assert settings.notes == (self.note(name, value),)
            assert getattr(settings.config, name) == DEFAULTS[name]

    def test_file(self, name: str, value: Any, tmp_path: Path) -> None:
        file = tmp_path / "tricorn.toml"
        file.write_text(f"{name} = {'true' if value is True else repr(value)}\n")
        settings = Sources({"config": str(file)}, {}).load()
        assert settings.notes == (self.note(name, value),)
        assert getattr(settings.config, name) == DEFAULTS[name]
