"""Tolerance in: pools and temperatures grow until a pilot's certificate meets it.

Everything here is thrown away but the pools: the reported run has the frozen plan and fresh keys,
so no weight that it reports has decided anything (METHOD 5).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ..draws.plan import Accuracy, Trial
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
from ..types import Pool
from .defaults import ensemble_evals
from .tolerance import MARGIN, ErrorTerm, RunFn, SearchResult, cheapest_factors, growth, trial_line

LARGEST = 3.0
"""Of |log(w/Z)| that counts in variances: a few draws of no weight would drown all others."""


MAX_SIZE = 64


MAX_TEMPERATURES = 1024


FINISHED = 0.25
"""Finish variance of log w that draws for a pool may have: four of five still count."""


class Sizes(NamedTuple):
    """Of a restart from a grown pool."""

    size: int  # of the pool, in ensembles
    num_temperatures: int


def measured(log_weights: list[np.ndarray]) -> tuple[float, float, float, float]:
    """Bound, its limit, and the two variances of log w, of paired ensembles.

    Args:
        log_weights: one array (num_particles,) for each replicate, pairs half an array apart.

    Returns:
        tv_bound, its upper limit, finish variance ``½ Var(difference within pairs)``, and the
        rest of the variance, of ``log(w/Z)`` cut at ±`LARGEST`; infinite without any weight.
    """
    replicate = np.repeat(np.arange(len(log_weights)), [w.size for w in log_weights])
    joined = np.concatenate(log_weights).astype(np.float64)
    joined = np.where(np.isnan(joined), -np.inf, joined)
    # pairs lie half an array apart, and each array has pairs of its own
    within = np.concatenate([np.arange(w.size) % (w.size // 2) for w in log_weights])
    bound = tv_limit(joined, replicate, pair=within + joined.size * replicate)
    if not np.any(np.isfinite(joined)):
        return bound.estimate, bound.upper, math.inf, math.inf
    # a draw without weight counts as a bad one, not as an infinite one: its share is what matters
    joined = np.clip(joined - log_mean_exp(joined), -LARGEST, LARGEST)
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
    """Larger sizes, where it is cheapest to come down to what is allowed.

    The bound is about proportional to the deviation of log w; its variance falls like one over the
    number of temperatures, and over the size of the pool. Sizes are powers of two times the first
    ones, so that each is compiled once.

    Returns:
        Sizes, or None where the ladder or the budget ends.
    """
    allowed = (one.finish_variance + one.pool_variance) * (MARGIN * tolerance / one.tv_limit) ** 2
    # a pool of one ensemble beside the old one is hardly larger than it
    grown = (1, 4) if now.size == 1 else _factors(now.size, MAX_SIZE)
    warmer = _factors(now.num_temperatures, MAX_TEMPERATURES)
    parts = (ErrorTerm(one.pool_variance, 1.0, grown), ErrorTerm(one.finish_variance, 1.0, warmer))

    def larger(factors: tuple[int, ...]) -> Sizes:
        return Sizes(now.size * factors[0], now.num_temperatures * factors[1])

    chosen = cheapest_factors(parts, allowed, lambda factors: cost(larger(factors)), affordable)
    return None if chosen is None else larger(chosen)


def in_pool_coordinates(prepared: Preparation, result: EnsembleResult) -> np.ndarray:
    """An ensemble's draws as points of the pool, shape (num_particles, dim)."""
    location, scale = jnp.asarray(prepared.location), jnp.asarray(prepared.scale)
    return np.asarray(to_standard(location, scale, ravel_ensemble(result.position)))


