"""What a hung worker says of itself, when its interpreter still runs: the requests in flight and the asyncio tasks."""

from __future__ import annotations

import asyncio
import io
import os
from typing import Protocol

from ..protocols.service import Service


class Subject(Protocol):
    service: Service


subject: Subject | None = None
"""The server of this process."""


def write(fd: int) -> None:
    """Write requests and tasks to ``fd``. Called from a signal handler, between any two byte codes of the main thread."""
    text = io.StringIO()
    service = getattr(subject, "service", None)
    if service is not None:
        for work in list(service.works):
            print(f"Request in flight: {work.describe()}", file=text)
        for task in asyncio.all_tasks(service.loop):
            task.print_stack(file=text)
    os.write(fd, text.getvalue().encode("utf-8", "backslashreplace"))
