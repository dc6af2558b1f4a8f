"""Lets Starlette and FastAPI do in the template what they would do at the first request of each worker.

FastAPI completes the routes of included routers when a request is first compared with them. For 300 routes that takes more than
a second, and 8 MiB in each worker. So they are compared once with a request that none of them expects. That calls neither
the application nor its middleware.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

logger = logging.getLogger("tricorn.error")

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/tricorn compares routes",
    "root_path": "",
    "query_string": b"",
    "headers": [],
}
"""The request."""


def complete_routes(app: Any) -> None:
    """Complete the routes of ``app``, if it is an application of Starlette or FastAPI. What fails is left to the workers."""
    applications = sys.modules.get("starlette.applications")
    if applications is None or not isinstance(app, applications.Starlette):
        return
    try:
        _compare(app.routes, app)
    except Exception as error:
        logger.debug("Template: completing the routes fails: %s: %s", type(error).__name__, error)


def _compare(routes: Iterable[Any], app: Any) -> None:
    for route in routes:
        route.matches({**SCOPE, "app": app, "headers": []})
        # Those of a mounted application.
        _compare(getattr(route, "routes", None) or (), app)