def search_sizes(
    prepares: list[Preparation],
    run: RunFn,
    rung: RestartSizes,
    *,
    tolerance: float,
    num_ensembles: int,
    max_total: float,
    tell: Callable[[str], None],
) -> SearchResult:
    """Grow pools and temperatures until the limit of a thrown-away pilot meets the tolerance.

    Args:
        prepares: of the replicates; each grows a pool of its own.
        run: runs one ensemble.
        rung: of the restart.
        tolerance: requested total variation.
        num_ensembles: of the reported run, per replicate.
        max_total: evaluations at most, all in all; ``inf`` for no cap but the ladder's end.
        tell: called with a line after each generation.

    Returns:
        `SearchResult`: the generation with the lowest limit.
    """
    num_replicates = len(prepares)
    spent = sum(int(max(one.pool.num_evals)) for one in prepares)
    sizes = Sizes(1, rung.num_temperatures)
    pools = list(prepares)
    drawn: list[list[EnsembleResult]] = [[] for _ in prepares]
    tried: list[tuple[Trial, list[Preparation], Sizes]] = []
    since = 0

    def grow(count: int, num_temperatures: int) -> None:
        nonlocal since, spent
        method = duplicated_restart(rung, sizes.size, num_temperatures)
        for replicate, prepared in enumerate(pools):
            for _ in range(count):
                number = len(drawn[replicate])
                drawn[replicate].append(run(replicate, number, prepared, method))
                evals = drawn[replicate][-1].info.num_evals
                cost = max(int(np.sum(evals.logdensity)), int(np.sum(evals.gradient)))
                since, spent = since + cost, spent + cost

    def tell_of(one: Trial, follows: str) -> None:
        tell(trial_line(len(tried) - 1, one.tv_limit, MARGIN * tolerance, spent, follows))

    def missing(now: Sizes, new: Sizes) -> int:
        """Ensembles of each replicate that a pool of the new size still needs."""
        return max(new.size - len(drawn[0]), 0) if new.size > now.size else 0

    while True:
        grow(1, sizes.num_temperatures)
        found = measured([np.asarray(results[-1].log_weight) for results in drawn])
        num_pool = pools[0].pool.position.shape[0]
        one = Trial(
            num_pool, MEMBERS_AT_STOP * sizes.size, sizes.num_temperatures, *found, evals=since
        )
        tried.append((one, list(pools), sizes))
        since = 0
        if one.tv_limit <= MARGIN * tolerance:
            stopped = "met by the pilot"
            break
        now = sizes
        # a pool needs more draws rather than better ones
        coarse = min(
            (g.num_temperatures for g, _, _ in tried if g.finish_variance <= FINISHED),
            default=now.num_temperatures,
        )

        def ahead(new: Sizes, now: Sizes = now, coarse: int = coarse) -> int:
            pool = missing(now, new) * ensemble_evals(rung, coarse)
            runs = (1 + num_ensembles) * ensemble_evals(rung, new.num_temperatures)
            return num_replicates * (pool + runs)

        wanted = next_sizes(sizes, one, tolerance, ahead)
        if wanted is None:
            stopped = "the largest pool and number of temperatures are not enough"
            break
        new = next_sizes(sizes, one, tolerance, ahead, max_total - spent)
        if new is None:
            stopped = "the next size would exceed max_evals"
            break
        knobs = (
            ("ensembles in the pool", sizes.size, new.size),
            ("temperatures", sizes.num_temperatures, new.num_temperatures),
        )
        tell_of(one, growth(*knobs))
        more = missing(sizes, new)
        grow(more, coarse)
        if new.size > sizes.size:
            pools = [
                first._replace(pool=_pool(first, results[-new.size :]))
                for first, results in zip(prepares, drawn, strict=True)
            ]
        sizes = new
    tell_of(one, stopped)
    best = min(range(len(tried)), key=lambda k: tried[k][0].tv_limit)
    one, chosen, sizes = tried[best]
    record = Accuracy(tolerance, one.tv_limit, tuple(t[0] for t in tried), best, stopped)
    discarded = [result for results in drawn for result in results]
    return SearchResult(chosen, restart_from(rung, *sizes), discarded, record)


def _pool(first: Preparation, results: list[EnsembleResult]) -> Pool:
    position = np.concatenate([in_pool_coordinates(first, one) for one in results])
    log_weight = np.concatenate([np.asarray(one.log_weight) for one in results])
    return pool_from_draws(first.pool, position, log_weight, NUM_PARTICLES)
