"""A fixture for pytest. In ``conftest.py``: ``pytest_plugins = ["tricorn.pytest_plugin"]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from .testing import Running, serve


@pytest.fixture(scope="session")
def tricorn_serve() -> Iterator[Callable[..., Running]]:
    """Serves applications until the session ends: ``tricorn_serve(app).url``; arguments as of ``tricorn.testing.serve``."""
    with ExitStack() as stack:
        yield lambda app, **options: stack.enter_context(serve(app, **options))
