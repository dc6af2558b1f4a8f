"""How a template forks workers, and what each of them must have of its own.

Workers are children of the supervisor. The template forks twice, and the process in between exits at once. So the kernel gives
the worker to the supervisor, which has asked to reap it (``PR_SET_CHILD_SUBREAPER``, prctl(2)). The process in between names
the worker before it exits: a child that the supervisor does not know yet is named in what it can read. When that process is
gone, the template says so. Then the worker is the supervisor's child.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..config.frozen import Value
from ..config.options import Config
from ..errors import EXIT_BUG
from ..ipc import channel
from ..ipc.handover import Ends
from ..ipc.scoreboard import Scoreboard
from .kept import KeptModules
from .main import Birth, is_cut

FORK, FORKED, GIVEN = "fork", "forked", "given"
"""To a template: fork a worker (its channel and the files for its reports come along). From it: the worker's pid; the worker is
the supervisor's child now."""
SHAPE_OF_FORK = channel.Shape({"birth": channel.record})
ANSWERS: channel.Table = {
    FORKED: channel.Shape({"worker": channel.whole, "pid": channel.whole}),
    GIVEN: channel.Shape({"worker": channel.whole}),
}
"""What a template answers."""


class Heritage(Value):
    """What all workers of a template inherit, as those that the supervisor forks itself do."""

    listeners: tuple[socket.socket, ...]
    scoreboard: Scoreboard
    handover: Ends | None
    modules: KeptModules
    main: Callable[[Config, Birth], int]
    live: Callable[[Callable[[], int]], NoReturn]
    """Calls the given function and exits with the code that it returns, whatever happens."""


class Forks:
    """Forks workers that are born with ``config`` and ``heritage``; ``link`` leads to the supervisor."""

    def __init__(self, config: Config, link: socket.socket, heritage: Heritage) -> None:
        self._config = config
        self._link = link
        self._heritage = heritage

    def fork(self, birth: dict[str, Any], descriptors: Sequence[int], begin: Callable[[Birth], None] | None = None) -> None:
        """Fork the worker with this ``birth``, and close its ``descriptors`` here; ``begin`` is called in it first.

        Raises OSError if it can't be forked. The template is of no use then: too many processes, or no memory left.
        """
        link, hang_report, stalls = descriptors
        # Otherwise every worker would write what a module printed and Python still buffers.
        sys.stdout.flush()
        sys.stderr.flush()
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        between = os.fork()
        if between == 0:
            try:
                worker = os.fork()
                if worker == 0:
                    self._heritage.live(lambda: self._be_worker(birth, link, hang_report, stalls, unblocked, begin))
                # The supervisor can reap the worker only when this process is gone. So it learns the pid in time.
                self._link.sendall(channel.encode(FORKED, worker=birth["id"], pid=worker))
                os._exit(0)
            finally:
                os._exit(EXIT_BUG)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        _, status = os.waitpid(between, 0)
        for descriptor in descriptors:
            os.close(descriptor)
        if status != 0:
            raise OSError("a process that was to fork a worker has failed")
        self._link.sendall(channel.encode(GIVEN, worker=birth["id"]))

    def _be_worker(
        self,
        details: dict[str, Any],
        link: int,
        hang_report: int,
        stalls: int,
        unblocked: set[Any],
        begin: Callable[[Birth], None] | None,
    ) -> int:
        self._link.close()
        part_ways()
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        heritage = self._heritage
        lifeline = socket.socket(fileno=link)
        if is_cut(lifeline):
            # It took too long: nobody waits for this worker any more, and its row may be another's.
            return 0
        birth = Birth(
            **details,
            channel=lifeline,
            listeners=heritage.listeners,
            scoreboard=heritage.scoreboard,
            hang_report=hang_report,
            stalls=stalls,
            handover=heritage.handover,
            modules=heritage.modules,
        )
        os.environ["TRICORN_SLOT"] = str(birth.slot)
        if begin is not None:
            begin(birth)
        return heritage.main(self._config, birth)


def part_ways() -> None:
    """After the fork: give each worker random numbers, and files of metrics, of its own.

    ``random`` does that itself (``os.register_at_fork``), ``secrets`` and ``uuid4`` ask the kernel. NumPy and PyTorch do
    neither. The times that ``uuid`` gave out last are forgotten: no two workers may continue one series of UUIDs.
    """
    modules = sys.modules
    if (numpy_random := modules.get("numpy.random")) is not None:
        numpy_random.seed()
    if (torch := modules.get("torch")) is not None and hasattr(torch, "seed"):
        torch.seed()
    if (uuid := modules.get("uuid")) is not None:
        for name in ("_last_timestamp", "_last_timestamp_v6", "_last_timestamp_v7"):
            if hasattr(uuid, name):
                setattr(uuid, name, None)
    _separate_metrics()


def _separate_metrics() -> None:
    """Let prometheus_client open the files of this process now, not at the next count: then it closes the template's."""
    values = sys.modules.get("prometheus_client.values")
    check = getattr(getattr(values, "ValueClass", None), "_MmapedValue__check_for_pid_change", None)
    if check is not None:
        # It looks at variables that all values share, and not at this value.
        check(None)
