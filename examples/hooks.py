"""Hooks: functions that Tricorn calls when workers and the fleet start and stop. From the root of a checkout:

tricorn examples.hello:app --workers 4 --hooks examples.hooks:Hooks
"""

import os
from pathlib import Path

from tricorn.hooks import Fleet, Worker

FILE = Path(os.environ.get("ADDRESS_FILE", "/tmp/tricorn-addresses"))


class Hooks:
    """Tells others the addresses while the fleet serves, and which worker crashed."""

    def on_worker_start(self, worker: Worker) -> None:
        # In the worker, before the application is imported.
        print(f"slot {worker.slot}: process {worker.pid} begins", flush=True)

    def on_worker_exit(self, worker: Worker) -> None:
        # In the hook runner, because the worker is gone.
        if worker.exit_code:
            print(f"slot {worker.slot}: {worker.cause}; here a pager would ring", flush=True)

    async def on_fleet_ready(self, fleet: Fleet) -> None:
        FILE.write_text("\n".join(fleet.addresses))

    async def on_fleet_stopping(self, fleet: Fleet) -> None:
        FILE.unlink(missing_ok=True)
