"""What makes a test a fast one: no process, no address."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import Any, NoReturn

import pytest


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError("a test in tests/unit or tests/simulation uses a process or an address: move it to tests/processes")


@pytest.fixture(autouse=True)
def no_processes_and_no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that starts a process, or gives a socket an address. An event loop's own pair of sockets has none."""
    monkeypatch.setattr(subprocess, "Popen", _refuse)
    monkeypatch.setattr(os, "fork", _refuse)
    for method in ("bind", "connect", "connect_ex", "listen"):
        monkeypatch.setattr(socket.socket, method, _refuse, raising=False)
