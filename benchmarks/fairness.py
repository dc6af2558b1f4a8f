#!/usr/bin/env python3
"""How evenly keep-alive connections spread over the workers of each server: see harness/sharing.py.

python benchmarks/fairness.py --servers tricorn,tricorn-asyncio,uvicorn --rounds 3

The same as ``bench.py --only`` with all the ``share-`` scenarios; takes the same options.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bench

SCENARIOS = [f"share-{workers}-{case}" for workers in (2, 4, 8) for case in ("64-at-once", "1000-at-once", "64-trickling")]
SERVERS = "tricorn,tricorn-asyncio,uvicorn,uvicorn-asyncio,granian,gunicorn,gunicorn-asyncio,hypercorn"

if __name__ == "__main__":
    sys.exit(bench.main(["--only", ",".join(SCENARIOS), "--servers", SERVERS, "--rounds", "3", *sys.argv[1:]], "fairness.json"))
