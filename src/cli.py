"""The ``tricorn`` command: one click option for each field of :class:`~tricorn.config.Config`, and nothing of its own.

Click is left to find values (command line first, then the environment) and to print help; what a value means and whether it is
allowed is asked of ``config``, so that every way of setting an option gives the same answer. An operator's mistake is one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from . import __version__, config
from .config import Config, ConfigError

PROG = "tricorn"

EPILOG = (
    "Every option can be set in the environment too, as TRICORN_<NAME>: TRICORN_PORT=9000 is --port 9000. "
    "The command line wins."
)

METAVARS: dict[Any, str] = {"s": "SECONDS", "MiB": "MIB", "bytes": "BYTES", int: "INTEGER", float: "NUMBER", str: "TEXT"}
"""What stands for a value in the help, if it is not one of a few choices: by unit, or else by type."""


def environment_names(name: str) -> list[str]:
    """The environment variables that can set the option ``name``, in the order in which they are read."""
    return [f"TRICORN_{name.upper()}", *config.OPTIONS[name].env]


def _reject(cause: str, param: click.Parameter | None, ctx: click.Context | None) -> click.UsageError:
    """The usage error for ``cause``, which names the variable if the value came from the environment."""
    if param and param.name and ctx and ctx.get_parameter_source(param.name) is ParameterSource.ENVIRONMENT:
        # Click takes the first that is set and not empty, so that one is to blame.
        variable = next(name for name in environment_names(param.name) if os.environ.get(name))
        cause = f"{variable} in the environment: {cause}"
    return click.UsageError(cause, ctx)


class Value(click.ParamType):  # type: ignore[type-arg]  # generic only in recent versions of click
    """One value of the option ``field``: converted and judged by ``config``."""

    def __init__(self, field: str) -> None:
        self.field = field
        self.name = config.scalar_type(field).__name__
        self.envvar_list_splitter = config.OPTIONS[field].separator  # type: ignore[misc]  # a class variable only by annotation

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            converted = config.convert(self.field, value)
            config.check(self.field, converted)
            if self.field == "app":
                check_app(value)
        except ConfigError as error:
            raise _reject(str(error), param, ctx) from None
        return converted

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [part for part in super().split_envvar_value(rv) if part.strip()]


class Switch(click.types.BoolParamType):
    """A flag that is on or off; in the environment 1/0, true/false, yes/no or on/off."""

    def __init__(self, field: str) -> None:
        self.field = field

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            raise _reject(f"{config.flag(self.field)} {value}: must be true or false", param, ctx) from None


def check_app(text: str) -> None:
    """Whether ``text`` can name an application at all; raises ConfigError if not."""
    module, _, attribute = text.partition(":")
    if not module or not attribute:
        raise ConfigError(f"APP {text}: must have the form MODULE:ATTRIBUTE, for example main:app")


def describe(name: str) -> str:
    """The option's help with its default, the default's unit and its further environment variables."""
    known, default = config.OPTIONS[name], config.DEFAULTS[name]
    notes = []
    if isinstance(default, bool):
        if not _one_way(name):
            notes.append(f"default: {'on' if default else 'off'}")
    elif default not in (None, "", ()):
        shown = ", ".join(default) if isinstance(default, tuple) else str(default)
        notes.append(f"default: {shown} {known.unit}" if known.unit else f"default: {shown}")
    notes += [f"env: {variable}" for variable in known.env]
    return f"{known.help}  [{'; '.join(notes)}]" if notes else known.help


def _one_way(name: str) -> bool:
    """Whether a switch has no negative form. As with uvicorn, whose only such flags are those that are off by default."""
    return config.DEFAULTS[name] is False


def build_option(name: str) -> click.Parameter:
    """Click's parameter for the field ``name``."""
    env = environment_names(name)
    if name == "app":
        return click.Argument(["app"], type=Value(name), envvar=env, required=True)
    flag = config.flag(name)
    # No default is given to click: what is not set stays out of the values, and Config, its one home, fills it in.
    if config.OPTIONS[name].worded:
        return click.Option([flag], type=Switch(name), default=None, envvar=env, help=describe(name), metavar="[true|false]")
    if config.scalar_type(name) is bool:
        declaration = flag if _one_way(name) else f"{flag}/--no-{flag[2:]}"
        return click.Option([declaration], type=Switch(name), is_flag=True, default=None, envvar=env, help=describe(name))
    known = config.OPTIONS[name]
    return click.Option(
        [flag],
        type=Value(name),
        multiple=config.is_repeatable(name),
        default=None,
        envvar=env,
        help=describe(name),
        metavar=f"[{'|'.join(known.choices)}]" if known.choices else METAVARS[known.unit or config.scalar_type(name)],
    )


def version() -> str:
    import platform

    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    return f"Running {PROG} {__version__} with {interpreter} on {platform.system()}"


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(version())
        ctx.exit()


def settings_from(values: Mapping[str, Any]) -> Config:
    """The Config of what click found; what was not given is left to Config. Raises ConfigError."""
    return config.configure(**{name: value for name, value in values.items() if value not in (None, ())})


def serve(**values: Any) -> int:
    """The command itself: runs the supervisor and returns its exit code."""
    settings = settings_from(values)
    if not hasattr(os, "fork"):
        raise click.ClickException(f"{PROG} needs os.fork, which {sys.platform} does not have; Linux, macOS and BSD do")
    # Late, so that --help and a usage error do not wait for asyncio and psutil to be imported.
    from .supervisor.run import run
    from .worker import logs

    logs.configure(settings)
    return run(settings)


def build_command() -> click.Command:
    """The whole command, derived from Config's fields."""
    show_version = click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_version,
        help="Show the version and exit.",
    )
    return click.Command(
        PROG,
        callback=serve,
        params=[*(build_option(name) for name in config.OPTIONS), show_version],
        help="Serve the ASGI application APP (MODULE:ATTRIBUTE) from supervised worker processes.",
        epilog=EPILOG,
        context_settings={"max_content_width": 120},
    )


def main(args: Sequence[str] | None = None) -> int:
    """The console script: returns the exit code, having said in one line what was wrong if anything was."""
    try:
        # Click's own standalone mode would print the usage above each error; the one line is all an operator needs.
        code: int = build_command().main(args=args, prog_name=PROG, standalone_mode=False)
        return code or 0
    except click.ClickException as error:
        cause, exit_code = error.format_message(), error.exit_code
    except ConfigError as error:
        cause, exit_code = str(error), error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    print(f"Error: {cause}", file=sys.stderr)
    return exit_code
