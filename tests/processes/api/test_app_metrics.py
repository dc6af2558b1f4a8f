"""``--app-metrics``: the application's own metrics, exact over the lives of its workers."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from support.harness import PATIENCE, Server, get, wait_until

pytest.importorskip("prometheus_client")
from tricorn.admin.app_metrics import AppMetrics

APP = "tests.apps.counting:app"


def metrics(port: str, accept: str = "*/*") -> dict[str, float]:
    with urlopen(Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept}), timeout=PATIENCE) as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_sums_are_exact_and_files_are_few() -> None:
    options = ["--workers", "2", "--admin-bind", "127.0.0.1:0", "--app-metrics", "--limit-max-requests", "10"]
    with Server(APP, "--no-access-log", *options) as server:
        port = server.wait_for_log(r"Admin listener on http://[^:]*:(\d+)").group(1)
        server.wait_for_ready(2)
        asked = 0
        for round_ in range(8):
            for number in range(25):
                answer = get(server.port, f"/x?{round_ * 100 + number}")
                asked += answer.status == 200
            if round_ % 3 == 1:
                # Idle, so nothing is in flight.
                os.kill(int(get(server.port, "/kill").body), signal.SIGKILL)
        wait_until(lambda: metrics(port).get('app_requests_total{path="/x"}') == asked, what=f"{asked} requests")
        found = metrics(port)
        assert found["app_peak"] == 724
        assert found["app_sizes_count"] == found['app_sizes_bucket{le="+Inf"}'] == found['app_sizes_bucket{le="10.0"}']
        assert found["app_sizes_count"] == asked + found['app_requests_total{path="/kill"}']
        assert found["tricorn_workers_wanted"] == 2
        assert found["app_busy"] <= 3
        newer = metrics(port, "application/openmetrics-text")
        assert newer['app_requests_total{path="/x"}'] == asked
        directory = next(path for path in Path("/dev/shm").glob(f"tricorn-metrics-{server.pid}-*"))
        wait_until(lambda: len(list(directory.iterdir())) <= 4 * 3 + 4)
        assert server.stop() == 0
        assert not directory.exists()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the counter of a process that is gone."""
    write(tmp_path / "counter_999999999.db", 3.0)
    return tmp_path


KEY = '["a", "a_total", {}, "help"]'


def write(path: Path, value: float) -> None:
    from prometheus_client.mmap_dict import MmapedDict

    written = MmapedDict(str(path))
    written.write_value(KEY, value, 0.0)
    written.close()


def test_a_worker_that_goes_is_folded_soon(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So recycling leaves no more files than the workers that live have, and the archives."""
    monkeypatch.setattr("tricorn.admin.app_metrics.FOLD_EVERY", 1000.0)

    async def play() -> None:
        pids = [7, 8]
        keeping = asyncio.ensure_future(AppMetrics(str(files)).keep_folded(lambda: pids))
        async with asyncio.timeout(PATIENCE):
            while (files / "counter_999999999.db").exists():
                await asyncio.sleep(0.01)
            write(files / "counter_999999998.db", 4.0)
            pids.remove(7)
            while (files / "counter_999999998.db").exists():
                await asyncio.sleep(0.01)
        keeping.cancel()

    asyncio.run(play())
    assert "a_total 7.0" in AppMetrics(str(files)).text((), False)


def test_a_process_that_is_gone_is_folded_once(files: Path) -> None:
    ours = AppMetrics(str(files))
    for _ in range(3):
        assert "a_total 3.0" in ours.text((), False)
    assert [file.name for file in files.iterdir()] == ["counter_0.db"]
    write(files / "counter_999999998.db", 4.0)
    assert "a_total 7.0" in AppMetrics(str(files)).text((), False)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_fold_that_was_cut_short_counts_once(files: Path, step: int) -> None:
    """``step``: the last that was done; see app_metrics.py."""
    write(files / "folding-counter_0.db", 3.0)
    if step >= 2:
        (files / "counter_999999999.db").rename(files / "counter_999999999.db.folded")
    if step >= 3:
        (files / "folding-counter_0.db").rename(files / "counter_0.db")
    assert "a_total 3.0" in AppMetrics(str(files)).text((), False)
    assert [file.name for file in files.iterdir()] == ["counter_0.db"]


def test_nonsense_is_left_out(files: Path) -> None:
    (files / "counter_999999997.db").write_bytes(b"\xff" * 4096)
    (files / "histogram_999999997.db").write_bytes(b"")
    (files / "rubbish.db").write_bytes(b"x")
    assert "a_total 3.0" in AppMetrics(str(files)).text((), False)
    assert (files / "counter_0.db").exists()
    assert not (files / "counter_999999997.db").exists()
