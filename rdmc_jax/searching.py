"""New places to climb from: around all that was met, and where it does not explain the density.

A narrow mode in many dimensions is dominated by wider ones nearly everywhere, so few random
points climb to it. But where it does dominate, the density is higher than the Gaussians of the
modes met so far say, and that one evaluation shows.
"""

import jax
import jax.numpy as jnp

from .curvature import curvature, squared_length
from .moments import deviation_of
from .types import Array, LogDensityFn, PRNGKey

NUM_EXPLAINING = 64
OUTSIDER = -1e30
OCTAVES = (-1.0, 2.0)
"""Breadth of the candidates over the spread of what was met, in powers of two."""
FAR_OCTAVES = (2.0, 8.0)
"""The same for every fourth tournament: what was met may be one narrow mode of several."""
FEW, NUMBERS = 128, 2**16
"""Candidates that any search may have, and coordinates of those of one start beyond that: more
would need more memory than an ensemble does, in dimensions where they find nothing."""


def affordable(num_candidates: int, dim: int) -> int:
    """The number of candidates for each start, lowered where there are very many dimensions.

    >>> affordable(512, 64), affordable(512, 256), affordable(512, 2048), affordable(16, 2048)
    (512, 256, 128, 16)
    """
    return min(num_candidates, max(FEW, NUMBERS // dim))


def log_explained(logdensity_fn: LogDensityFn, met: Array, x: Array, rng_key: PRNGKey) -> Array:
    """The largest of the Gaussians that height and curvature at the points ``met`` describe.

    Args:
        logdensity_fn: target.
        met: points, shape (num_met, dim).
        x: where to evaluate, shape (num_points, dim).
        rng_key: for the curvature's random signs in many dimensions.

    Returns:
        Shape (num_points,).
    """

    def one(largest: Array, point: tuple[Array, PRNGKey]) -> tuple[Array, None]:
        center, key = point
        value, slope = jax.value_and_grad(logdensity_fn)(center)
        at = curvature(logdensity_fn, center, slope, key)
        height = value - 0.5 * squared_length(at, x - center[None, :])
        return jnp.maximum(largest, height), None

    keys = jax.random.split(rng_key, met.shape[0])
    nothing = jnp.full(x.shape[:1], -jnp.inf, x.dtype)
    return jax.lax.scan(one, nothing, (met, keys))[0]


def around(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    best: Array,
    width: Array,
    *,
    num_new: int,
    num_candidates: int,
) -> tuple[Array, Array]:
    """New starts from a Gaussian around the points ``best``.

    Each start wins a tournament: it is the candidate whose density is the least explained, of one,
    of an eighth, and of all of ``num_candidates``, in turn. Few keep the starts diverse, many find
    narrow modes.

    Args:
        rng_key: key.
        logdensity_fn: target.
        best: the points to start around, shape (num_best, dim).
        width: deviations within a mode at each of them, shape (num_best, dim).
        num_new: number of starts.
        num_candidates: for each of them.

    Returns:
        Starts, shape (num_new, dim), and the number of candidates without density.
    """
    dim, dtype = best.shape[1], best.dtype
    breadth_key, noise_key, explain_key = jax.random.split(rng_key, 3)
    # climbs that ended on one peak have no spread of their own, but that peak has a width
    deviation = jnp.sqrt(deviation_of(best) ** 2 + jnp.mean(width**2, axis=0))
    number = jnp.arange(num_new)
    is_far = number // 4 % 4 == 3
    low, high = (
        jnp.where(is_far, far, near) for near, far in zip(OCTAVES, FAR_OCTAVES, strict=True)
    )
    octave = low + (high - low) * jax.random.uniform(breadth_key, (num_new,), dtype)
    noise = jax.random.normal(noise_key, (num_new, num_candidates, dim), dtype)
    tries = (
        jnp.mean(best, axis=0)[None, None]
        + (2.0**octave)[:, None, None] * deviation[None, None] * noise
    )
    flat = tries.reshape(-1, dim)
    value = jax.lax.map(logdensity_fn, flat, batch_size=num_new)
    explained = log_explained(logdensity_fn, best[:NUM_EXPLAINING], flat, explain_key)
    is_finite = jnp.isfinite(value).reshape(num_new, -1)
    excess = jnp.where(is_finite, (value - explained).reshape(num_new, -1), -jnp.inf)
    sizes = jnp.asarray((1, num_candidates // 8, num_candidates, num_candidates))
    size = sizes[number % 4]
    is_in = jnp.arange(num_candidates)[None, :] < size[:, None]
    # those that are not in the tournament take part if nobody else has any density
    score = jnp.where(is_in, excess, jnp.where(is_finite, OUTSIDER, -jnp.inf))
    chosen = jnp.take_along_axis(tries, jnp.argmax(score, axis=1)[:, None, None], axis=1)[:, 0]
    fallback = best[jnp.arange(num_new) % best.shape[0]]
    new = jnp.where(jnp.any(is_finite, axis=1)[:, None], chosen, fallback)
    return new, jnp.sum(~is_finite, dtype=jnp.int32)


def evaluations_of_search(num_new: int, num_candidates: int, num_best: int, per_look: int) -> int:
    """Evaluations of one call of `around`."""
    return num_new * num_candidates + min(num_best, NUM_EXPLAINING) * per_look
