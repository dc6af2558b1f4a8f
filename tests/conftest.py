"""What all tests share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_options_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have set Tricorn's own environment variables; tests must not read them."""
    for name in list(os.environ):
        if name.startswith("TRICORN_") or name == "WEB_CONCURRENCY":
            monkeypatch.delenv(name)
