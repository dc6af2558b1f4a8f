"""What the ``tricorn`` command does with its settings: serve, or check them."""

from __future__ import annotations

import faulthandler
import logging
import os

from ..config import identity as identities
from ..config.directory import WorkingDirectory
from ..config.directory import check as check_directories
from ..config.identity import Identity
from ..config.options import Config, check_supervisor
from ..config.sources import Settings, Sources, require_app
from ..errors import EXIT_STARTUP, AppError, ConfigError
from ..logs import setup as logs
from ..supervisor.build import check_auxiliaries
from ..supervisor.resources import raise_open_files
from ..supervisor.run import run
from ..supervisor.upgrade.arrival import Arrival
from ..supervisor.upgrade.command import Command, Surroundings, pinned, started_by
from ..worker.interfaces import make_app
from ..worker.main import preload
from . import process_one

logger = logging.getLogger("tricorn.error")


def serve(settings: Settings, sources: Sources) -> int:
    """Serve until told to stop; returns the exit code. A reload reads ``sources`` again. Raises ConfigError."""
    origin = CommandLine(settings.config, sources)
    begin(settings.config, origin)
    _tell(settings)
    return serve_alone(settings.config) if settings.config.workers == 0 else run(settings.config, origin)


class CommandLine:
    """Where the configuration comes from: the command line, and the files and variables beside it."""

    def __init__(self, config: Config, sources: Sources, came: Arrival | None = None) -> None:
        """``came``: what a supervisor has executed us for. Raises ConfigError for ``--user`` and ``--group``."""
        self.identity = identities.of(config)
        """The user that workers run as; None if that is ours."""
        self.directory = WorkingDirectory(sources.home, sources.home)
        if (chdir := config.chdir) is not None:
            self.directory = WorkingDirectory(os.path.join(sources.home, chdir), f"--chdir {chdir}")
        self._earlier = pinned(sources.home)
        self._named = came.named if came is not None else None
        self._sources = sources
        self._log_config = config.log_config

    def load(self) -> Config:
        """The configuration as it is now; logging follows it. Raises ConfigError."""
        config = self._sources.load().config
        require_app(config)
        if config.workers == 0:
            raise ConfigError("--workers 0: takes effect only after a restart, because it means no supervisor")
        self.directory.enter()
        check_directories(config)
        logs.configure(config, self.identity)
        self._log_config = config.log_config
        return config

    def command(self) -> Command:
        """What has to be executed to start this command again, by the names that were used. Raises ConfigError."""
        # A program that was gone back to was executed by the directories of its release.
        return self._named or started_by(self._sources.home)

    def earlier(self) -> Command:
        """The same, by the directories that it was started from."""
        return self._earlier

    def surroundings(self) -> Surroundings:
        """The directory in which it was started, and the environment without the variables of ``--env-file``."""
        return Surroundings(self._sources.environ, self._sources.home)

    def files(self) -> tuple[str, ...]:
        """The paths of the files that :meth:`load` reads."""
        log_config = (os.path.abspath(self._log_config),) if self._log_config is not None else ()
        return (*self._sources.files, *log_config)


def begin(config: Config, origin: CommandLine) -> None:
    """Enter the working directory, and configure logging. Raises ConfigError."""
    origin.directory.enter()
    check_directories(config)
    logs.configure(config, origin.identity)


def _tell(settings: Settings) -> None:
    """Log the notes on the settings."""
    if settings.found:
        logger.info("Found %s in %s", settings.config.app, settings.found)
    for note in settings.notes:
        logger.warning("%s", note)


def serve_alone(config: Config) -> int:
    """Serve in this process, without a supervisor; returns the exit code. Raises ConfigError."""
    from ..embedding.config import from_settings
    from .alone import Alone

    check_supervisor(config, ", which --workers 0 does without")
    preload(config)
    raise_open_files()
    process_one.leave()
    if config.umask is not None:
        os.umask(int(config.umask, 8))
    if not faulthandler.is_enabled():
        # A crash of C code leaves the Python stacks on standard error.
        faulthandler.enable()
    server = Alone(from_settings(config))
    server.take_signals()
    try:
        server.run()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return 0


def check(settings: Settings, sources: Sources) -> int:
    """Check everything that can be checked without serving, and import the application; returns the exit code."""
    origin = CommandLine(settings.config, sources)
    begin(settings.config, origin)
    _tell(settings)
    check_auxiliaries(settings.config)
    preload(settings.config)
    try:
        shared = import_app(settings.config, origin.identity)
    except AppError as error:
        logger.error("%s", error)
        return EXIT_STARTUP
    print(f"The settings are valid, and {settings.config.app} can be imported.")
    if shared:
        print(shared)
    return 0


def import_app(config: Config, identity: Identity | None) -> str:
    """Import the application, and hooks, as ``identity``; returns what workers would share. Raises AppError."""
    if identity is not None:
        # Root must not run the application's code.
        identity.become()
    shared = ""
    if config.preload != "off" and not config.reload:
        from ..worker.preload import examine

        # First, because it sees only what it imports itself.
        shared = examine(config)
    if config.hooks is not None:
        from ..worker.hooks import load

        load(config)
    make_app(config)
    return shared
