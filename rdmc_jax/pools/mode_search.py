"""Climb towards modes by damped Newton steps, and find new places to climb from.

A point is judged by the mass of the Gaussian that its height and curvature describe. By its height
alone, a spike of no mass would win. A point does not count more because many climbs reached it.

A narrow mode in many dimensions is dominated by wider ones nearly everywhere, so few random
points climb to it. But where it does dominate, the density is higher than the Gaussians of the
modes met so far explain, and one evaluation there shows this.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..diffusion.kde import squared_distance
from ..types import Array, LogDensityFn, PRNGKey
from .curvature import (
    covariance,
    curvature,
    deviations,
    half_log_det,
    newton_step,
    products_per_point,
    squared_length,
)
from .pool import deviation_of

NUM_SHRINKS = 8
"""Lengths of an offset that are tried, each a quarter of the one before."""
MASS_RANGE = 16.0
"""Range of log masses: modes below ``e^-16`` of the largest mass are dropped."""
LENGTHS = (2.0, 1.0, 0.4, 0.1, 0.01)
"""Fractions of the Newton step that are tried."""
LONG = 30.0
"""Replaces the first fraction where there is no curvature, and so no true Newton step."""


class LocalGaussian(NamedTuple):
    """Height and curvature at a point, in the coordinates ``x = unit u``."""

    x: Array
    value: Array
    newton: Array  # |H|^{-1} g
    deviation: Array  # √diag |H|^{-1}
    log_mass: Array  # value - ½ log det |H|
    is_flat: Array  # no curvature in any coordinate
    covariance: Array | None  # |H|^{-1}, (dim, dim)


def local_gaussian(logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey) -> LocalGaussian:
    """Height, Newton step and Gaussian widths at one point."""
    value, slope = jax.value_and_grad(logdensity_fn)(x)
    at = curvature(logdensity_fn, x, slope, rng_key)
    log_mass = value - half_log_det(at)
    return LocalGaussian(
        x, value, newton_step(at, slope), deviations(at), log_mass, at.is_flat, covariance(at)
    )


def newton_ascent(
    logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey, num_steps: int
) -> tuple[LocalGaussian, Array]:
    """Climb from one point towards a maximum by damped Newton steps.

    Returns:
        The local Gaussian at every step, and the number of tried points without density.
    """
    lengths = jnp.asarray(LENGTHS, x.dtype)

    def body(x: Array, key: PRNGKey) -> tuple[Array, tuple[LocalGaussian, Array]]:
        here = local_gaussian(logdensity_fn, x, key)
        fractions = lengths.at[0].set(jnp.where(here.is_flat, LONG, lengths[0]))
        tries = x[None, :] + fractions[:, None] * here.newton[None, :]
        values = jax.vmap(logdensity_fn)(tries)
        values = jnp.where(jnp.isfinite(values), values, -jnp.inf)
        best = jnp.argmax(values)
        new = jnp.where(values[best] > here.value, tries[best], x)
        return new, (here, jnp.sum(values == -jnp.inf, dtype=jnp.int32))

    _, (seen, bad) = jax.lax.scan(body, x, jax.random.split(rng_key, num_steps))
    return seen, jnp.sum(bad)


def supported_point(logdensity_fn: LogDensityFn, position: Array, offset: Array) -> Array:
    """The farthest of ``position + 4^{-k} offset`` with positive density: supports may be small."""
    tries = position[None, :] + 4.0 ** -jnp.arange(NUM_SHRINKS)[:, None] * offset[None, :]
    tries = tries.astype(position.dtype)
    return tries[jnp.argmax(jnp.isfinite(jax.vmap(logdensity_fn)(tries)))]


def clip_widths(met: LocalGaussian) -> LocalGaussian:
    """Limit deviations to 30 times their median, and to the breadth of the points met.

    Where curvature vanishes it says nothing of widths. On a ridge, where it is mostly rounding
    error, it would give far too large masses.
    """
    typical = jnp.nanmedian(
        jnp.where(jnp.isfinite(met.log_mass)[:, None], met.deviation, jnp.nan), 0
    )
    bound = 30 * jnp.broadcast_to(typical, met.deviation.shape)
    is_finite = jnp.isfinite(met.value)[:, None]
    low = jnp.min(jnp.where(is_finite, met.x, jnp.inf), axis=0)
    breadth = jnp.max(jnp.where(is_finite, met.x, -jnp.inf), axis=0) - low
    bound = jnp.where(breadth > 0, jnp.minimum(bound, breadth[None, :]), bound)
    deviation = jnp.minimum(met.deviation, bound)
    ratio = deviation / met.deviation
    shape = met.covariance
    if shape is not None:
        shape = shape * ratio[:, :, None] * ratio[:, None, :]
    log_mass = met.log_mass + jnp.sum(jnp.log(ratio), axis=-1)
    return met._replace(deviation=deviation, log_mass=log_mass, covariance=shape)


def crowding(met: LocalGaussian) -> Array:
    """Number of points within the Gaussian that the curvature at each point describes."""

    def one(x: Array, deviation: Array) -> Array:
        return jnp.sum(jnp.exp(-0.5 * squared_distance(x, met.x, 2 * deviation)))

    return jnp.maximum(jax.lax.map(lambda p: one(*p), (met.x, met.deviation), batch_size=64), 1.0)


def log_rank(met: LocalGaussian) -> Array:
    """Log weights that choose modes by the square root of their mass, however many points met them.

    The square root is taken because masses are rough. Modes below ``e^{-MASS_RANGE}`` of the best
    mass get no weight.
    """
    mass = jnp.where(jnp.isfinite(met.log_mass), met.log_mass, -jnp.inf)
    is_worth = mass > jnp.max(mass) - MASS_RANGE
    return jnp.where(is_worth, 0.5 * mass - jnp.log(crowding(met)), -jnp.inf)


def evaluations_per_climb(dim: int) -> tuple[int, int]:
    """Density and gradient evaluations of one Newton step; a Hessian product counts as one."""
    gradients = 1 + products_per_point(dim)
    return gradients + len(LENGTHS), gradients


NUM_EXPLAINING = 64
"""Points whose Gaussians explain the density of candidates, at most."""
OUTSIDER = -1e30
"""Score of a candidate outside the tournament: it wins only if no member has any density."""
OCTAVES = (-1.0, 2.0)
"""Range of the candidates' breadth over the spread of the points met, in powers of two."""
FAR_OCTAVES = (2.0, 8.0)
"""The same for a quarter of the tournaments: the points met may be one narrow mode of several."""
FEW, NUMBERS = 128, 2**16
"""Candidates that each start may have in any dimension, and, beyond that number, coordinates that
the candidates of one start may have together. More would need more memory than an ensemble does, in
dimensions where they find nothing."""


