"""The ``tricorn`` command: a command line becomes settings, and what they ask for is done. An operator's mistake is one line.

A plain command line is read by ``plain``, any other by click (``command``), which takes a while to import and prints help, too.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any

from ..supervisor import early

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

COMPLETION = "_TRICORN_COMPLETE"
"""The variable through which a shell asks click to complete a command line."""


def serve(print_config: bool = False, check_config: bool = False, **values: Any) -> int:
    """The command itself: does what it is told; returns the exit code of that. Raises ConfigError."""
    from ..config.sources import Sources, show
    from ..errors import EXIT_FAILED, ConfigError

    sources = Sources(values)
    settings = sources.load()
    if print_config or check_config:
        early.forget()
    if print_config:
        print(show(settings))
        return 0
    if not settings.config.app:
        raise ConfigError("APP: missing; name the application as MODULE:ATTRIBUTE, for example: tricorn main:app")
    if not hasattr(os, "fork"):
        print(f"Error: tricorn needs os.fork, which {sys.platform} does not have; Linux, macOS and BSD do", file=sys.stderr)
        return EXIT_FAILED
    # What is imported stays, so looking through it for garbage, again and again while it grows, is in vain.
    gc.disable()
    # Late, so that --help and a usage error do not wait for asyncio to be imported.
    from . import serve as start

    gc.freeze()
    gc.enable()
    return (start.check if check_config else start.serve)(settings, sources)


def build_command() -> click.Command:
    """The command as click has it."""
    from . import command

    return command.build(serve)


def open_missing_streams() -> None:
    """Give the process the standard streams that its parent has closed: else a listener could become standard output."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free descriptor is the one that is missing (open(2)).
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


def main(args: Sequence[str] | None = None) -> int:
    """The console script: returns the exit code, having said in one line what was wrong if anything was."""
    open_missing_streams()
    early.listen()
    # Only now, so that no signal of the first moment is missed.
    from ..errors import EXIT_INTERRUPTED, ConfigError
    from . import quick as plain

    try:
        given = plain.read(sys.argv[1:] if args is None else args) if COMPLETION not in os.environ else None
        return serve(**given) if given is not None else run_by_click(args)
    except ConfigError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def run_by_click(args: Sequence[str] | None) -> int:
    """Read and run any command line at all."""
    import click

    from ..errors import EXIT_INTERRUPTED

    try:
        # Click's own standalone mode would print the usage above each error; the one line is all an operator needs.
        code: int = build_command().main(args=args, prog_name="tricorn", standalone_mode=False)
        return code or 0
    except click.ClickException as error:
        print(f"Error: {error.format_message()}", file=sys.stderr)
        return error.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
