"""The command as click has it: one option for each field of :class:`~tricorn.config.Config`, and nothing of its own.

Click is left to read the command line and to print help; what a value means and whether it is allowed is asked of ``config``,
so that every way of setting an option gives the same answer. Imported where a command line is not plain (see plain.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..config.option import Option
from ..config.options import OPTIONS, sections
from ..errors import ConfigError
from ..version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROG = "tricorn"

ACTIONS = "Instead of serving"
"""The section of the help for the options that make the command do something else."""
EPILOG = (
    "Every option can be set in the environment too, as TRICORN_<NAME>: TRICORN_PORT=9000 is --port 9000; and in a file, in "
    "TOML. The command line wins over the environment, and that over the file."
)

METAVARS: dict[Any, str] = {"s": "SECONDS", "MiB": "MIB", "bytes": "BYTES", int: "INTEGER", float: "NUMBER", str: "TEXT"}
"""What stands for a value in the help, if it is not one of a few choices: by unit, or else by type."""


class Value(click.ParamType):  # type: ignore[type-arg]  # generic only in recent versions of click
    """One value of an option, which converts and checks it."""

    def __init__(self, option: Option) -> None:
        self.option = option
        self.name = option.kind.__name__

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self.option.read(value)
        except ConfigError as error:
            raise click.UsageError(str(error), ctx) from None

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Choices for the shell to offer; file names where any value may stand."""
        # Late, for only a shell that completes needs it.
        from click.shell_completion import CompletionItem

        if self.option.choices:
            return [CompletionItem(one) for one in self.option.choices if one.startswith(incomplete)]
        return [CompletionItem(incomplete, type=self.option.completes)]


def value_of(known: Option) -> str:
    """What stands for the option's value in the help and the man page."""
    if known.worded:
        return "true|false"
    return "|".join(known.choices) or METAVARS[known.unit or known.kind]


def describe(known: Option) -> str:
    """The option's help with its default, the default's unit and its further environment variables."""
    default = known.default
    notes = []
    if isinstance(default, bool):
        if known.negative_flag is not None:
            notes.append(f"default: {'on' if default else 'off'}")
    elif default not in (None, "", ()):
        shown = ", ".join(default) if isinstance(default, tuple) else str(default)
        notes.append(f"default: {shown} {known.unit}" if known.unit else f"default: {shown}")
    notes += [f"env: {variable}" for variable in known.env]
    return f"{known.help}  [{'; '.join(notes)}]" if notes else known.help


def build_option(known: Option) -> click.Parameter:
    """Click's parameter for an option."""
    value = Value(known)
    if known.name == "app":
        # Not required: it may stand in the environment or in a file.
        return click.Argument([known.name], type=value, required=False, metavar=known.flag)
    # Click gets no defaults: what is not set stays out of the values, and Config fills it in.
    if known.is_switch:
        declaration = known.flag if known.negative_flag is None else f"{known.flag}/{known.negative_flag}"
        return click.Option([declaration], is_flag=True, default=None, help=describe(known))
    metavar = f"[{value_of(known)}]" if known.choices or known.worded else value_of(known)
    return click.Option(
        [known.flag], type=value, multiple=known.is_repeatable, default=None, help=describe(known), metavar=metavar
    )


def version() -> str:
    import platform

    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    return f"Running {PROG} {__version__} with {interpreter} on {platform.system()}"


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(version())
        ctx.exit()


class OperatorsMistake(click.ClickException):
    def __init__(self, error: ConfigError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]  # a class variable only by annotation


class Command(click.Command):
    """A command with help by subject, in which an operator's mistake is one line, however it is run."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = {param.name: row for param in self.get_params(ctx) if (row := param.get_help_record(ctx)) is not None}
        for title, names in sections().items():
            with formatter.section(title):
                formatter.write_dl([rows.pop(name) for name in names if name in rows])
        with formatter.section(ACTIONS):
            formatter.write_dl([*rows.values()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            ctx.exit(super().invoke(ctx))
        except ConfigError as error:
            raise OperatorsMistake(error) from None


def build(serve: Callable[..., int]) -> click.Command:
    """The whole command, derived from Config's fields; ``serve`` is given the values and returns the exit code."""
    actions = [
        click.Option(["--print-config"], is_flag=True, help="Show every option's effective value and its origin, and exit."),
        click.Option(["--check-config"], is_flag=True, help="Judge the settings, import the application, and exit."),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version and exit.",
        ),
    ]
    return Command(
        PROG,
        callback=serve,
        params=[*map(build_option, OPTIONS.values()), *actions],
        help="Serve the ASGI application APP (MODULE:ATTRIBUTE) from supervised worker processes.",
        epilog=EPILOG,
        context_settings={"max_content_width": 120},
    )
