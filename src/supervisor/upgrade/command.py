"""How this program was started, and is to be executed again: by the same names, which may lead to newer files now."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from ...config.frozen import Value
from ...errors import ConfigError

HASH_BANG = b"#!"
"""With it a script begins that the kernel can execute (execve(2))."""
MAX_LINE = 256
"""Bytes of that line that the kernel reads."""
BEGINNING = 60.0
"""Seconds that a program has to take over. The check before took as long, but for the import of the application, and it takes
half a second; on a machine under heavy load some seconds."""


class Command(Value):
    """A program with its arguments."""

    path: str
    """Absolute."""
    arguments: tuple[str, ...]
    """The first is the program's own name."""

    def state(self) -> list[object]:
        """All of it, fit for JSON."""
        return [self.path, [*self.arguments]]

    @classmethod
    def restored(cls, state: Sequence[object]) -> Command:
        """The command whose :meth:`state` that is."""
        path, arguments = state
        assert isinstance(path, str)
        assert isinstance(arguments, list)
        return cls(path, tuple(map(str, arguments)))

    def execute(self, environ: Mapping[str, str], directory: str) -> NoReturn:
        """Become this program. All signals must be blocked (signal(7)). Raises OSError, and then the directory has changed.

        A timer ends it with SIGALRM, unless it begins in time and stops the timer.
        """
        os.chdir(directory)
        # The timer outlasts execve (setitimer(2)). The new program handles it; before that, it ends a process that hangs.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, BEGINNING)
        try:
            os.execve(self.path, self.arguments, environ)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


class Surroundings(Value):
    """What a program is executed in."""

    environ: Mapping[str, str]
    directory: str


def started_by(home: str) -> Command:
    """What was executed to start this process, in the directory ``home``. Raises ConfigError if that is not known.

    A script that the kernel executes by its first line is executed that way again: the line may name another interpreter now.
    Anything else is executed by the path of the interpreter, ``sys.executable``, which may be a link to another Python now.
    """
    words = sys.orig_argv
    if not sys.executable or not words:
        raise ConfigError("the path of the Python interpreter is not known")
    if (index := _index_of_script(words)) is not None:
        path = os.path.join(home, words[index])
        first_line = _first_line(path)
        # The kernel passes all that follows the interpreter as one argument.
        if first_line is not None and first_line[1:] == words[1:index]:
            return Command(path, tuple(words[index:]))
    return Command(sys.executable, (sys.executable, *words[1:]))


def pinned(home: str) -> Command:
    """The same command by the directories that it runs from now, whatever links lead elsewhere later.

    Only the directories are looked up: an environment's ``python`` is a link, and finds its packages by where that link is.
    """
    words = [*sys.orig_argv]
    if (index := _index_of_script(words)) is not None:
        words[index] = _in_real_directory(os.path.join(home, words[index]))
    path = _in_real_directory(sys.executable)
    return Command(path, (path, *words[1:]))


def _in_real_directory(path: str) -> str:
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _index_of_script(words: Sequence[str]) -> int | None:
    """Where the script's path stands; None if it was no script, as with ``python -m``."""
    script = sys.argv[0]
    return words.index(script, 1) if script and not script.startswith("-") and script in words[1:] else None


def interpreter_of(path: str) -> str | None:
    """The path of the interpreter in a script's first line; None if the kernel executes the file at ``path`` itself."""
    first_line = _first_line(path)
    return first_line[0] if first_line is not None else None


def _first_line(path: str) -> list[str] | None:
    """Interpreter and perhaps its argument, of a script's first line; None if the kernel can't execute the script."""
    try:
        with open(path, "rb") as file:
            line = file.readline(MAX_LINE)
    except OSError:
        return None
    if not line.startswith(HASH_BANG) or not os.access(path, os.X_OK):
        return None
    return os.fsdecode(line[len(HASH_BANG) :]).strip().split(maxsplit=1) or None
