"""Why a worker asks to be replaced while it serves.

A new reason is one more rule in :func:`rules_of`. (Memory is no rule here: the supervisor measures it, so that a worker that
hangs is found too.)
"""

from __future__ import annotations

from collections.abc import Callable

from ..config.options import Config

LIFETIME_SPREAD = 0.1
"""A worker lives up to a tenth longer than ``--limit-max-lifetime``, so that workers born together do not leave together."""

Rule = Callable[[int, float], str | None]
"""From the requests answered so far and the worker's age in seconds to a reason to be replaced; None if there is none."""


class Recycling:
    """Looks for a reason to be replaced, and tells it to ``ask``."""

    def __init__(self, config: Config, ask: Callable[[str], bool]) -> None:
        """``ask`` is called at every check while there is a reason."""
        self._rules = rules_of(config)
        self._ask = ask

    def check(self, requests: int, age: float) -> None:
        """Ask to be replaced if a rule gives a reason. The arguments are those of a :data:`Rule`."""
        for rule in self._rules:
            if (reason := rule(requests, age)) is not None:
                self._ask(reason)
                return


def rules_of(config: Config) -> list[Rule]:
    """The rules that the options ask for. Each draws its share of chance once, when it is made."""
    rules: list[Rule] = []
    if config.limit_max_requests or config.limit_max_lifetime is not None:
        # Late, because few servers have a limit.
        import random

        if limit := config.limit_max_requests:
            last = limit + random.randint(0, config.limit_max_requests_jitter)
            rules.append(lambda requests, age: f"--limit-max-requests {limit} reached" if requests >= last else None)
        if (lifetime := config.limit_max_lifetime) is not None:
            end = lifetime * random.uniform(1, 1 + LIFETIME_SPREAD)
            rules.append(lambda requests, age: f"--limit-max-lifetime {lifetime:g} s reached" if age >= end else None)
    return rules
