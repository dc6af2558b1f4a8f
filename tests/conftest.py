"""What all tests share."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.play import Clock

# A shell lets what it starts in the background ignore these, and so does nohup. The processes under test would inherit that.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _no_options_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have set Tricorn's own environment variables; tests must not read them."""
    for name in list(os.environ):
        if name.startswith(("TRICORN_", "UVICORN_")) or name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
            monkeypatch.delenv(name)


def is_pytests(handler: logging.Handler) -> bool:
    return type(handler).__module__.startswith("_pytest")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Logging is the whole process's: what one test configures must not hide from the next what it looks for."""
    names = ("", *(f"{package}{name}" for package in ("tricorn", "uvicorn") for name in ("", ".error", ".access")))
    before = [(one, one.handlers[:], one.level, one.propagate) for one in map(logging.getLogger, names)]
    yield
    for one, handlers, level, propagate in before:
        # pytest puts handlers of its own at the root for each phase of a test.
        if one.name == "root":
            handlers = [handler for handler in one.handlers if handler in handlers or is_pytests(handler)]
        one.handlers[:] = handlers
        one.level, one.propagate = level, propagate


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Says when messages come without a pause; it stands still unless the test moves it."""
    clock = Clock()
    for module in ("exchange", "writer", "http1.stream"):
        monkeypatch.setattr(f"tricorn.protocols.{module}.monotonic", clock)
    return clock


def pytest_configure() -> None:
    """Die of SIGTERM as of an exception, so that tests which are under way clean up their processes."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # As all chance in the tests (see mutate.seed): the same examples every time, unless another seed is asked for; and however
    # long a busy machine takes to think of them.
    settings.register_profile(
        "tricorn", derandomize="TRICORN_SEED" not in os.environ, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("tricorn")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody can enter; pytest's own is closed to other users."""
    made = Path(tempfile.mkdtemp(prefix="tricorn-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)
