"""What the ``tricorn`` command does with its settings: serve, or judge them."""

from __future__ import annotations

import logging

from .config import Config
from .protocols.asgi import AppError
from .sources import Settings, Sources
from .supervisor.run import run
from .worker import logs
from .worker.interfaces import make_app
from .worker.run import preload

logger = logging.getLogger("tricorn.error")

START_FAILED = 3


def serve(settings: Settings, sources: Sources) -> int:
    """Run the supervisor; returns its exit code. ``sources`` are read again on a reload. Raises ConfigError."""
    logs.configure(settings.config)
    for note in settings.notes:
        logger.warning("%s", note)

    def load() -> Config:
        config = sources.load().config
        logs.configure(config)
        return config

    return run(settings.config, load)


def check(settings: Settings, sources: Sources) -> int:
    """Judge all that can be judged without serving, and import the application; returns the exit code."""
    logs.configure(settings.config)
    for note in settings.notes:
        logger.warning("%s", note)
    preload(settings.config)
    try:
        make_app(settings.config)
    except AppError as error:
        logger.error("%s", error)
        return START_FAILED
    print(f"The settings are valid, and {settings.config.app} can be imported.")
    return 0
