"""One option: what is known of it, how text becomes its value, and which values it takes.

``option`` makes one as a field of ``options.Config``. Everything about an option is said there: no other module lists options.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigError
from .frozen import Value
from .packages import how_to_install
from .validators import parse_bytes, parse_mebibytes, parse_seconds, parse_switch, parse_workers

SCALARS: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
"""The types of single values, by how they are written."""


class Option(Value):
    """What is known of an option. Its name and type come from the class that it is a field of."""

    help: str
    default: Any = None
    section: str = ""
    """Its heading in ``--help``, in docs/settings.md and in the man page; by default that of the option before it."""

    # Which values it takes.
    unit: str | None = None
    choices: tuple[str, ...] = ()
    custom: bool = False
    """Whether it takes MODULE:ATTRIBUTE too, beside its choices."""
    minimum: float | None = None
    maximum: float | None = None
    needs_package: Mapping[str, str] = {}
    """The package that a choice needs: it must be installed."""
    parse: Callable[[str], Any] | None = None
    """Makes a value of text, where the type alone does not say how. Raises ValueError."""
    validator: Callable[[Any], str | None] | None = None
    """Finds what is wrong with one value, beyond type, choices and bounds: the cause, or None."""
    inapplicable: Mapping[Any, str] = {}
    """Values that have a meaning for uvicorn only, each with a note for the operator. The default takes their place."""

    # Where it comes from, and how it is shown.
    env: tuple[str, ...] = ()
    """Further environment variables, read if ``TRICORN_<NAME>`` is not set."""
    separator: str | None = None
    """Separates the values of a repeatable option in an environment variable; None is any white space."""
    worded: bool = False
    """Whether this switch takes the word true or false as its value, as uvicorn's does, and has no ``--no-`` form."""
    in_file: bool = True
    """Whether a file of settings may set it."""
    secret: bool = False
    """Whether its value must not be shown."""
    completes: str = "file"
    """What a shell offers where there are no choices: ``file`` or ``dir``."""

    # When it applies.
    development: Any = None
    """Its default with ``--reload``, if that is another."""
    needs_supervisor: bool = False
    """Whether it has no meaning for a server without a supervisor."""
    needs_option: str = ""
    """The option without which it has no meaning."""
    excluded_by: str = ""
    """The option beside which it is a mistake."""
    overruled_by: tuple[str, ...] = ()
    """Options beside which it has no effect, the strongest first."""
    once: bool = False
    """Whether a change needs a restart: a reload keeps the value of the start."""
    preloaded: bool = False
    """Whether it names a file that the supervisor reads before it forks workers: with root's rights, if root started it."""

    # What it is to programs written for uvicorn.
    uvicorn: str = ""
    """Uvicorn's name of the option, if it is another."""
    none: Any = None
    """What None means in a program's ``tricorn.Config``, if not the default."""

    # Filled in by the class that has the option as a field.
    name: str = ""
    annotation: str = ""
    """The type as it is written: ``int``, ``int | None``, ``tuple[str, ...]``."""

    def __set_name__(self, owner: type, name: str) -> None:
        vars(self).update(name=name, annotation=owner.__annotations__[name])

    @property
    def flag(self) -> str:
        """What the operator types."""
        return flag(self.name)

    @property
    def negative_flag(self) -> str | None:
        """What turns a switch off; None for one that is off by default, as with uvicorn."""
        return None if self.default is False else f"--no-{self.flag[2:]}"

    @property
    def keyword(self) -> str:
        """Its name as a keyword of ``tricorn.Config``."""
        return self.uvicorn or self.name

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that can set it, in the order in which they are read."""
        return (f"TRICORN_{self.name.upper()}", f"UVICORN_{self.keyword.upper()}", *self.env)

    @property
    def is_switch(self) -> bool:
        """Whether the flag takes no value."""
        return self.kind is bool and not self.worded

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be given several times. Its value is a tuple."""
        return self.annotation.startswith("tuple[")

    @property
    def kind(self) -> type:
        """The type of one value: ``int`` for ``int | None``, ``str`` for ``tuple[str, ...]``."""
        return SCALARS[self.annotation.removeprefix("tuple[").removesuffix(", ...]").removesuffix(" | None")]

    def show(self, value: Any) -> str:
        """The flag with ``value``, or with each of several values, for messages; only the flag of a switch or a secret."""
        if self.is_switch or self.secret:
            return self.flag
        values = value if isinstance(value, tuple) else (value,)
        return " ".join(f"{self.flag} {one}" for one in values) or self.flag

    def convert(self, text: str) -> Any:
        """One value from the text of a command line or an environment variable. Raises ConfigError."""
        if self.choices:
            # People write INFO; a choice of the application's, MODULE:ATTRIBUTE, stays as it is.
            return text.lower() if text.lower() in (*self.choices, *self.inapplicable) else text
        try:
            return (self.parse or PARSERS.get(self.unit or self.kind, self.kind))(text)
        except (ValueError, OverflowError):
            wanted = WANTED.get(self.parse) or WANTED.get(self.unit) or WANTED.get(self.kind, "something else")
            raise ConfigError(f"{self.flag} {text}: must be {wanted}") from None

    def read(self, text: str) -> Any:
        """As :meth:`convert`, and checked, unless the default will take its place. Raises ConfigError."""
        value = self.convert(text)
        if not self.is_inapplicable(value):
            self.check(value)
        return value

    def is_inapplicable(self, value: Any) -> bool:
        """Whether ``value`` has a meaning for uvicorn only."""
        # A list, because a file may hold what can't be hashed.
        return value in list(self.inapplicable)

    def check(self, value: Any) -> None:
        """Raise ConfigError, which names option, value and cause, if the option can't have this value."""
        if value is None and self.default is None:
            return
        for one in value if self.is_repeatable and isinstance(value, tuple) else (value,):
            for rule in RULES:
                if (cause := rule(self, one)) is not None:
                    raise ConfigError(f"{self.flag} {repr(one) if rule is wrong_type else one}: {cause}")


