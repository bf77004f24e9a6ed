"""Find the sizes that meet a tolerance, by trial runs that grow.

Trial runs grow until the upper confidence limit of their error is below the tolerance; they are
then discarded. The reported run uses the sizes found and fresh keys, so no weight that it reports
has decided anything. A ladder is the sequence of sizes that are tried: `MixtureLadder` for the
automatic method, with or without a tolerance, `LevelLadder` for compositions.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..draws.plan import Accuracy, LevelTrial, Plan, Trial
from ..samplers.core import EnsembleResult, Preparation, Recipe
from ..samplers.finishes import annealed_finish
from ..types import Method

MARGIN = 0.9
"""Share of the tolerance that the pilot's limit must meet: the reported draws have noise of their
own."""
SLACK = 1.3
"""If no choice of factors suffices, the cheapest is taken whose error is at most this many times
the smallest one. The last factor of the more expensive part often lowers the error little, and one
more trial costs less."""

RunFn = Callable[[int, int, Preparation, Method], EnsembleResult]
"""``(replicate, number, prepared, method) -> result``: one ensemble that will be discarded."""

PrepareFn = Callable[[Recipe], list[Preparation]]
"""``recipe -> prepares``: another pilot and pool of each replicate, with their points joined."""


def check_tolerance(tolerance: float | None, method: Method | None) -> None:
    """Check a tolerance.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not in (0, 1), or nothing of the method can grow.
    """
    if tolerance is None:
        return
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float):
        raise TypeError(f"tolerance must be a number in (0, 1), but got {tolerance!r}.")
    if not 0 < tolerance < 1:
        raise ValueError(
            f"tolerance={tolerance!r} must lie between 0 and 1: it is a total variation distance. "
            "0.1 is a usual choice."
        )
    if method is not None:
        check_growing(method)


def check_growing(method: Method) -> None:
    """Check that something of a method can grow.

    Raises:
        ValueError: if it has neither levels nor a finish with temperatures.
    """
    if method.levels is None and not isinstance(method.finish, annealed_finish):
        raise ValueError(
            "a tolerance is met by more levels, inner samples and temperatures, but this method "
            "has neither levels nor an annealed_finish. Add one of them, or leave tolerance out."
        )


class ErrorTerm(NamedTuple):
    """One part of a path's divergence (or of the variance of log w, about twice that)."""

    value: float  # at the present sizes
    power: float  # the value falls like ``factor ** -power``
    factors: tuple[int, ...]  # by which its size may grow in one trial; 1 is one of them


def cheapest_factors(
    parts: tuple[ErrorTerm, ...],
    allowed: float,
    cost: Callable[[tuple[int, ...]], float],
    affordable: float,
) -> tuple[int, ...] | None:
    """Find the factors of least cost whose predicted error is allowed.

    Args:
        parts: terms of the error; if a value is infinite, nothing is known, and all terms count
            alike.
        allowed: sum of the terms that may be left.
        cost: cost of a choice of factors, one for each term.
        affordable: highest cost.

    Returns:
        The cheapest factors that reach ``allowed``. If none does, the cheapest of those whose sum
        is near the smallest (`SLACK`). None if nothing larger is affordable.

    >>> parts = (ErrorTerm(0.3, 1.0, (1, 2, 4)), ErrorTerm(0.1, 1.0, (1, 2, 4)))
    >>> cheapest_factors(parts, 0.2, lambda f: 10 * f[0] + f[1], 1000)  # .3/2 + .1/2
    (2, 2)
    >>> cheapest_factors(parts, 0.2, lambda f: 10 * f[0] + f[1], 15)  # (1, 4) is hardly better
    (1, 2)
    """
    if not all(math.isfinite(part.value) for part in parts):
        parts = tuple(part._replace(value=1.0) for part in parts)
        allowed = 0.5 * len(parts)
    choices = []
    for factors in itertools.product(*(part.factors for part in parts)):
        left = sum(p.value * f**-p.power for p, f in zip(parts, factors, strict=True))
        if max(factors) > 1:
            choices.append((left, cost(factors), factors))
    choices = [one for one in choices if one[1] <= affordable]
    if not choices:
        return None
    least = min(left for left, _, _ in choices)
    target = allowed if least <= allowed else SLACK * least
    enough = [one for one in choices if one[0] <= target]
    return min(enough, key=lambda one: (one[1], one[0]))[2]


def trial_line(number: int, tv_limit: float, wanted: float, num_evals: int, follows: str) -> str:
    """Say in words what one trial showed.

    Args:
        number: number of the trial, from 0.
        tv_limit: upper 95 % confidence limit that it measured.
        wanted: limit that ends the search.
        num_evals: evaluations so far, pilots included.
        follows: what grows now, or why nothing does.

    >>> trial_line(0, 0.25, 0.09, 50000, "temperatures 16 -> 64")
    'trial 1: TV limit 0.250 (wanted 0.090), 50,000 evaluations so far; temperatures 16 -> 64'
    """
    return (
        f"trial {number + 1}: TV limit {tv_limit:.3f} (wanted {wanted:.3f}), "
        f"{num_evals:,} evaluations so far; {follows}"
    )


