"""What the command does if a supervisor has executed it: it takes over, or says whether it could (see docs/upgrade.md)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ..config import packages
from ..config.options import Config
from ..config.sources import Sources
from ..errors import ConfigError
from ..supervisor.build import check_auxiliaries
from ..supervisor.run import ConfigReader, run
from ..supervisor.upgrade.arrival import BACK, CHECK, Arrival
from ..supervisor.upgrade.parts import restored_plans, settled_config
from ..supervisor.upgrade.state import restored_config
from ..worker.main import preload
from .serve import CommandLine, begin, import_app

logger = logging.getLogger("tricorn.error")


def go_on(sources: Sources, came: Arrival) -> int:
    """Do what ``came`` asks for; returns the exit code. Raises ConfigError, AppError."""
    first, settled = restored_config(came.state["config"]), settled_config(came.state)
    origin = CommandLine(first, sources, came)
    sources.expect(settled.env_file)
    reader = ConfigReader(first, origin, origin.identity)
    if came.mode == CHECK:
        return _check(first, settled, origin, reader, came)
    # The settings are not read. They may have been broken since, or be meant for the program that has just failed.
    with _tolerant(came):
        _import_reader_of_variables(settled)
        with reader.rights():
            sources.load_variables(settled.env_file)
    begin(settled, origin)
    with _tolerant(came):
        preload(settled)
    return run(first, origin)


def _import_reader_of_variables(config: Config) -> None:
    """Do so before a file is read as the workers' user, who perhaps may not read Python's files. Raises ConfigError."""
    if config.env_file is not None:
        packages.require(f"--env-file {config.env_file}", "dotenv", "python-dotenv")


@contextmanager
def _tolerant(came: Arrival) -> Iterator[None]:
    """If we were gone back to, go on without what fails here: nobody is left to go back to, and the workers serve."""
    try:
        yield
    except ConfigError as error:
        if came.mode != BACK:
            raise
        logger.warning("%s", error)


def _check(first: Config, settled: Config, origin: CommandLine, reader: ConfigReader, came: Arrival) -> int:
    """Find out whether we could take over, and whether workers could start with the settings as they are now."""
    restored_plans(came.state)
    check_auxiliaries(first)
    preload(settled)
    _import_reader_of_variables(settled)
    # For the same reason.
    import tomllib as tomllib

    import_app(reader.read() or first, origin.identity)
    came.answer()
    return 0
