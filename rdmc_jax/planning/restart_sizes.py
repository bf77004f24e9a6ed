"""Sizes of the noised-pool restart, and how pools and temperatures grow for a tolerance."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ..draws.plan import Trial
from ..montecarlo.weights import log_mean_exp, tv_limit
from ..samplers.core import EnsembleResult, Preparation
from ..samplers.methods import (
    MEMBERS_AT_STOP,
    NUM_PARTICLES,
    RestartSizes,
    duplicated_restart,
    restart_from,
)
from ..samplers.reweighting import pool_from_draws
from ..target.flat import ravel_ensemble, to_standard
from ..types import Method, Pool
from .defaults import ensemble_evals
from .tolerance import MARGIN, ErrorTerm, RunFn, cheapest_factors, growth, spent_on

MAX_LOG_WEIGHT = 3.0
"""Values of |log(w/Z)| are cut here before variances are taken. Otherwise a few draws with almost
no weight would dominate them."""
MAX_SIZE = 64
"""Size of the largest pool, in ensembles."""
MAX_TEMPERATURES = 1024
MAX_FINISH_VARIANCE = 0.25
"""Finish variance of log w that is accepted in draws for a pool: four of five still count."""


class Sizes(NamedTuple):
    """Sizes of a restart from an enlarged pool."""

    size: int  # size of the pool, in ensembles
    num_temperatures: int


def measured(log_weights: list[np.ndarray]) -> tuple[float, float, float, float]:
    """Measure the TV bound, its limit and the two parts of Var log w, from paired ensembles.

    Args:
        log_weights: one array (num_particles,) for each replicate, pairs half an array apart.

    Returns:
        tv_bound, its upper limit, the part of the variance from the finish, ``½ Var(difference
        within pairs)``, and the rest. Variances are of ``log(w/Z)`` cut at ±`MAX_LOG_WEIGHT`, and
        infinite without any weight.
    """
    replicate = np.repeat(np.arange(len(log_weights)), [w.size for w in log_weights])
    joined = np.concatenate(log_weights).astype(np.float64)
    joined = np.where(np.isnan(joined), -np.inf, joined)
    # pairs lie half an array apart, and each array has pairs of its own
    within = np.concatenate([np.arange(w.size) % (w.size // 2) for w in log_weights])
    bound = tv_limit(joined, replicate, pair=within + joined.size * replicate)
    if not np.any(np.isfinite(joined)):
        return bound.estimate, bound.upper, math.inf, math.inf
    # a draw without weight counts as one of small weight: its log weight is cut, too
    joined = np.clip(joined - log_mean_exp(joined), -MAX_LOG_WEIGHT, MAX_LOG_WEIGHT)
    halves = [np.reshape(joined[replicate == k], (2, -1)) for k in range(len(log_weights))]
    pairs = np.concatenate(halves, axis=1)
    finish = 0.5 * float(np.mean((pairs[0] - pairs[1]) ** 2))
    return bound.estimate, bound.upper, finish, max(float(np.var(pairs)) - finish, 0.0)


def _factors(now: int, largest: int) -> tuple[int, ...]:
    return tuple(f for f in (1, 2, 4) if now * f <= largest)


def next_sizes(
    now: Sizes,
    one: Trial,
    tolerance: float,
    cost: Callable[[Sizes], float],
    affordable: float = math.inf,
) -> Sizes | None:
    """Choose the cheapest larger sizes that should meet the tolerance.

    The bound is about proportional to the standard deviation of log w. One part of the variance
    falls like one over the number of temperatures, the other like one over the size of the pool.
    Sizes are powers of two times the first ones, so that each is compiled once.

    Args:
        now: sizes of the last trial.
        one: the last trial.
        tolerance: total variation that was asked for.
        cost: evaluations that new sizes need.
        affordable: evaluations that are left.

    Returns:
        Sizes, or None if no larger ones exist or fit the budget.
    """
    allowed = (one.finish_variance + one.pool_variance) * (MARGIN * tolerance / one.tv_limit) ** 2
    # a pool of two ensembles is hardly larger than the first pool with one
    grown = (1, 4) if now.size == 1 else _factors(now.size, MAX_SIZE)
    warmer = _factors(now.num_temperatures, MAX_TEMPERATURES)
    parts = (ErrorTerm(one.pool_variance, 1.0, grown), ErrorTerm(one.finish_variance, 1.0, warmer))

    def larger(factors: tuple[int, ...]) -> Sizes:
        return Sizes(now.size * factors[0], now.num_temperatures * factors[1])

    chosen = cheapest_factors(parts, allowed, lambda factors: cost(larger(factors)), affordable)
    return None if chosen is None else larger(chosen)


def in_pool_coordinates(prepared: Preparation, result: EnsembleResult) -> np.ndarray:
    """Express an ensemble's draws in the pool's coordinates, shape (num_particles, dim)."""
    location, scale = jnp.asarray(prepared.location), jnp.asarray(prepared.scale)
    return np.asarray(to_standard(location, scale, ravel_ensemble(result.position)))


class RestartLadder:
    """Grow pools and temperatures of the noised-pool restart; see `tolerance.Ladder`.

    Args:
        prepares: preparations of the replicates; each grows a pool of its own.
        run: runs one ensemble.
        sizes: sizes of the first restart.
        num_ensembles: ensembles of each replicate in the reported run.
    """

    exhausted = "the largest pool and number of temperatures are not enough"

    def __init__(
        self,
        prepares: list[Preparation],
        run: RunFn,
        *,
        sizes: RestartSizes,
        num_ensembles: int,
    ) -> None:
        self._first, self.prepares = list(prepares), list(prepares)
        self._run, self._sizes, self._num_ensembles = run, sizes, num_ensembles
        self._drawn: list[list[EnsembleResult]] = [[] for _ in prepares]
        self._tried: list[tuple[Trial, Sizes]] = []

    @property
    def first(self) -> Sizes:
        """The pool of the pilot, and the temperatures of the first restart."""
        return Sizes(1, self._sizes.num_temperatures)

    @property
    def discarded(self) -> list[EnsembleResult]:
        """All ensembles run so far."""
        return [result for results in self._drawn for result in results]

    def _draw(self, count: int, size: int, num_temperatures: int) -> int:
        """Run ensembles of each replicate from its present pool, and count their evaluations."""
        method, spent = duplicated_restart(self._sizes, size, num_temperatures), 0
        for replicate, prepared in enumerate(self.prepares):
            for _ in range(count):
                drawn = self._drawn[replicate]
                drawn.append(self._run(replicate, len(drawn), prepared, method))
                spent += spent_on(drawn[-1])
        return spent

    @property
    def _cheapest_enough(self) -> int:
        """Temperatures of draws for a pool: the fewest that suffice, as it needs many draws."""
        enough = (
            one.num_temperatures
            for one, _ in self._tried
            if one.finish_variance <= MAX_FINISH_VARIANCE
        )
        return min(enough, default=self._tried[-1][0].num_temperatures)

    def _missing(self, now: Sizes, new: Sizes) -> int:
        """Count the ensembles of each replicate that a pool of the new size still needs."""
        return max(new.size - len(self._drawn[0]), 0) if new.size > now.size else 0

    def trial(self, sizes: Sizes) -> Trial:
        """Enlarge the pools to the size, run one ensemble of each replicate, and measure it."""
        spent = 0
        if self._tried and sizes.size > self._tried[-1][1].size:
            now = self._tried[-1][1]
            spent += self._draw(self._missing(now, sizes), now.size, self._cheapest_enough)
            self.prepares = [
                first._replace(pool=_pool(first, results[-sizes.size :]))
                for first, results in zip(self._first, self._drawn, strict=True)
            ]
        spent += self._draw(1, sizes.size, sizes.num_temperatures)
        found = measured([np.asarray(results[-1].log_weight) for results in self._drawn])
        num_pool = self.prepares[0].pool.position.shape[0]
        threshold = MEMBERS_AT_STOP * sizes.size
        one = Trial(num_pool, threshold, sizes.num_temperatures, *found, evals=spent)
        self._tried.append((one, sizes))
        return one

    def larger(self, tolerance: float, affordable: float) -> Sizes | None:
        """See `next_sizes`."""
        one, now = self._tried[-1]

        def ahead(new: Sizes) -> int:
            pool = self._missing(now, new) * ensemble_evals(self._sizes, self._cheapest_enough)
            runs = (1 + self._num_ensembles) * ensemble_evals(self._sizes, new.num_temperatures)
            return len(self.prepares) * (pool + runs)

        return next_sizes(now, one, tolerance, ahead, affordable)

    def growth(self, now: Sizes, new: Sizes) -> str:
        """Say in words what grows."""
        return growth(
            ("ensembles in the pool", now.size, new.size),
            ("temperatures", now.num_temperatures, new.num_temperatures),
        )

    def method(self, sizes: Sizes) -> Method:
        """The restart from a pool of this size."""
        return restart_from(self._sizes, *sizes)


def _pool(first: Preparation, results: list[EnsembleResult]) -> Pool:
    position = np.concatenate([in_pool_coordinates(first, one) for one in results])
    log_weight = np.concatenate([np.asarray(one.log_weight) for one in results])
    return pool_from_draws(first.pool, position, log_weight, NUM_PARTICLES)