PARSERS: Mapping[Any, Callable[[str], Any]] = {
    "s": parse_seconds,
    "bytes": parse_bytes,
    "MiB": parse_mebibytes,
    bool: parse_switch,
}
"""What makes a value of text, by the option's unit or else its type; for other types it is the type itself."""
WANTED: Mapping[Any, str] = {
    parse_workers: "a whole number or auto",
    "s": "a number of seconds, or a time such as 500ms, 30s or 5m",
    "bytes": "a number of bytes, or a size such as 64KB or 10MB",
    "MiB": "a number of MiB, or a size such as 512MB or 1GB",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}
"""The same for messages; an option's own parser comes first."""


def option(default: Any, help: str, **details: Any) -> Any:
    """A field of ``options.Config``; ``details`` are further fields of :class:`Option`."""
    return Option(help, default, **details)


def flag(name: str) -> str:
    """What the operator types for the option ``name``."""
    return "APP" if name == "app" else "--" + name.replace("_", "-")


# ------------------------------------------------------------------------------------------------------------------- rules


def wrong_type(option: Option, value: Any) -> str | None:
    """Like every rule: the cause if ``option`` can't have ``value``, else None."""
    types = (int, float) if option.kind is float else option.kind
    # In Python true and false are numbers, too; for an operator they are not.
    fits = isinstance(value, types) and (option.kind is bool or not isinstance(value, bool))
    return None if fits else f"must be of type {option.kind.__name__}"


def infinite(option: Option, value: Any) -> str | None:
    """A number that is infinite or not a number."""
    return "must be a finite number" if option.kind is float and not math.isfinite(value) else None


def refused_by_validator(option: Option, value: Any) -> str | None:
    """A value that the option's own validator refuses."""
    return option.validator(value) if option.validator is not None else None


def no_choice(option: Option, value: Any) -> str | None:
    """A value that is none of the choices."""
    fits = not option.choices or value in option.choices or (option.custom and ":" in value)
    return None if fits else f"must be one of {', '.join(option.choices)}"


def missing_package(option: Option, value: Any) -> str | None:
    """A choice whose package is not installed."""
    package = option.needs_package.get(value)
    if package is None or importlib.util.find_spec(package) is not None:
        return None
    return f"{package} is not installed ({how_to_install(package)})"


def too_small(option: Option, value: Any) -> str | None:
    """A number below the minimum."""
    return f"must be at least {option.minimum}" if option.minimum is not None and value < option.minimum else None


def too_large(option: Option, value: Any) -> str | None:
    """A number above the maximum."""
    return f"must be at most {option.maximum}" if option.maximum is not None and value > option.maximum else None


RULES = (wrong_type, infinite, refused_by_validator, no_choice, missing_package, too_small, too_large)
"""What a value must obey, in this order: later rules rely on its type."""
