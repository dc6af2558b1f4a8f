"""Canaries: a few workers of a new generation that must prove themselves before the rest follow. Pure.

The rule, which docs/deploys.md explains to operators:

- *worse*: the canaries' share of responses with a status of 500 or more lies above that of the others by more than
  ``max_errors``, and that is no chance (:func:`is_no_chance`). This is looked at all the time. When the time is over: more of
  the canaries' responses than :data:`SLOW` take longer than ``max_latency`` times what 95 % of the others' take, and that is no
  chance.
- *fine*: the time is over, there were enough requests, and neither is so, not even by chance.
- otherwise nothing is decided yet, and the canaries go on serving until their time-out; then they are rolled back.
"""

from __future__ import annotations

from enum import Enum, auto
from math import ceil, erfc, exp, lgamma, log, sqrt

from ..config.frozen import Value, replace
from ..config.options import Config, is_none

ENOUGH = 50
"""Requests that canaries must have answered: with fewer, a 95th percentile is one or two requests."""
SLOW = 0.05
"""The share of requests above the 95th percentile."""
CHANCE = 1 / 2000
"""What is less likely than that is no chance. A canary is looked at sixty times and more."""
LIKELY = 1.64
"""Standard deviations: the others' true share is above the end of this interval once in twenty times."""
MAX_EXACT = 10_000
"""Requests up to which the binomial distribution is added up, in a millisecond; above, the normal one is close to it."""
LOOKS = 20
"""How often a canary is looked at, within its time."""
MIN_PAUSE = 0.05
"""Seconds between two looks, at least, however short the canary's time is."""
MAX_PAUSE = 1.0
"""Seconds between two looks, at most: a broken canary is found within that, whatever its time is."""
TIMEOUT = 10
"""The time-out, if none is given: so many times the canary's time."""


class Terms(Value):
    """How a canary is tried."""

    share: str
    """How many workers: ``2``, or ``25%`` of the fleet."""
    seconds: float
    """How long it serves at least."""
    max_errors: float
    """Percent of responses with a status of 500 or more that are allowed above the share of the others."""
    max_latency: float
    """How many times as long responses may take."""
    timeout: float | None = None
    """Seconds after which a canary without enough requests is rolled back."""

    def count(self, size: int) -> int:
        """How many workers of a fleet of ``size``; at least one, and never more than that."""
        number = ceil(size * int(self.share[:-1]) / 100) if self.share.endswith("%") else int(self.share)
        return max(1, min(size, number))

    @property
    def limit(self) -> float:
        """Seconds after which nothing more is waited for."""
        return max(self.seconds, self.timeout or TIMEOUT * self.seconds)

    @property
    def pause(self) -> float:
        """Seconds between two looks."""
        return min(MAX_PAUSE, max(MIN_PAUSE, self.seconds / LOOKS))


class Wish(Value):
    """What a client asked for with a reload; None leaves it to the options."""

    share: str | None = None
    seconds: float | None = None
    max_errors: float | None = None
    max_latency: float | None = None
    timeout: float | None = None


def _share_of(config: Config, wish: Wish) -> str | None:
    return wish.share if wish.share is not None else config.reload_canary


def misfit(config: Config, wish: Wish) -> str:
    """Why a reload to ``config`` can't be as ``wish`` says; empty if it can."""
    if config.reload and not is_none(wish.share):
        return "--canary: with --reload all workers are replaced at once"
    how = (wish.seconds, wish.max_errors, wish.max_latency, wish.timeout)
    if _share_of(config, wish) is None and any(value is not None for value in how):
        return "--for, --max-errors and --max-latency are for canaries: say with --canary how many"
    return ""


def terms_of(config: Config, wish: Wish) -> Terms | None:
    """The terms of a reload to ``config``; None if there is to be no canary."""
    given = {name: value for name, value in vars(wish).items() if value is not None}
    share = _share_of(config, wish)
    if share is None or is_none(share) or config.reload:
        return None
    terms = Terms(
        share,
        config.reload_canary_seconds,
        config.reload_canary_errors,
        config.reload_canary_latency,
        config.reload_canary_timeout,
    )
    return replace(terms, **given)


