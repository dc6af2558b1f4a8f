"""A fixed budget of the fuzzing in fuzz/: made-up clients against a whole connection."""

from __future__ import annotations

import asyncio
import logging

import pytest
from fuzz.connection import fuzz
from support.mutate import SECONDS, seed

ROUNDS = 1_500


def test_no_client_breaks_a_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "tricorn.error")
    count = asyncio.run(fuzz(seed(), float(SECONDS) if SECONDS else None, None if SECONDS else ROUNDS))
    assert count >= ROUNDS or SECONDS