def affordable(num_candidates: int, dim: int) -> int:
    """The number of candidates for each start, lowered where there are very many dimensions.

    >>> affordable(512, 64), affordable(512, 256), affordable(512, 2048), affordable(16, 2048)
    (512, 256, 128, 16)
    """
    return min(num_candidates, max(FEW, NUMBERS // dim))


def log_explained(logdensity_fn: LogDensityFn, met: Array, x: Array, rng_key: PRNGKey) -> Array:
    """Log of the largest of the Gaussians that height and curvature at the points ``met`` describe.

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


def propose_starts(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    best: Array,
    width: Array,
    *,
    num_new: int,
    num_candidates: int,
) -> tuple[Array, Array]:
    """New starts from a Gaussian around the points ``best``.

    Each start wins a tournament: it is the candidate whose density exceeds most what the Gaussians
    of the points ``best`` explain. Tournaments have one member, an eighth of ``num_candidates``,
    and all of them (twice), in turn. Few members keep the starts diverse, many find narrow modes.

    Args:
        rng_key: key.
        logdensity_fn: target.
        best: the points to start around, shape (num_best, dim).
        width: deviations within a mode at each of them, shape (num_best, dim).
        num_new: number of starts.
        num_candidates: candidates for each of them.

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
    # candidates outside the tournament take part if no member has any density
    score = jnp.where(is_in, excess, jnp.where(is_finite, OUTSIDER, -jnp.inf))
    chosen = jnp.take_along_axis(tries, jnp.argmax(score, axis=1)[:, None, None], axis=1)[:, 0]
    fallback = best[jnp.arange(num_new) % best.shape[0]]
    new = jnp.where(jnp.any(is_finite, axis=1)[:, None], chosen, fallback)
    return new, jnp.sum(~is_finite, dtype=jnp.int32)


def evaluations_of_search(num_new: int, num_candidates: int, num_best: int, per_look: int) -> int:
    """Evaluations of one call of `propose_starts`."""
    return num_new * num_candidates + min(num_best, NUM_EXPLAINING) * per_look
