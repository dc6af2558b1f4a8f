"""The limit of open files: a server raises its own, a program that embeds one keeps its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.harness import ROOT, Server, environment
from tricorn.supervisor.resources import MAX_FILES

PROBE = "tests.apps.probe:app"
SOFT = 500
EMBEDDED = """
import asyncio, resource, tricorn
resource.setrlimit(resource.RLIMIT_NOFILE, (500, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
server = tricorn.Server(tricorn.Config("tests.apps.probe:app", port=0, log_level="error"))
async def main():
    serving = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    server.should_exit = True
    await serving
asyncio.run(main())
"""


def soft_limit(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max open files"))
    return int(line.split()[3])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells another process's limits")
@pytest.mark.parametrize("workers", [0, 2])
def test_the_soft_limit_is_raised(workers: int) -> None:
    server = Server(PROBE, "--workers", str(workers))
    server.command = ["/bin/sh", "-c", f'ulimit -Sn {SOFT}; exec "$@"', "sh", *server.command]
    with server:
        server.wait_for_log("ready in|running on")
        wanted = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], MAX_FILES)
        assert wanted > SOFT
        assert {soft_limit(pid) for pid in (server.pid, *server.workers())} == {wanted}


def test_an_embedding_program_keeps_its_own() -> None:
    command = [sys.executable, "-c", EMBEDDED]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert str(SOFT) in done.stdout.splitlines()
