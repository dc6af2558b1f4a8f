"""How far an order is, for clients that wait for its end. Pure."""

from __future__ import annotations

from typing import Any

from ..phases import Phase
from ..snapshot import Snapshot


def progress(snapshot: Snapshot) -> dict[str, Any]:
    """How many workers of the newest generation are ready, how many are wanted, and how many processes of any age there are."""
    newest = snapshot.generation
    ready = sum(worker.phase is Phase.READY and worker.generation >= newest for worker in snapshot.workers)
    told = {"ready": ready, "wanted": snapshot.wanted, "generation": newest, "workers": len(snapshot.workers)}
    return {**told, "canary": snapshot.canary} if snapshot.canary else told
