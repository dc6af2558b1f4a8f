"""The ``tricorn`` command: reads the command line and the settings, and serves. An operator's mistake is reported in one line.

``quick`` reads a plain command line. Click (``command``), which takes a while to import, reads any other and prints help.
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

HELP = ("-h", "--help", "--help-all")
DEVELOPING = ("--reload", "--reload-browser")
"""What the word ``dev`` stands for."""
COMPLETION = "_TRICORN_COMPLETE"
"""A shell sets this variable when it asks click to complete a command line."""


def serve(print_config: bool = False, check_config: bool = False, **values: Any) -> int:
    """Run the command with the options ``values``; returns the exit code. Raises ConfigError."""
    from ..config.sources import Sources, require_app, show
    from ..errors import EXIT_FAILED
    from ..supervisor.upgrade import arrival

    sources = Sources(values)
    if (came := arrival.current()) is not None:
        from . import successor

        return successor.go_on(sources, came)
    settings = sources.load()
    if print_config or check_config:
        early.forget()
    if print_config:
        print(show(settings))
        return 0
    require_app(settings.config)
    if not hasattr(os, "fork"):
        print(f"Error: tricorn needs os.fork, which {sys.platform} does not have; Linux, macOS and BSD do", file=sys.stderr)
        return EXIT_FAILED
    # Imported modules stay, so garbage collections while we import would find nothing.
    gc.disable()
    # Late, so that --help and usage errors need not import asyncio.
    from . import serve as start

    gc.freeze()
    gc.enable()
    return (start.check if check_config else start.serve)(settings, sources)


def build_command() -> click.Command:
    """The command for click; ``tricorn.main`` in Python."""
    from . import command

    return command.build(serve)


def open_missing_streams() -> None:
    """Open the standard streams that the parent has closed; otherwise a listener could get the number of standard output."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            # open(2) returns the lowest free descriptor, which is the missing one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


def main(args: Sequence[str] | None = None) -> int:
    """The console script: returns the exit code. It prints what is wrong, if anything is, in one line."""
    open_missing_streams()
    is_upgrade = early.UPGRADE in os.environ
    if not is_upgrade:
        early.listen()
    # Imported only now, so that no early signal is missed.
    from ..errors import EXIT_INTERRUPTED, ConfigError

    try:
        if is_upgrade:
            from ..supervisor.upgrade import arrival

            return arrival.guarded(lambda: obey(args), os.environ)
        return obey(args)
    except ConfigError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def obey(args: Sequence[str] | None) -> int:
    """Do what the command line says; returns the exit code. Raises ConfigError."""
    from . import quick

    words = list(sys.argv[1:] if args is None else args)
    if COMPLETION in os.environ:
        return run_by_click(args)
    if any(word in HELP for word in words):
        return show_help(words)
    words = developing(words)
    given = quick.read(words)
    return serve(**given) if given is not None else run_by_click(words)


def developing(words: list[str]) -> list[str]:
    """The command line ``words`` with what its first word ``dev`` stands for."""
    return [*DEVELOPING, *words[1:]] if words[:1] == ["dev"] else words


def show_help(words: Sequence[str]) -> int:
    """Print the help that ``words`` ask for. Raises ConfigError for an unknown topic."""
    from . import help

    def describe(names: Sequence[str] | None) -> str:
        from . import command

        return command.text_about(build_command(), names)

    early.forget()
    print(help.show(help.read(words) or "", describe), end="")
    return 0


def run_by_click(args: Sequence[str] | None) -> int:
    """Read any command line by click, and run it; returns the exit code. Raises ConfigError."""
    import click

    from ..errors import EXIT_INTERRUPTED, ConfigError

    try:
        # Click's standalone mode would print the usage above each error.
        code: int = build_command().main(args=args, prog_name="tricorn", standalone_mode=False)
        return code or 0
    except click.ClickException as error:
        raise ConfigError(error.format_message()) from None
    except click.Abort:
        return EXIT_INTERRUPTED
