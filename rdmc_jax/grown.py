"""A restart from a larger pool: weighted draws of earlier restarts beside the old pool.

The law of a noised pool is nearer to that of the noised target the more members speak for each
particle, so pool and threshold grow together and each particle stops at less noise.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .compose import Method, rdmc
from .diagnostics import log_mean_exp
from .memo import memoised
from .pool import fixed_pool
from .restart import no_levels, noised_pool
from .reweighting import NO_ORIGIN
from .rungs import NUM_PARTICLES, Rung, restart_finish
from .types import Array, LogDensityFn, Pool, PRNGKey, Process, Start, StartDraws

THRESHOLD = 25.0
"""Members that speak for a particle where it stops, per `NUM_PARTICLES` points of the pool."""


@memoised
def paired(start: Start) -> Start:
    """Each particle of a start twice: the finish then shows its own noise.

    Args:
        start: of half as many particles.

    Returns:
        A `Start`, particle i and particle ``i + num_particles/2`` at the same point. Both weights
        are as unbiased as those of `start`, so pairs are as good for pools as other draws.
    """

    def sample(
        rng_key: PRNGKey, logdensity_fn: LogDensityFn, process: Process, time: float, known: Pool
    ) -> StartDraws:
        drawn = start.sample(rng_key, logdensity_fn, process, time, known)

        def twice(leaf: Array) -> Array:
            return leaf if jnp.ndim(leaf) == 0 else jnp.concatenate([leaf, leaf])

        return jax.tree.map(twice, drawn)

    return Start(sample, 2 * start.num_particles, start.is_adaptive)


def grown_method(rung: Rung, size: int, num_temperatures: int) -> Method:
    """The restart from a pool of ``size`` ensembles.

    Args:
        rung: says which kernel.
        size: draws in the pool over `NUM_PARTICLES`, a power of two; 1 for the pool of the rung.
        num_temperatures: of the finish.
    """
    start = noised_pool(num_particles=NUM_PARTICLES, threshold=THRESHOLD * size)
    return rdmc(start, no_levels(), restart_finish(rung, num_temperatures))


def paired_method(rung: Rung, size: int, num_temperatures: int) -> Method:
    """The same with `paired` particles, for ensembles that are measured and thrown away."""
    half = noised_pool(num_particles=NUM_PARTICLES // 2, threshold=THRESHOLD * size)
    return rdmc(paired(half), no_levels(), restart_finish(rung, num_temperatures))


def grown_pool(old: Pool, position: np.ndarray, log_weight: np.ndarray) -> Pool:
    """Weighted draws and the old pool, whose share is that of one ensemble among them.

    The old pool stays because draws with too little mass somewhere would make weights with heavy
    tails there: what they overlooked stays possible. Weights are truncated at √n times the mean.

    Args:
        old: first pool of the replicate.
        position: draws in the pool's coordinates, shape (num_draws, dim).
        log_weight: theirs, of any ensembles whose mean weight is Z, shape (num_draws,).

    Returns:
        A `Pool` of num_draws points more; the old one if no draw has weight.
    """
    log_weight = np.where(np.isnan(log_weight), -np.inf, np.asarray(log_weight, np.float64))
    if not np.any(np.isfinite(log_weight)):
        return old
    count = log_weight.size
    relative = log_weight - log_mean_exp(log_weight)
    with np.errstate(divide="ignore"):
        drawn = np.minimum(relative, 0.5 * np.log(count))
        drawn = drawn - log_mean_exp(drawn) - np.log(count)
        share = min(NUM_PARTICLES / count, 0.5)
        kept = np.asarray(jax.nn.log_softmax(jnp.asarray(old.log_weight)), np.float64)
        weights: Any = np.concatenate([drawn + np.log1p(-share), kept + np.log(share)])
    points = np.concatenate([position, np.asarray(old.position)])
    dtype = np.asarray(old.position).dtype
    pool = fixed_pool(jnp.asarray(points, dtype), jnp.asarray(weights, dtype))
    origin = np.concatenate([np.full(count, NO_ORIGIN), np.asarray(old.origin)])
    return pool._replace(origin=jnp.asarray(origin, jnp.int32), coarsest=jnp.asarray(old.coarsest))
