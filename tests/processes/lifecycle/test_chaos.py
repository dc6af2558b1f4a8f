"""A short run of the chaos in chaos/: whatever happens to a fleet, each failed request is explained by a kill."""

from __future__ import annotations

import sys

import pytest
from support.harness import Server
from support.mutate import seed

pytest.importorskip("websockets", reason="websockets, one of the clients, is not installed")
if sys.platform != "linux":
    pytest.skip("who held which connection is read from /proc", allow_module_level=True)

from chaos.run import OPTIONS, Chaos

SECONDS = 20


def test_chaos_ends_with_nothing_unexplained() -> None:
    with Server("tests.apps.busy:app", *OPTIONS) as server:
        chaos = Chaos(server, seed())
        chaos.run(SECONDS)
        assert server.stop() == 0
        print(chaos.account, dict(chaos.faults.done))
        assert sum(chaos.account.answered.values()) > 500, str(chaos.account)
