"""Finds the options' values: on the command line, in the environment, in a file, or the defaults, in this order."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from ..errors import ConfigError
from . import app_name, toml_file
from .directory import current
from .env_file import EnvironmentFile
from .frozen import Value
from .options import DEVELOPMENT, OPTIONS, Config, configure

PREFIX = "TRICORN_"
OWN_VARIABLES = ("TRICORN_SLOT",)
"""Variables that Tricorn itself sets for the application."""
SERVICE_VARIABLE = re.compile(r"TRICORN_(SERVICE_HOST|SERVICE_PORT.*|PORT_\d+_(TCP|UDP|SCTP).*)")
"""What Kubernetes sets for a service with the name ``tricorn``."""


class Settings(Value):
    """The configuration, and what to tell the operator about it."""

    config: Config
    origins: Mapping[str, str]
    """The source of each option's value, for people: ``command line``, a variable, a file, ``default``."""
    notes: tuple[str, ...] = ()
    """Notes to the operator about values and variables that have no effect."""
    found: str = ""
    """The file in which the application was found, if the operator named none."""


class Sources:
    """Reads the sources again at each :meth:`load`. Only the command line stays."""

    def __init__(self, command_line: Mapping[str, Any], environ: MutableMapping[str, str] | None = None) -> None:
        self._given = {name: value for name, value in command_line.items() if value not in (None, ())}
        self._environ = os.environ if environ is None else environ
        self.home = current()
        """The directory that paths of files are relative to; with --chdir the process leaves it."""
        self._env_file = EnvironmentFile(self._environ)
        self.files: tuple[str, ...] = ()
        """The paths of the files that :meth:`load` reads; pyproject.toml is named even if it does not exist."""

    @property
    def environ(self) -> dict[str, str]:
        """The environment without the variables of --env-file."""
        return self._env_file.without()

    def load(self) -> Settings:
        """All settings as they are now. Raises ConfigError, which names the variable or file with the mistake.

        Sets the variables of --env-file in the environment, for the application, unless they were set before.
        """
        named = self._find("config", {})[0]
        path = toml_file.find(named, self.home)
        file = toml_file.read(path, self.home) if path is not None else {}
        env_file = self._find("env_file", file)[0]
        self._env_file.load(env_file, self.home)
        self.expect(env_file)
        values: dict[str, Any] = {}
        origins = dict.fromkeys(OPTIONS, "default")
        notes = []
        for name, known in OPTIONS.items():
            value, origin = self._find(name, file, path or "")
            if origin and known.is_inapplicable(value):
                notes.append(f"{known.show(value)}: {known.inapplicable[value]}")
            elif origin:
                values[name], origins[name] = value, origin
        known_app = app_name.complete(values.get("app", ""), values.get("app_dir", ""), self.home)
        if known_app.name != values.get("app", ""):
            values["app"], values["app_dir"] = known_app.name, known_app.directory
            origins["app"] = origins["app"] if not known_app.file else f"found in {known_app.file}"
        if values.get("reload"):
            origins |= {name: "default with --reload" for name in DEVELOPMENT if name not in values}
        notes += environment_notes(self._environ)
        return Settings(configure(**values), origins, tuple(notes), known_app.file)

    def expect(self, env_file: str | None) -> None:
        """Find out which ``files`` are going to be read, if ``env_file`` is still the one that is named."""
        read = (self._find("config", {})[0] or toml_file.PROJECT, env_file)
        self.files = tuple(os.path.normpath(os.path.join(self.home, one)) for one in read if one is not None)

    def load_variables(self, env_file: str | None) -> None:
        """Set the variables of ``env_file``, and read nothing else. Raises ConfigError."""
        self._env_file.load(env_file, self.home)

    def _find(self, name: str, file: Mapping[str, Any], path: str = "") -> tuple[Any, str]:
        """The option's value and its source; the source is empty if nothing sets the option."""
        if name in self._given:
            return self._given[name], "command line"
        for variable in OPTIONS[name].variables:
            if (text := self._environ.get(variable)) and not is_kubernetes(text):
                return self._from_environment(name, variable, text), variable
        if name in file:
            return file[name], path
        return None, ""

    def _from_environment(self, name: str, variable: str, text: str) -> Any:
        known = OPTIONS[name]
        try:
            if not known.is_repeatable:
                return known.read(text)
            # In uvicorn's variables white space separates values, whatever the option.
            parts = text.split(None if variable.startswith("UVICORN_") else known.separator)
            return tuple(known.read(part) for part in parts if part.strip())
        except ConfigError as error:
            raise ConfigError(f"{variable} in the environment: {error}") from None


def require_app(config: Config) -> None:
    """Raises ConfigError if no application was named, and none was found."""
    if not config.app:
        where = "no main.py, app.py or asgi.py with an app or application is here"
        raise ConfigError(f"APP: missing, and {where}; name it as MODULE:ATTRIBUTE, for example: tricorn main:app")


def is_kubernetes(text: str) -> bool:
    """Whether a variable's value is an address that Kubernetes tells of a service, such as ``tcp://10.0.0.1:8000``.

    A service with the name ``tricorn`` gets variables such as TRICORN_PORT in every container, unless its pod has
    ``enableServiceLinks: false``.
    """
    return text.startswith(("tcp://", "udp://", "sctp://"))


def environment_notes(environ: Mapping[str, str]) -> list[str]:
    """What to tell the operator about variables that begin as ours, but set no option."""
    notes = []
    variables = {variable: known for known in OPTIONS.values() for variable in known.variables}
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        if name in variables and is_kubernetes(environ[name]):
            cause = "Kubernetes sets it for a service of that name (enableServiceLinks: false turns that off)"
            notes.append(f"{name}={environ[name]} is ignored: {cause}; use {variables[name].flag}")
        elif name not in variables and name not in OWN_VARIABLES and not SERVICE_VARIABLE.fullmatch(name):
            import difflib

            # Without the prefix, which would make all of them similar.
            ours = [known.removeprefix(PREFIX) for known in variables if known.startswith(PREFIX)]
            close = difflib.get_close_matches(name.removeprefix(PREFIX), ours, 1)
            notes.append(f"{name} in the environment: no such option{f'; is it {PREFIX}{close[0]}?' if close else ''}")
    return notes


def show(settings: Settings) -> str:
    """Every option's effective value and its source, as TOML that can be used as a file of settings."""
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
    """A value of Config in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(toml(one) for one in value)}]"
    if isinstance(value, str):
        import json

        # JSON's strings are TOML's basic strings.
        return json.dumps(value, ensure_ascii=False)
    return str(value)