def short(value: float) -> str:
    """Three digits, or the whole number if it has more: no power of ten."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


class Group(Value):
    """What some workers answered since the canaries were ready."""

    requests: float
    errors: float
    """How many of them had a status of 500 or more."""
    p95: float | None
    """Seconds within which 95 % of them were answered; None if there were none."""

    @property
    def share(self) -> float:
        """The share of errors."""
        return self.errors / self.requests if self.requests else 0.0

    def __str__(self) -> str:
        latency = f", 95 % within {short(self.p95 * 1000)} ms" if self.p95 is not None else ""
        return f"{self.requests:.0f} requests, {short(self.share * 100)} % errors{latency}"


class Evidence(Value):
    """What canaries and all others answered."""

    canary: Group
    others: Group
    slow: float
    """How many of the canary's requests took longer than the others' 95th percentile times ``max_latency``."""

    def __str__(self) -> str:
        return f"canary: {self.canary}; others: {self.others}"


class Verdict(Enum):
    """What the evidence says."""

    OPEN = auto()
    FINE = auto()
    WORSE = auto()


def decide(terms: Terms, evidence: Evidence, is_over: bool) -> tuple[Verdict, str]:
    """The verdict and, unless it is FINE, why. ``is_over``: the canary's time is over."""
    canary, others, allowed = evidence.canary, evidence.others, terms.max_errors / 100
    errors = f"{short(canary.share * 100)} % of its {canary.requests:.0f} requests failed, "
    errors += f"of the others' {short(others.share * 100)} %"
    if is_no_chance(canary.errors, canary.requests, highest_share(others) + allowed):
        return Verdict.WORSE, f"{errors}; allowed are {terms.max_errors:g} % more"
    if not is_over:
        return Verdict.OPEN, "its time is not over"
    if canary.requests < ENOUGH:
        return Verdict.OPEN, f"it had {canary.requests:.0f} requests, too few to decide: {ENOUGH} are needed"
    latency = f"it is slower than allowed: {short(evidence.slow / canary.requests * 100)} % of its requests took longer than "
    latency += f"{terms.max_latency:g} times what 95 % of the others' took"
    is_slow = others.p95 is not None and evidence.slow / canary.requests > SLOW
    if is_slow and is_no_chance(evidence.slow, canary.requests, SLOW):
        return Verdict.WORSE, latency
    if is_slow:
        return Verdict.OPEN, f"{latency}, which may be chance"
    if canary.share - others.share > allowed:
        return Verdict.OPEN, f"{errors}, which may be chance"
    return Verdict.FINE, ""


def is_no_chance(hits: float, tries: float, share: float) -> bool:
    """Whether at least so many hits come by chance less often than :data:`CHANCE`, if the true share is ``share``."""
    # A worker that lies can have counted more errors than requests.
    return chance(min(int(hits), int(tries)), int(tries), share) < CHANCE


def chance(hits: int, tries: int, share: float) -> float:
    """The probability of at least ``hits`` in ``tries``, each of which hits with the probability ``share`` (binomial)."""
    if hits <= tries * share or share >= 1:
        # More likely than not, or not far from it.
        return 1.0
    if share <= 0:
        return 0.0
    if tries > MAX_EXACT:
        return erfc((hits - 0.5 - tries * share) / sqrt(2 * tries * share * (1 - share))) / 2
    # Above the middle each term is smaller than the one before.
    term = exp(
        lgamma(tries + 1) - lgamma(hits + 1) - lgamma(tries - hits + 1) + hits * log(share) + (tries - hits) * log(1 - share)
    )
    total = 0.0
    for number in range(hits, tries + 1):
        total += term
        term *= (tries - number) / (number + 1) * share / (1 - share)
    return total


def highest_share(group: Group) -> float:
    """The highest share of errors that is likely for ``group``: the upper end of Wilson's interval.

    Unlike the normal one it is right for few requests, and for shares close to 0. Without requests it is 0: there is nothing
    that would excuse errors.
    """
    if not group.requests:
        return 0.0
    tries, share, square = group.requests, min(1.0, group.share), LIKELY * LIKELY
    middle = share + square / (2 * tries)
    return (middle + LIKELY * sqrt(share * (1 - share) / tries + square / (4 * tries * tries))) / (1 + square / tries)


class Canary:
    """A canary that is being tried."""

    def __init__(self, generation: int, terms: Terms) -> None:
        self.generation = generation
        self.terms = terms
        self.since: float | None = None
        """When all of its workers were ready for the first time."""
        self.look_at: float | None = None
        """When to ask for evidence next."""
        self.evidence: Evidence | None = None
        """The last."""

    def begin(self, now: float) -> None:
        """All of its workers are ready."""
        self.since, self.look_at = now, now + self.terms.pause

    def look(self, now: float) -> bool:
        """Whether evidence is to be asked for now; then the next time is noted."""
        if self.look_at is None or now < self.look_at:
            return False
        self.look_at = now + self.terms.pause
        return True

    def postpone(self, seconds: float) -> None:
        """The machine was suspended for so long: no worker answered anything meanwhile."""
        if self.since is not None and self.look_at is not None:
            self.since += seconds
            self.look_at += seconds

    def decide(self, evidence: Evidence, now: float) -> tuple[Verdict, str]:
        """The verdict and why; when too much time has passed it is never OPEN."""
        assert self.since is not None
        self.evidence = evidence
        verdict, why = decide(self.terms, evidence, now >= self.since + self.terms.seconds)
        if verdict is Verdict.OPEN and self.is_expired(now):
            return Verdict.WORSE, f"after {self.terms.limit:g} s, {why}"
        return verdict, why

    def is_expired(self, now: float, late: float = 0.0) -> bool:
        """Whether it is past its limit, by ``late`` seconds."""
        return self.since is not None and now >= self.since + self.terms.limit + late
