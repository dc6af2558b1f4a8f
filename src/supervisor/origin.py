"""Where a supervisor's configuration comes from: a reload reads it again."""

from __future__ import annotations

from typing import Protocol

from ..config.directory import WorkingDirectory
from ..config.options import Config
from .upgrade.command import Command, Surroundings


class Origin(Protocol):
    """The command line, a program's keywords and the files that were read."""

    directory: WorkingDirectory
    """Where the supervisor and all that it forks work."""

    def load(self) -> Config:
        """Enter the directory by its name again, and read the configuration afresh. Raises ConfigError."""

    def files(self) -> tuple[str, ...]:
        """Absolute paths of the files that :meth:`load` reads. With ``--reload``, saving one is a reason to reload."""


class Start(Origin, Protocol):
    """An origin that can also start the supervisor again, by executing a program in its place."""

    def command(self) -> Command:
        """What has to be executed to start this supervisor again, by the names that were used. Raises ConfigError."""

    def earlier(self) -> Command:
        """The same, by the directories that it was started from."""

    def surroundings(self) -> Surroundings:
        """The directory in which it was started, and the environment without what was read from files."""
