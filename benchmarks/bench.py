#!/usr/bin/env python3
"""Measures Tricorn beside other ASGI servers; without options everything, in about an hour.

python benchmarks/bench.py                     everything, printed
python benchmarks/bench.py --write             and written to docs/benchmarks.md and its pictures beside it
python benchmarks/bench.py --quick             the most important, in about three minutes
python benchmarks/bench.py --only get --servers tricorn,uvicorn,canned --rounds 3
python benchmarks/bench.py --list              the names of scenarios and servers
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import environment


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="SCENARIO,...", help="measure these only")
    parser.add_argument("--servers", metavar="SERVER,...", help="measure these only; the default leaves out some variants")
    parser.add_argument("--rounds", type=int, help="how often each server is started (5; with --quick 2)")
    parser.add_argument("--turns", type=int, default=2, help="turns of load per round, server and scenario (2)")
    parser.add_argument("--seconds", type=int, default=1, help="whole seconds of load per turn (1)")
    parser.add_argument("--workers", type=int, default=max(2, len(os.sched_getaffinity(0))), help="in the '-n' scenarios")
    parser.add_argument("--quick", action="store_true", help="fewer scenarios, shorter turns")
    parser.add_argument(
        "--write",
        type=Path,
        nargs="?",
        const=environment.CHECKOUT / "docs",
        metavar="FOLDER",
        help="write benchmarks.md and its pictures to this folder (docs)",
    )
    parser.add_argument("--with", dest="merge", metavar="FILE", help="report also what this file of the results holds")
    parser.add_argument(
        "--beside", metavar="FILE", help="report in a chapter of its own what another Python's file of results holds"
    )
    parser.add_argument(
        "--save-as", metavar="FILE", help="the file of the results folder that keeps what is measured (bench.json)"
    )
    parser.add_argument("--again", action="store_true", help="measure nothing: report the last run again")
    parser.add_argument("--list", action="store_true", help="print the names of scenarios and servers")
    parser.add_argument("--venv", type=Path, default=environment.DEFAULT_VENV, help="where the servers are installed")
    parser.add_argument("--refresh", action="store_true", help="upgrade all servers to their newest versions first")
    options = parser.parse_args(words)
    options.rounds = options.rounds or (2 if options.quick else 5)
    return options


def main(words: list[str], saved_as: str = "bench.json") -> int:
    """Does what ``words`` of the command line say; keeps the samples in the file ``saved_as`` of the results folder."""
    options = arguments(words)
    if missing := environment.missing_tools():
        print("The benchmark needs", *missing, sep="\n  ", file=sys.stderr)
        return 1
    environment.enter(options.venv, options.refresh)
    environment.link_tricorn(options.venv.resolve())

    from harness import results, run

    if options.list:
        run.print_names()
        return 0
    try:
        plan = run.plan(options)
    except KeyError as error:
        print(f"there is no {error.args[0]}; --list names all", file=sys.stderr)
        return 2
    beside = environment.RESULTS / options.beside if options.beside else None
    if beside is not None and not beside.exists():
        print(f"--beside {options.beside}: there is no {beside}", file=sys.stderr)
        return 2
    saved = environment.RESULTS / (options.save_as or saved_as)
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    found = results.load(saved) if options.again else run.measure(plan, command)
    found.save(saved)
    if options.merge and (other := environment.RESULTS / options.merge).exists():
        found.rows |= results.load(other).rows
    run.publish(found, options.write, results.load(beside) if beside else None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
