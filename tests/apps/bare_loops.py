"""Event loops that show nothing of their inner parts, as a later release of theirs may not, for ``--loop``."""

from __future__ import annotations

import asyncio
import selectors

import uvloop


class _Closed(uvloop.Loop):
    @property
    def _get_backend_id(self) -> object:
        raise AttributeError("not in this release")


def closed_uvloop() -> asyncio.AbstractEventLoop:
    """Nobody learns in which epoll it waits."""
    return _Closed()


def poll() -> asyncio.AbstractEventLoop:
    """It has no epoll."""
    return asyncio.SelectorEventLoop(selectors.PollSelector())
