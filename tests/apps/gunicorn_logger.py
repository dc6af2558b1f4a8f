"""A logger class of gunicorn's user."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger


class Counting(Logger):  # type: ignore[misc]  # gunicorn has no types
    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        self.info("measured %s %s", environ["PATH_INFO"], resp.status)
