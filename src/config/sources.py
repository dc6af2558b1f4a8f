"""Where the options' values come from: the command line, the environment, a file, and Config's defaults, in this order."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Any

from ..errors import ConfigError
from . import toml_file
from .directory import current
from .env_file import EnvironmentFile
from .frozen import Value
from .options import DEVELOPMENT, OPTIONS, Config, configure


class Settings(Value):
    config: Config
    origins: Mapping[str, str]
    """For people: where the value of each option comes from."""
    notes: tuple[str, ...] = ()
    """What the operator should know of options that do not apply here."""


class Sources:
    """Reads everything afresh each time it is asked, but for the command line."""

    def __init__(self, command_line: Mapping[str, Any], environ: MutableMapping[str, str] | None = None) -> None:
        self._given = {name: value for name, value in command_line.items() if value not in (None, ())}
        self._environ = os.environ if environ is None else environ
        self.home = current()
        """The files are there; with --chdir the process will be elsewhere."""
        self._env_file = EnvironmentFile(self._environ)
        self.files: tuple[str, ...] = ()
        """The paths of the files that :meth:`load` reads; the project's file need not be there."""

    def load(self) -> Settings:
        """All settings as they are now. Raises ConfigError, which names the variable or the file that is to blame.

        Puts into the environment what --env-file says and was not set before, for the application.
        """
        named = self._find("config", {})[0]
        path = toml_file.find(named, self.home)
        file = toml_file.read(path, self.home) if path is not None else {}
        env_file = self._find("env_file", file)[0]
        self._env_file.load(env_file, self.home)
        read = (named or toml_file.PROJECT, env_file)
        self.files = tuple(os.path.normpath(os.path.join(self.home, one)) for one in read if one is not None)
        values: dict[str, Any] = {}
        origins = dict.fromkeys(OPTIONS, "default")
        notes = []
        for name, known in OPTIONS.items():
            value, origin = self._find(name, file, path or "")
            if origin and known.is_inapplicable(value):
                notes.append(f"{known.show(value)}: {known.inapplicable[value]}")
            elif origin:
                values[name], origins[name] = value, origin
        if values.get("reload"):
            origins |= {name: "default with --reload" for name in DEVELOPMENT if name not in values}
        return Settings(configure(**values), origins, tuple(notes))

    def _find(self, name: str, file: Mapping[str, Any], path: str = "") -> tuple[Any, str]:
        """The option's value and where it comes from; an empty origin if nobody sets it."""
        if name in self._given:
            return self._given[name], "command line"
        for variable in OPTIONS[name].variables:
            if text := self._environ.get(variable):
                return self._from_environment(name, variable, text), variable
        if name in file:
            return file[name], path
        return None, ""

    def _from_environment(self, name: str, variable: str, text: str) -> Any:
        known = OPTIONS[name]
        try:
            if not known.is_repeatable:
                return known.read(text)
            # Uvicorn's variables are separated by white space, whatever they hold.
            parts = text.split(None if variable.startswith("UVICORN_") else known.separator)
            return tuple(known.read(part) for part in parts if part.strip())
        except ConfigError as error:
            raise ConfigError(f"{variable} in the environment: {error}") from None


def show(settings: Settings) -> str:
    """Every option's effective value and where it came from, as TOML that can serve as a file of settings."""
    lines = []
    for name, known in OPTIONS.items():
        if not known.in_file:
            continue
        value = getattr(settings.config, name)
        text = f"# {name} is not set" if value is None else f"{name} = {toml(value)}"
        if known.secret and value is not None:
            text = f"# {name} is not shown"
        lines.append(f"{text:<50} # {settings.origins[name]}")
    return "\n".join(lines)


def toml(value: Any) -> str:
    """A value of Config as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(toml(one) for one in value)}]"
    if isinstance(value, str):
        import json

        # JSON's strings are TOML's basic strings.
        return json.dumps(value, ensure_ascii=False)
    return str(value)
