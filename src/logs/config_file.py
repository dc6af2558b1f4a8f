"""``--log-config``: a file that configures Python's logging, in place of Tricorn's own log.

Such files are often written for uvicorn. So the names of its formatters stand for ours, and the configuration of its loggers
applies to ours.
"""

from __future__ import annotations

import logging
from typing import Any

from ..config import packages, text_file
from ..errors import ConfigError

OURS, THEIRS = "tricorn", "uvicorn"
NAMES = ("", ".error", ".access")
"""Ends of the loggers' names, behind the package's name."""


def release() -> None:
    """Undo an earlier configuration of our loggers and uvicorn's."""
    for package in (OURS, THEIRS):
        for name in NAMES:
            logger = logging.getLogger(package + name)
            logger.handlers.clear()
            logger.setLevel(logging.NOTSET)
            logger.propagate = True


def apply_file(path: str) -> None:
    """Configure logging as the file says. Its name ends with ``.json``, ``.yaml`` or ``.yml``; any other is an ini file.

    Raises ConfigError.
    """
    # Late here and below, because importing it takes as long as a worker's start, and few servers need it.
    import configparser
    import logging.config

    try:
        text = _rename(text_file.read(path))
        if path.endswith(".json"):
            import json

            logging.config.dictConfig(json.loads(text))
        elif path.endswith((".yaml", ".yml")):
            logging.config.dictConfig(_parse_yaml(path, text))
        else:
            parser = configparser.RawConfigParser()
            parser.read_string(text, path)
            logging.config.fileConfig(parser, disable_existing_loggers=False)
    except OSError as error:
        raise ConfigError(f"--log-config {path}: {error.strerror or error}") from None
    except ConfigError:
        raise
    except Exception as error:
        # The constructor of a formatter or a handler may raise anything. logging wraps the error; its cause says more.
        cause = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
        raise ConfigError(f"--log-config {path}: {cause}") from None
    follow()


def apply_dict(settings: dict[str, Any], use_colors: bool | None) -> None:
    """Configure logging by :func:`logging.config.dictConfig`. ``use_colors`` is for the formatters that uvicorn has."""
    import logging.config

    renamed = _rename_in(settings)
    if use_colors is not None:
        for formatter in (renamed.get("formatters", {}).get(name) for name in ("default", "access")):
            if formatter is not None:
                formatter["use_colors"] = use_colors
    logging.config.dictConfig(renamed)
    follow()


def apply_ini(settings: Any) -> None:
    """Configure logging by :func:`logging.config.fileConfig`, from a parser or an open file."""
    import logging.config

    logging.config.fileConfig(settings, disable_existing_loggers=False)
    follow()


def _parse_yaml(path: str, text: str) -> dict[str, Any]:
    packages.require(f"--log-config {path}", "yaml", "PyYAML")
    import yaml

    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


def _rename(text: str) -> str:
    return text.replace(f"{THEIRS}.logging.", f"{OURS}.logging.")


def _rename_in(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rename_in(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rename_in(one) for one in value]
    return _rename(value) if isinstance(value, str) else value


def follow() -> None:
    """Configure each of our loggers like uvicorn's of the same name, if only that one is configured."""
    for name in NAMES:
        ours, theirs = logging.getLogger(OURS + name), logging.getLogger(THEIRS + name)
        # A file disables the loggers that it does not name, unless it says otherwise.
        ours.disabled = False
        if not is_configured(ours) and is_configured(theirs):
            ours.handlers[:] = theirs.handlers
            ours.setLevel(theirs.level)
            ours.propagate = theirs.propagate


def is_configured(logger: logging.Logger) -> bool:
    """Whether the logger has a handler, a level, or does not propagate."""
    return bool(logger.handlers or logger.level or not logger.propagate)
