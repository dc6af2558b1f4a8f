"""An application whose import takes longer than the shortest health check allows."""

import time

from examples.hello import app

print("slow_start imported", flush=True)
time.sleep(3)
__all__ = ["app"]
