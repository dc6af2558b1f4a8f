"""The command for click: one option for each field of ``config.options.Config``.

Click only reads the command line and prints help. The option itself converts and checks its value, so that the command line,
the environment and a file give the same answers. Imported only if a command line is not plain (see quick.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..config.option import Option
from ..config.options import OPTIONS, sections
from ..errors import ConfigError
from ..version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROG = "tricorn"
WIDTH = 120
"""Columns of the help, at most."""

ACTIONS = "Instead of serving"
"""Section of the help for flags that make the command do something else."""
EPILOG = (
    "Every option can also be set in the environment, as TRICORN_<NAME> (TRICORN_PORT=9000 is --port 9000), and in a TOML "
    "file. The command line wins over the environment, and the environment wins over the file. tricornctl shows what a running "
    "server does, and steers it."
)

METAVARS: dict[Any, str] = {
    "s": "SECONDS",
    "MiB": "MIB",
    "bytes": "BYTES",
    "%": "PERCENT",
    "times": "TIMES",
    int: "INTEGER",
    float: "NUMBER",
    str: "TEXT",
}
"""The placeholder for a value without choices, by its unit or else by its type."""


class Value(click.ParamType):  # type: ignore[type-arg]  # generic only in recent versions of click
    """One value of an option, which converts and checks it."""

    def __init__(self, option: Option) -> None:
        self.option = option
        self.name = option.kind.__name__

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value of a text as the option has it. Raises click.UsageError."""
        if not isinstance(value, str):
            return value
        try:
            return self.option.read(value)
        except ConfigError as error:
            raise click.UsageError(str(error), ctx) from None

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """What the shell offers: the choices, or names of files."""
        # Late, because only a shell that completes needs it.
        from click.shell_completion import CompletionItem

        if self.option.choices:
            return [CompletionItem(one) for one in self.option.choices if one.startswith(incomplete)]
        return [CompletionItem(incomplete, type=self.option.completes)]


def value_of(known: Option) -> str:
    """The placeholder for the option's value in the help and the man page."""
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
    """The parameter for click."""
    value = Value(known)
    if known.name == "app":
        # Not required: the environment or a file may name the application.
        return click.Argument([known.name], type=value, required=False, metavar=known.flag)
    # Click gets no defaults, so that the values hold only what was given. Config has the defaults.
    if known.is_switch:
        declaration = known.flag if known.negative_flag is None else f"{known.flag}/{known.negative_flag}"
        return click.Option([declaration], is_flag=True, default=None, help=describe(known))
    metavar = f"[{value_of(known)}]" if known.choices or known.worded else value_of(known)
    return click.Option(
        [known.flag], type=value, multiple=known.is_repeatable, default=None, help=describe(known), metavar=metavar
    )


def version() -> str:
    """What ``--version`` prints: Tricorn, interpreter and system."""
    import platform

    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    return f"Running {PROG} {__version__} with {interpreter} on {platform.system()}"


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(version())
        ctx.exit()


class OperatorsMistake(click.ClickException):
    """A ConfigError as click knows one: it prints the line and exits with the error's code."""

    def __init__(self, error: ConfigError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]  # a class variable only by annotation


class Command(click.Command):
    """A command whose help has sections, and which reports a ConfigError in one line, however it is run."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        rows = {param.name: row for param in self.get_params(ctx) if (row := param.get_help_record(ctx)) is not None}
        for title, names in sections().items():
            with formatter.section(title):
                formatter.write_dl([rows.pop(name) for name in names if name in rows])
        with formatter.section(ACTIONS):
            formatter.write_dl([*rows.values()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line. Raises click.UsageError, which names what stands beside APP, such as in ``run main:app``."""
        beside = super().parse_args(ctx, args)
        if beside and not ctx.resilient_parsing:
            ctx.fail(f"{beside[0]}: APP is given already, as {ctx.params['app']}")
        return beside

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A ConfigError becomes click's one line."""
        try:
            ctx.exit(super().invoke(ctx))
        except ConfigError as error:
            raise OperatorsMistake(error) from None


def text_about(command: click.Command, names: Sequence[str] | None) -> str:
    """The help about the options ``names``, in sections; about everything if it is None."""
    with click.Context(command, info_name=PROG, max_content_width=WIDTH) as context:
        if names is None:
            return f"{command.get_help(context)}\n"
        rows = {param.name: row for param in command.get_params(context) if (row := param.get_help_record(context)) is not None}
        formatter = context.make_formatter()
        for title, members in sections().items():
            if shown := [rows[name] for name in members if name in names and name in rows]:
                with formatter.section(title):
                    formatter.write_dl(shown)
        return formatter.getvalue().lstrip("\n")


def build(serve: Callable[..., int]) -> click.Command:
    """The whole command, derived from the options; it calls ``serve`` with the values, which returns the exit code."""
    actions = [
        click.Option(["--print-config"], is_flag=True, help="Show every option's effective value and its origin, and exit."),
        click.Option(["--check-config"], is_flag=True, help="Check the settings, import the application, and exit."),
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
        help="Serve the ASGI application APP (MODULE:ATTRIBUTE, MODULE or FILE.py) from supervised worker processes.",
        epilog=EPILOG,
        context_settings={"allow_extra_args": True, "max_content_width": WIDTH, "help_option_names": ["-h", "--help"]},
    )
