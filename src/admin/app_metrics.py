"""``--app-metrics``: what the application counts with prometheus_client, merged from all workers.

prometheus_client writes a file per process and kind of metric. Left alone, they would pile up, one set for each worker that
ever was. Here the values of a process that is gone are added to one *archive* per kind, a file of the same form, and its files
are removed. The archive is the process number 0.

A fold must count once, also when this process is killed in the middle of it:

1. ``folding-X`` is written: the archive X with what the file adds;
2. the file gets the suffix ``.folded``;
3. ``folding-X`` takes the place of X;
4. the file is removed.

The next process finds how far it came: without the suffix the fold did not happen; with it, it is completed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger("tricorn.error")

MAX_SIZE = 64 * 1024 * 1024
"""Bytes of a file that is read. One of prometheus_client's has some hundred bytes for each label set."""
TRIES, PAUSE = 5, 0.02
"""How often the files are read before the last text is shown instead, and the seconds in between."""
LOOK_EVERY = 0.25
"""Seconds from one look for workers that have gone to the next."""
FOLD_EVERY = 2.0
"""Seconds from one look for other processes that have gone, such as children of workers, to the next."""
_FOLDING, _FOLDED = "folding-", ".folded"

Value = tuple[float, float]
"""A value, and when it was set (for gauges of the mode ``mostrecent``)."""
_SUM: Callable[[Value, Value], Value] = lambda a, b: (a[0] + b[0], 0.0)  # noqa: E731  # one of a table of functions
FOLDS: dict[str, Callable[[Value, Value], Value]] = {
    "counter": _SUM,
    "histogram": _SUM,
    "summary": _SUM,
    "gauge_sum": _SUM,
    "gauge_min": min,
    "gauge_max": max,
    "gauge_mostrecent": lambda a, b: max(a, b, key=lambda value: value[1]),
}
"""How values of two processes become one, by kind. Gauges of other modes tell the state of a process that lives."""


class AppMetrics:
    """The directory of prometheus_client's files. Its methods take long; call them in a thread."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._lock = threading.Lock()
        self._told = ""
        self._texts = {False: "", True: ""}
        """What was shown last, in the older form and as OpenMetrics."""
        self._recover()

    def text(self, workers: Collection[int], openmetrics: bool) -> str:
        """All metrics of the application, as text. ``workers``: the pids of those that live."""
        with self._lock:
            for _ in range(TRIES):
                try:
                    self._fold_all(workers)
                    text = self._texts[openmetrics] = self._collect(openmetrics)
                    return text
                except (OSError, ValueError, RuntimeError, KeyError, IndexError, struct.error) as error:
                    # A worker that starts may have made a file, and not filled it yet.
                    problem = f"{type(error).__name__}: {error}"
                    time.sleep(PAUSE)
            self._tell(f"The application's metrics can't be read: {problem}")
            # No counter may vanish because of that.
            return self._texts[openmetrics]

    def _collect(self, openmetrics: bool) -> str:
        # Late: the package is imported only where it is wanted.
        from prometheus_client import CollectorRegistry, exposition, multiprocess
        from prometheus_client.openmetrics import exposition as newer

        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(self._directory))
        text: str = (newer.generate_latest if openmetrics else exposition.generate_latest)(registry).decode()
        return text.removesuffix("# EOF\n")

    async def keep_folded(self, pids: Callable[[], Collection[int]]) -> None:
        """Add the values of processes that are gone to the archives, for ever. ``pids``: the workers that live."""
        loop = asyncio.get_running_loop()
        known: set[int] = set()
        due = 0.0
        while True:
            workers = set(pids())
            if not known <= workers or loop.time() >= due:
                await loop.run_in_executor(None, self._try_to_fold, workers)
                due = loop.time() + FOLD_EVERY
            known = workers
            await asyncio.sleep(LOOK_EVERY)

    def _try_to_fold(self, workers: Collection[int]) -> None:
        with self._lock, suppress(OSError):
            self._fold_all(workers)

    def _fold_all(self, workers: Collection[int]) -> None:
        for file in sorted(self._directory.glob("*.db")):
            kind, _, process = file.stem.rpartition("_")
            if not process.isdigit():
                # A file that prometheus_client did not write. It must not keep the others from being read.
                file.unlink(missing_ok=True)
                continue
            if int(process) == 0 or int(process) in workers or _lives(int(process)):
                continue
            try:
                self._fold(file, kind)
            except (ValueError, RuntimeError, struct.error) as error:
                # The process was killed while it wrote, or wrote nonsense.
                self._tell(f"The application's metrics in {file.name} can't be read, and are left out: {error}")
                file.unlink(missing_ok=True)

    def _fold(self, file: Path, kind: str) -> None:
        combine = FOLDS.get(kind)
        if combine is None:
            file.unlink()
            return
        archive = self._directory / f"{kind}_0.db"
        values = _read(archive) if archive.exists() else {}
        for key, value in _read(file).items():
            known = values.get(key)
            values[key] = value if known is None else combine(known, value)
        new = self._directory / f"{_FOLDING}{archive.name}"
        _write(new, values)
        folded = file.rename(f"{file}{_FOLDED}")
        new.rename(archive)
        folded.unlink()

    def _recover(self) -> None:
        """Complete the fold in the middle of which the process before us has died, or undo it."""
        folded = list(self._directory.glob(f"*{_FOLDED}"))
        for new in self._directory.glob(f"{_FOLDING}*"):
            if folded:
                new.rename(self._directory / new.name.removeprefix(_FOLDING))
            else:
                new.unlink()
        for file in folded:
            file.unlink()

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            logger.warning("%s", text)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _read(file: Path) -> dict[str, Value]:
    from prometheus_client.mmap_dict import MmapedDict

    if file.stat().st_size > MAX_SIZE:
        raise ValueError("it is too large")
    found = MmapedDict.read_all_values_from_file(str(file))
    return {key: (value, stamp) for key, value, stamp, _ in found}


def _write(file: Path, values: dict[str, Value]) -> None:
    from prometheus_client.mmap_dict import MmapedDict

    file.unlink(missing_ok=True)
    written = MmapedDict(str(file))
    for key, (value, stamp) in values.items():
        written.write_value(key, value, stamp)
    written.close()
