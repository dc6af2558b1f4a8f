"""What stands around the main loop: the configuration that a reload reads afresh."""

from __future__ import annotations

import logging

import pytest
from tricorn.config.directory import WorkingDirectory
from tricorn.config.frozen import replace
from tricorn.config.options import Config
from tricorn.errors import ConfigError
from tricorn.supervisor.orders import Reload, Resize
from tricorn.supervisor.run import ConfigReader


class Given:
    """An origin that gives a configuration, or fails as a broken one does."""

    files = tuple

    def __init__(self, config: Config | ConfigError) -> None:
        self.directory = WorkingDirectory(".", "here")
        self._config = config

    def load(self) -> Config:
        if isinstance(self._config, ConfigError):
            raise self._config
        return self._config


OLD, NEW = Config(app="a:b"), Config(app="a:b", port=9000, workers=3)


def test_a_reload_gets_the_new_configuration_and_other_facts_pass() -> None:
    reader = ConfigReader(OLD, Given(NEW))
    assert reader.prepare([Resize(+1), Reload()]) == [Resize(+1), Reload(replace(NEW, port=OLD.port))]


def test_what_a_reload_can_not_change_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="tricorn.error"):
        ConfigReader(OLD, Given(NEW)).prepare([Reload()])
    assert [record.getMessage() for record in caplog.records] == ["--port 9000: takes effect only after a restart"]


def test_a_reload_does_not_change_whose_hooks_are_called(caplog: pytest.LogCaptureFixture) -> None:
    old, new = (replace(OLD, hooks=hooks) for hooks in ("mine", "yours"))
    assert ConfigReader(old, Given(new)).prepare([Reload()]) == [Reload(old)]
    assert "--hooks yours: takes effect only after a restart" in caplog.text


def test_a_broken_configuration_is_told_to_the_fleet_with_the_reload() -> None:
    broken = Given(ConfigError("--workers many: must be a whole number"))
    prepared = ConfigReader(OLD, broken).prepare([Reload(ticket=7), Resize(-1)])
    assert prepared == [Reload(broken="--workers many: must be a whole number", ticket=7), Resize(-1)]


def test_without_a_way_to_read_it_the_configuration_stays() -> None:
    assert ConfigReader(OLD, None).prepare([Reload()]) == [Reload()]
