"""Where a supervisor's configuration comes from: a reload reads it again."""

from __future__ import annotations

from typing import Protocol

from ..config.directory import WorkingDirectory
from ..config.options import Config


class Origin(Protocol):
    """The command line, a program's keywords and the files that were read."""

    directory: WorkingDirectory
    """Where the supervisor and all that it forks work."""

    def load(self) -> Config:
        """Enter the directory by its name again, and read the configuration afresh. Raises ConfigError."""

    def files(self) -> tuple[str, ...]:
        """Absolute paths of the files that :meth:`load` reads. With ``--reload``, saving one is a reason to reload."""