def growth(*knobs: tuple[str, Any, Any]) -> str:
    """Say in words which sizes change.

    Args:
        *knobs: name, size now, size next.

    >>> growth(("pool", 1, 4), ("temperatures", 16, 16))
    'pool 1 -> 4'
    """
    return ", ".join(f"{name} {now} -> {new}" for name, now, new in knobs if now != new)


class Ladder(Protocol):
    """A sequence of sizes, each chosen from the trials before."""

    exhausted: str
    """Why there are no larger sizes, in words."""

    @property
    def first(self) -> Any:
        """Sizes of the first trial."""

    @property
    def prepares(self) -> list[Preparation]:
        """Preparations of the replicates, with the pools of the last trial."""

    @property
    def discarded(self) -> list[EnsembleResult]:
        """All ensembles run so far."""

    def trial(self, sizes: Any, tolerance: float | None) -> Trial | LevelTrial:
        """Measure discarded draws with these sizes."""

    def is_enough(self, one: Any, tolerance: float | None) -> bool:
        """Whether the reported run may have the sizes of a trial."""

    def larger(self, tolerance: float | None, affordable: float) -> Any | None:
        """Sizes that should meet the tolerance; None if no larger ones exist or fit the budget."""

    def growth(self, now: Any, new: Any) -> str:
        """Say in words what grows."""

    def method(self, sizes: Any) -> Method:
        """The method of the reported run."""


class SearchResult(NamedTuple):
    """What the reported run starts from."""

    prepares: list[Preparation]  # one for each replicate
    method: Method
    discarded: list[EnsembleResult]
    trials: tuple[Trial | LevelTrial, ...]
    chosen: int  # number of the trial whose sizes the run has
    stopped: str  # why there were no more trials


def spent_on(result: EnsembleResult) -> int:
    """Count the evaluations of one ensemble: the larger of densities and gradients."""
    counts = result.info.num_evals
    return max(int(np.sum(counts.logdensity)), int(np.sum(counts.gradient)))


OVER_BUDGET = "the next size would exceed max_evals"


def search_sizes(
    ladder: Ladder, *, tolerance: float | None, max_total: float, tell: Callable[[str], None]
) -> SearchResult:
    """Grow sizes until a discarded trial is good enough.

    Args:
        ladder: sizes to try, on the preparations of all replicates.
        tolerance: requested total variation, or None for what the ladder asks without one.
        max_total: cap on the evaluations of the whole run; ``inf`` for none.
        tell: called with a line after each trial.

    Returns:
        `SearchResult` with the sizes of the trial that had the lowest limit; without a tolerance,
        of the last one if it is good enough, or else of the lowest bound.

    Raises:
        ValueError: if the method has no path weights.
    """
    spent = sum(int(max(one.pool.num_evals)) for one in ladder.prepares)
    tried: list[tuple[Trial | LevelTrial, Any, list[Preparation]]] = []
    sizes, stopped = ladder.first, ""
    while not stopped:
        one = ladder.trial(sizes, tolerance)
        tried.append((one, sizes, ladder.prepares))
        spent += one.evals
        if ladder.is_enough(one, tolerance):
            stopped = "met by the last trial"
        elif ladder.larger(tolerance, math.inf) is None:
            stopped = ladder.exhausted
        else:
            new = ladder.larger(tolerance, max_total - spent)
            if new is None:
                stopped = OVER_BUDGET
            else:
                follows = ladder.growth(sizes, new)
                sizes = new
        if tolerance is not None:
            wanted = MARGIN * tolerance
            tell(trial_line(len(tried) - 1, one.tv_limit, wanted, spent, stopped or follows))
    # without a tolerance trials have unlike numbers of draws, and limits widen with fewer
    best = min(
        range(len(tried)),
        key=lambda k: tried[k][0].tv_bound if tolerance is None else tried[k][0].tv_limit,
    )
    if tolerance is None and ladder.is_enough(tried[-1][0], None):
        best = len(tried) - 1
    one, sizes, prepares = tried[best]
    trials = tuple(t[0] for t in tried)
    method = ladder.method(sizes)
    return SearchResult(prepares, method, ladder.discarded, trials, best, stopped)


def with_trials(plan: Plan, found: SearchResult, tolerance: float | None) -> Plan:
    """Write what the trials showed into the plan."""
    one = found.trials[found.chosen]
    is_limited = plan.is_limited or found.stopped == OVER_BUDGET
    plan = plan._replace(trials=found.trials, is_limited=is_limited)
    if tolerance is not None:
        record = Accuracy(tolerance, one.tv_limit, found.trials, found.chosen, found.stopped)
        return plan._replace(accuracy=record)
    assert isinstance(one, Trial)
    first = found.trials[0]
    assert isinstance(first, Trial)
    said = f"discarded draws had {1 / (1 + first.relative_variance):.0%} of them effective"
    said += f" (Pareto k {first.pareto_k:.2f})"
    if len(found.trials) > 1:
        said += (
            f", so the run has {one.num_candidates} candidates and {one.num_temperatures} "
            f"temperatures{' from the noised pool' if one.is_restart else ''} "
            f"({1 / (1 + one.relative_variance):.0%} effective, {found.stopped})"
        )
    return plan._replace(reason=f"{plan.reason}; {said}")
