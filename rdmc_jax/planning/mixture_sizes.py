"""One rule for the sizes of mixture draws: candidates or temperatures, from discarded draws.

The weights of fresh draws of the fitted mixture say how many evaluations an effective draw costs.
With the relative variance χ² of the weights of single draws, M candidates have χ²/M and cost M.
With T temperatures ``log(1 + χ²)`` falls like a power of ``1 + T``. Of all pairs of M and T whose
χ² is small enough, the cheapest is taken. Temperatures pay where χ² is large: there they lower its
logarithm, where candidates lower χ² itself. Where the weights have a heavy tail, the restart from
the noised pool takes over.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..draws.plan import Trial
from ..montecarlo.weights import pareto_k, tv_limit, weight_ess
from ..samplers.core import EnsembleResult, Preparation, Recipe
from ..samplers.finishes import Annealing
from ..samplers.methods import (
    NUM_PARTICLES,
    MixtureSizes,
    larger_pilot,
    mixture_draws,
    restarted,
)
from ..types import Method
from .tolerance import MARGIN, PrepareFn, RunFn, growth, spent_on

MAX_RELATIVE_VARIANCE = 2.0
"""χ² of the weights of draws without a tolerance: a third of the draws are effective. For the
cheapest effective draws alone, χ² would never be lowered."""
MAX_OF_RESTART = 3.0
"""The same where each draw is a path of many evaluations and a trial costs as much as the run."""
AIMED_RELATIVE_VARIANCE = 1.5
"""χ² that more candidates or temperatures should reach: the measured one is noisy."""
HEAVY_TAIL = 0.7
"""Pareto k above which a measured χ² means nothing, and candidates alone do not help."""
FEW_EFFECTIVE = 50.0
"""Effective draws of a trial below which the same is true."""
CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)
TEMPERATURES = (0, 4, 8, 16, 32, 64, 128, 256, 512)
MOST_PER_DRAW = 300
"""Evaluations per draw that are spent without a tolerance, at most."""
POWER = 0.5
"""Power of ``1 + T`` with which ``log(1 + χ²)`` falls; from .4 to .8 in measurements."""


class Sizes(NamedTuple):
    """Candidates of each draw, and temperatures of each candidate."""

    num_candidates: int
    num_temperatures: int
    is_restart: bool = False  # from the noised pool, not from the mixture


RESTARTS = tuple(Sizes(1, 2**k, True) for k in range(4, 11))
"""Restarts from the noised pool, for targets that no mixture resembles."""


def ensemble_evals(sizes: Sizes, num_particles: int = NUM_PARTICLES) -> int:
    """Evaluations of one ensemble: density values, or values with gradients."""
    count, num_temperatures, _ = sizes
    if not num_temperatures:
        return count * num_particles
    looks = num_particles  # one for the steepness of each path
    pilot = min(Annealing._field_defaults["num_pilot"], num_particles)
    return count * ((num_temperatures + 1) * (num_particles + pilot) + looks)


def measured(log_weights: list[np.ndarray], sizes: Sizes, evals: int) -> Trial:
    """Measure the weights of discarded draws.

    Args:
        log_weights: one array for each replicate.
        sizes: with which they were drawn.
        evals: what they cost.

    Returns:
        `Trial`; χ² is infinite without any weight.
    """
    replicate = np.repeat(np.arange(len(log_weights)), [w.size for w in log_weights])
    joined = np.concatenate(log_weights).astype(np.float64)
    joined = np.where(np.isnan(joined), -np.inf, joined)
    bound, has_any = tv_limit(joined, replicate), bool(np.any(np.isfinite(joined)))
    ess = weight_ess(joined) if has_any else 0.0
    variance = joined.size / ess - 1 if has_any else math.inf
    tail = pareto_k(joined) if has_any else math.inf
    count, num_temperatures, is_restart = sizes
    limits = (bound.estimate, bound.upper)
    return Trial(count, num_temperatures, variance, ess, tail, *limits, evals, is_restart)


def mean_log_weights(log_weight: np.ndarray, num_candidates: int) -> np.ndarray:
    """Log mean weights of draws with M candidates, from the weights of single ones.

    >>> mean_log_weights(np.zeros(7), 1).size, mean_log_weights(np.zeros(7), 2).size
    (7, 1000)
    """
    if num_candidates == 1:
        return log_weight
    rng = np.random.default_rng(0)
    chosen = rng.choice(log_weight, (NUM_PARTICLES, num_candidates)).astype(np.float64)
    return np.logaddexp.reduce(np.where(np.isnan(chosen), -np.inf, chosen), axis=1) - math.log(
        num_candidates
    )


def worst_of(log_weights: list[np.ndarray]) -> int:
    """Index of the weights with the fewest effective draws."""

    def ess(log_weight: np.ndarray) -> float:
        has_any = bool(np.any(np.isfinite(log_weight)))
        return weight_ess(np.asarray(log_weight, np.float64)) if has_any else 0.0

    return min(range(len(log_weights)), key=lambda k: ess(log_weights[k]))


def is_reliable(one: Trial) -> bool:
    """Whether the χ² of a trial can be believed."""
    return one.pareto_k <= HEAVY_TAIL and one.ess >= FEW_EFFECTIVE


def predicted_variance(trials: list[Trial], sizes: Sizes) -> float:
    """Predict χ² of the weights with other sizes, from the last trial.

    ``log(1 + M χ²)`` of a single candidate falls like ``(1 + T)^-a``, with a measured by two trials
    of unlike T, or else `POWER`.

    >>> one = Trial(1, 0, 3.0, 500.0, 0.1, 0.3, 0.3, 1000)
    >>> [round(predicted_variance([one], sizes), 2) for sizes in (Sizes(2, 0), Sizes(1, 8))]
    [1.5, 0.59]
    """
    last = trials[-1]
    if not math.isfinite(last.relative_variance):
        return math.inf if sizes.num_temperatures <= last.num_temperatures else 1e6

    def height(one: Trial) -> float:
        return math.log1p(min(one.num_candidates * one.relative_variance, 1e6))

    power = POWER
    for one in trials[:-1]:
        ratio = (1 + last.num_temperatures) / (1 + one.num_temperatures)
        if ratio > 1 and is_reliable(one) and height(last) > 0:
            power = min(max(math.log(height(one) / height(last)) / math.log(ratio), 0.3), 1.0)
    cooler = ((1 + last.num_temperatures) / (1 + sizes.num_temperatures)) ** power
    return math.expm1(height(last) * cooler) / sizes.num_candidates


def sizes_of(one: Trial) -> Sizes:
    """Sizes of a trial."""
    return Sizes(one.num_candidates, one.num_temperatures, one.is_restart)


def next_restart(
    last: Trial,
    tolerance: float | None,
    is_affordable: Callable[[Sizes], bool],
    least: int = 16,
) -> Sizes | None:
    """Choose the temperatures of a restart from the noised pool.

    Weights of the mixture that have a heavy tail say nothing of what more candidates would do: the
    target reaches to where the mixture has no mass. Particles of the noised pool are annealed
    there.

    Args:
        last: trial, of the mixture or of a restart.
        tolerance: total variation that was asked for, or None.
        is_affordable: whether sizes fit the budget.
        least: temperatures of the first restart.
    """
    allowed = AIMED_RELATIVE_VARIANCE
    if tolerance is not None and math.isfinite(last.relative_variance):
        wanted = last.relative_variance * (MARGIN * tolerance / last.tv_limit) ** 2
        allowed = min(wanted, allowed)
    least = last.num_temperatures + 1 if last.is_restart else least
    growth = last.relative_variance / allowed if last.is_restart else 1.0
    growth = growth if math.isfinite(growth) else 2.0
    most = MOST_PER_DRAW * NUM_PARTICLES if tolerance is None else math.inf
    fitting = [
        new
        for new in RESTARTS
        if new.num_temperatures >= least and ensemble_evals(new) <= most and is_affordable(new)
    ]
    enough = [new for new in fitting if new.num_temperatures >= growth * last.num_temperatures]
    return next(iter(enough or fitting[-1:]), None)


def next_sizes(
    trials: list[Trial],
    tolerance: float | None,
    cost: Callable[[Sizes], float],
    affordable: float = math.inf,
    least: int = 16,
) -> Sizes | None:
    """Choose the cheapest sizes whose weights should be good enough.

    Args:
        trials: so far.
        tolerance: total variation that was asked for, or None for `MAX_RELATIVE_VARIANCE`.
        cost: evaluations that sizes need.
        affordable: evaluations that are left.
        least: temperatures of the first restart, if it comes to that.

    Returns:
        Sizes, or None if no larger ones exist or fit the budget.
    """
    last = trials[-1]
    now = sizes_of(last)
    allowed = AIMED_RELATIVE_VARIANCE
    if tolerance is not None:
        # the bound is about proportional to √χ²
        wanted = last.relative_variance * (MARGIN * tolerance / last.tv_limit) ** 2
        allowed = min(wanted, allowed)
    if last.is_restart or not is_reliable(last):
        found = next_restart(last, tolerance, lambda new: cost(new) <= affordable, least)
        if found is not None or last.is_restart:
            return found
    choices = []
    for new in itertools.starmap(Sizes, itertools.product(CANDIDATES, TEMPERATURES)):
        variance, evals = predicted_variance(trials, new), ensemble_evals(new)
        is_better = variance < last.relative_variance and evals > ensemble_evals(now)
        is_small = tolerance is not None or evals <= MOST_PER_DRAW * NUM_PARTICLES
        if is_better and is_small and cost(new) <= affordable:
            choices.append((variance, cost(new), new))
    if not choices:
        return None
    smallest = min(variance for variance, _, _ in choices)
    enough = [one for one in choices if one[0] <= max(allowed, 1.3 * smallest)]
    return min(enough, key=lambda one: one[1])[2]


class MixtureLadder:
    """Candidates and temperatures of mixture draws; see `tolerance.Ladder`.

    Args:
        prepares: preparations of the replicates, with fitted mixtures.
        run: runs one ensemble.
        prepare: makes another preparation of a replicate.
        sizes: of the method.
        num_ensembles: ensembles of each replicate in the reported run.
        larger_evals: what another preparation may cost, for a restart.
    """

    exhausted = "the largest number of candidates and temperatures is not enough"

    def __init__(
        self,
        prepares: list[Preparation],
        run: RunFn,
        prepare: PrepareFn,
        *,
        sizes: MixtureSizes,
        num_ensembles: int,
        larger_evals: int,
    ) -> None:
        self.prepares = list(prepares)
        self.discarded: list[EnsembleResult] = []
        self._is_larger = False  # whether the pools are those of a restart
        self._run, self._prepare = run, prepare
        self._sizes, self._num_ensembles = sizes, num_ensembles
        self._larger_evals = larger_evals
        self._trials: list[Trial] = []
        self._fresh = [np.asarray(one.fresh_log_weight) for one in prepares]

    @property
    def first(self) -> Sizes:
        """One candidate without temperatures: the last round of the fit has measured it."""
        return Sizes(1, 0)

    def trial(self, sizes: Sizes, tolerance: float | None) -> Trial:
        """Measure fresh draws: those of the fit, or of one ensemble.

        With a tolerance each replicate runs an ensemble. Without one, candidates of plain mixture
        draws need none: means of fresh weights are what they would have. Else the replicate runs
        one whose fresh draws were the worst.
        """
        fresh = self._fresh
        is_plain = sizes.num_temperatures == 0 and not sizes.is_restart
        if sizes == self.first or (is_plain and tolerance is None):
            weights = [mean_log_weights(one, sizes.num_candidates) for one in fresh]
            one = measured(weights, sizes, 0)
            if self._trials:  # means of weights that are drawn again have many equal ones
                one = one._replace(pareto_k=self._trials[0].pareto_k)
            self._trials.append(one)
            return one
        method, number, spent = self.method(sizes), len(self._trials), 0
        if sizes.is_restart and not self._is_larger:
            self.prepares = self._prepare(Recipe(method, larger_pilot(self._sizes)))
            self._is_larger = True
            spent = sum(int(max(one.pool.num_evals)) for one in self.prepares)
        of = range(len(fresh)) if tolerance is not None else [worst_of(fresh)]
        results = [self._run(k, number, self.prepares[k], method) for k in of]
        self.discarded += results
        spent += sum(spent_on(one) for one in results)
        log_weights = [np.asarray(one.log_weight) for one in results]
        self._trials.append(measured(log_weights, sizes, spent))
        return self._trials[-1]

    def is_enough(self, one: Trial, tolerance: float | None) -> bool:
        """Whether the reported run may have the sizes of a trial."""
        if tolerance is None:
            most = MAX_OF_RESTART if one.is_restart else MAX_RELATIVE_VARIANCE
            return one.relative_variance <= most and is_reliable(one)
        return one.tv_limit <= MARGIN * tolerance

    def larger(self, tolerance: float | None, affordable: float) -> Sizes | None:
        """See `next_sizes`; a trial and the reported run are still to be paid."""
        num_replicates = len(self.prepares)

        def ahead(new: Sizes) -> float:
            is_plain = new.num_temperatures == 0 and not new.is_restart
            trials = num_replicates if tolerance is not None else 0 if is_plain else 1
            is_new = new.is_restart and not self._is_larger
            first = num_replicates * self._larger_evals if is_new else 0
            # the run may have the sizes of an earlier trial, if this one is no better
            run = max(ensemble_evals(one) for one in (*map(sizes_of, self._trials), new))
            run = num_replicates * self._num_ensembles * run
            return first + trials * ensemble_evals(new) + run

        least = self._sizes.larger.num_temperatures
        return next_sizes(self._trials, tolerance, ahead, affordable, least)

    def growth(self, now: Sizes, new: Sizes) -> str:
        """Say in words what grows."""
        return growth(
            ("candidates", now.num_candidates, new.num_candidates),
            ("temperatures", now.num_temperatures, new.num_temperatures),
            ("restart from the pool", now.is_restart, new.is_restart),
        )

    def method(self, sizes: Sizes) -> Method:
        """Mixture draws, or a restart, of these sizes."""
        if sizes.is_restart:
            return restarted(self._sizes, num_temperatures=sizes.num_temperatures)
        return mixture_draws(
            self._sizes,
            num_candidates=sizes.num_candidates,
            num_temperatures=sizes.num_temperatures,
        )
