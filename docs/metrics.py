"""Write docs/metrics.md from the table of tricorn.metrics:  python docs/metrics.py > docs/metrics.md"""

from tricorn.ipc.counts import BOUNDS, METHODS
from tricorn.metrics.gather import EXITS, PHASES, RESULTS
from tricorn.metrics.table import METRICS

INTRODUCTION = """# Metrics

*Written from `src/metrics/table.py` by `docs/metrics.py`; change the metrics there.*

[The admin listener](admin.md) shows them at `/metrics`, for Prometheus. `tricornctl metrics` prints them without one.

Counters are exact. Each worker writes them to shared memory as a response ends. When a worker is gone, what it counted is added
to the totals. So no counter ever runs backwards: not over crashes, recycling and reloads, and not over `kill -9`. What was in
flight when a worker was killed may be missing. A WebSocket is in flight while it is open: what it counts is written once a
second, and when it ends. There are no files, and no labels of processes.

| metric | type | labels | what it is |
|---|---|---|---|"""

VALUES = f"""
## Labels

| label | values |
|---|---|
| `method` | {", ".join(f"`{method}`" for method in METHODS)}; all others are `other`: clients make up any number |
| `status` | the exact status; `499` is a client that left before it had its response |
| `protocol` | `http1`, `http2`, `websocket` |
| `direction` | `received`, `sent` |
| `phase` | {", ".join(f"`{phase}`" for phase in PHASES)} |
| `reason` | {", ".join(f"`{reason}`" for reason in EXITS)} |
| `result` | {", ".join(f"`{result}`" for result in RESULTS)} |
| `listener` | its address |

The histogram has the bounds {", ".join(f"{bound:g}" for bound in BOUNDS)} seconds. Its count is always that of the requests.
A WebSocket is no request. What the admin listener itself answers counts nowhere. Of more than 245 pairs of method and status in
one worker, the further ones have the status `other`.

## Why a worker ended

| reason | what happened |
|---|---|
| `crash` | it ended by itself while it served, or broke the rules of its channel |
| `oom` | the kernel killed it because the cgroup's memory was used up |
| `hang` | its event loop did not turn for `--timeout-worker-healthcheck` |
| `startup` | it did not become ready |
| `requests`, `lifetime`, `memory` | `--limit-max-requests`, `--limit-max-lifetime`, `--limit-max-rss` |
| `reload` | a newer worker took its place |
| `resize`, `stop` | fewer workers were wanted; the server stopped |
"""


def page() -> str:
    rows = [
        f"| `{metric.name}` | {metric.type.value} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
        for metric in METRICS.values()
    ]
    return "\n".join([INTRODUCTION, *rows]) + "\n" + VALUES


if __name__ == "__main__":
    print(page(), end="")
