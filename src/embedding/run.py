"""``tricorn.run``: serves in this process or, with several workers, by a supervisor."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any

from ..errors import EXIT_STARTUP, ConfigError
from ..worker.loader import refuse_at_import
from .config import Config
from .launch import launch
from .server import Server

logger = logging.getLogger("tricorn.error")


def run(app: Any, *, app_dir: str | None = None, **keywords: Any) -> None:
    """Serve ``app`` until told to stop; ``keywords`` are those of :class:`Config` and the names of Tricorn's options.

    With several workers, or ``reload``, ``app`` must be MODULE:ATTRIBUTE. Then it is served by another process, which has
    imported nothing of the program. Exits with the command's code if it can't be served. Raises AppError when an application
    calls this function while it is imported.
    """
    refuse_at_import("tricorn.run")
    known = set(Config.__dataclass_fields__)
    further = {name: value for name, value in keywords.items() if name not in known}
    if app_dir is not None:
        further["app_dir"] = app_dir
        sys.path.insert(0, app_dir)
    kept = {name: value for name, value in keywords.items() if name in known}
    kept["options"] = {**kept.get("options", {}), **further}
    try:
        code = _run(Config(app, **kept))
    except ConfigError as error:
        logger.error("%s", error)
        code = error.exit_code
    if code:
        sys.exit(code)


def _run(config: Config) -> int:
    if not config.use_subprocess:
        server = Server(config)
        # Ctrl-C has been answered by then.
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
        return 0 if server.started else EXIT_STARTUP
    if not isinstance(config.app, str):
        logger.error("With reload or several workers the application must be named: MODULE:ATTRIBUTE")
        return EXIT_STARTUP
    return launch(config)
