#!/usr/bin/env python3
"""Measures the memory that workers share: PSS of all processes of a server, with and without preloading.

python benchmarks/preload.py                       4 workers, 10,000 requests, FastAPI with 300 routes
python benchmarks/preload.py --requests 100000
python benchmarks/preload.py --only app,gunicorn

Run it with the Python to measure. It needs fastapi, sqlalchemy, gunicorn, uvicorn-worker, psutil, uvloop and Tricorn there.
"""

from __future__ import annotations

import argparse
import http.client
import platform
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import processes

RESOURCES, PER_RESOURCE = 60, 5
CLIENTS = 8
ROUNDS = 20
"""Connections that each client opens one after the other, so that all workers get requests."""
SETTLING = 3.0
"""Seconds between the last request and the look: what a process does once it is idle is done then."""

BASE = """
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    pass
"""
MAIN = """
from fastapi import FastAPI
{imports}
app = FastAPI()
{includes}
"""
RESOURCE = '''
"""Resource {number}: a table, its models, and five routes."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field
from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from resources.base import Base


class Item{number}(Base):
    __tablename__ = "item_{number}"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    price: Mapped[float]
    created: Mapped[datetime]
    lines: Mapped[list[Line{number}]] = relationship(back_populates="item")


class Line{number}(Base):
    __tablename__ = "line_{number}"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item_{number}.id"))
    text: Mapped[str]
    item: Mapped[Item{number}] = relationship(back_populates="lines")


class LineModel(BaseModel):
    text: str = Field(min_length=1, max_length=200)
    amount: int = Field(default=1, ge=1)


class ItemIn(BaseModel):
    name: str = Field(min_length=1, max_length=80)
    price: float = Field(gt=0)
    lines: list[LineModel] = []


class ItemOut(ItemIn):
    id: int
    total: float


router = APIRouter(prefix="/r{number}")
KNOWN = [ItemOut(id=n, name=f"item {{n}}", price=n + 1, lines=[LineModel(text="line")], total=n + 1) for n in range(20)]


@router.get("/", response_model=list[ItemOut])
def find(limit: int = Query(10, ge=1, le=20), offset: int = 0) -> list[ItemOut]:
    return KNOWN[offset : offset + limit]


@router.post("/", response_model=ItemOut, status_code=201)
def create(item: ItemIn) -> ItemOut:
    return ItemOut(id=1, total=item.price * sum(line.amount for line in item.lines), **item.model_dump())


@router.get("/sql")
async def sql(name: str = "x") -> dict[str, str]:
    statement = select(Item{number}).join(Line{number}).where(Item{number}.name == name).order_by(Item{number}.created)
    return {{"statement": str(statement)}}


@router.get("/{{id}}", response_model=ItemOut)
async def get(id: int) -> ItemOut:
    if id >= len(KNOWN):
        raise HTTPException(404)
    return KNOWN[id]


@router.put("/{{id}}", response_model=ItemOut)
async def change(id: int, item: ItemIn) -> ItemOut:
    return ItemOut(id=id, total=item.price, **item.model_dump())
'''
TRICORN = "-m tricorn shop:app --port {port} --workers {workers} --no-access-log --timeout-worker-startup 600"
GUNICORN = "-m gunicorn shop:app -k asgi --asgi-loop uvloop --bind 127.0.0.1:{port} --workers {workers} --timeout 600"
UVICORN = GUNICORN.replace("-k asgi --asgi-loop uvloop", "-k uvicorn_worker.UvicornWorker")
SERVERS = {
    "off": TRICORN,
    "packages": f"{TRICORN} --preload packages",
    "app": f"{TRICORN} --preload app",
    "gunicorn-off": GUNICORN,
    "gunicorn": f"{GUNICORN} --preload",
    "uvicorn": f"{UVICORN} --preload",
}


def write_app(folder: Path) -> None:
    package = folder / "resources"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "base.py").write_text(BASE)
    for number in range(RESOURCES):
        (package / f"r{number}.py").write_text(RESOURCE.format(number=number))
    imports = "\n".join(f"from resources import r{number}" for number in range(RESOURCES))
    includes = "\n".join(f"app.include_router(r{number}.router)" for number in range(RESOURCES))
    (folder / "shop.py").write_text(MAIN.format(imports=imports, includes=includes))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_serving(port: int, process: subprocess.Popen[bytes], workers: int) -> None:
    until = time.monotonic() + 600
    while time.monotonic() < until and process.poll() is None:
        try:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            client.request("GET", "/r0/1")
            client.getresponse().read()
        except OSError:
            time.sleep(0.1)
            continue
        if len(processes.tree(process.pid)) > workers:
            return
    raise RuntimeError("the server did not start")


def ask(port: int, requests: int, seed: int) -> None:
    chance = random.Random(seed)
    body = b'{"name": "new", "price": 3.5, "lines": [{"text": "one", "amount": 2}]}'
    for _ in range(ROUNDS):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(requests // ROUNDS):
            base = f"/r{chance.randrange(RESOURCES)}"
            method, path = chance.choice(
                (("GET", f"{base}/"), ("POST", f"{base}/"), ("GET", f"{base}/sql"), ("GET", f"{base}/3"), ("PUT", f"{base}/3"))
            )
            try:
                status = send(client, method, path, body if method in ("POST", "PUT") else None)
            except ConnectionError:
                # It was idle for too long, on a busy machine; some servers also close connections without a word.
                client.close()
                status = send(client, method, path, body if method in ("POST", "PUT") else None)
            assert status < 300, (method, path, status)
        client.close()


def send(client: http.client.HTTPConnection, method: str, path: str, body: bytes | None) -> int:
    client.request(method, path, body, {"content-type": "application/json"})
    answer = client.getresponse()
    answer.read()
    return answer.status


def measure(command: str, folder: Path, workers: int, requests: int) -> tuple[float, float, float, float]:
    """MiB of PSS of all processes before and after so many requests, private MiB per worker after, seconds to the start."""
    port = free_port()
    argv = [sys.executable, *command.format(port=port, workers=workers).split()]
    began = time.monotonic()
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_serving(port, process, workers)
        took = time.monotonic() - began
        time.sleep(SETTLING)
        first = sum(processes.memory(pid).pss for pid in processes.tree(process.pid))
        clients = [threading.Thread(target=ask, args=(port, requests // CLIENTS, seed)) for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        time.sleep(SETTLING)
        sizes = [processes.memory(pid) for pid in processes.tree(process.pid)]
        total = sum(size.pss for size in sizes)
        private = sorted(size.private for size in sizes)[-workers:]
        return first / 2**20, total / 2**20, sum(private) / workers / 2**20, took
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--only", default=",".join(SERVERS), metavar="NAME,...", help=", ".join(SERVERS))
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {options.workers} workers, {options.requests} requests")
    print(f"{'':14}{'PSS at start':>14}{'PSS after':>12}{'of off':>8}{'private per worker':>20}{'start':>8}")
    off = None
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            write_app(Path(folder))
            try:
                first, total, private, took = measure(SERVERS[name], Path(folder), options.workers, options.requests)
            except RuntimeError as error:
                raise SystemExit(f"{name}: {error}:\n{(Path(folder) / 'log').read_text()}") from error
            text = (Path(folder) / "log").read_text()
        if harm := re.findall(r"--preload.*itself", text):
            print(*harm, sep="\n")
        off = total if name == "off" else off
        share = f"{total / off:.2f}" if off else "-"
        print(f"{name:14}{first:10.1f} MiB{total:8.1f} MiB{share:>8}{private:16.1f} MiB{took:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
