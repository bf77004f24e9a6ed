"""Climb towards modes by damped Newton steps, and tell how much mass a mode has from its height.

A point is judged by the mass of the Gaussian that its height and curvature describe, not by its
height: a spike of no mass would win. Points that many climbers reached do not count more for it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .averages import squared_distance
from .curvature import (
    covariance,
    curvature,
    deviations,
    half_log_det,
    newton_step,
    products_per_point,
)
from .types import Array, LogDensityFn, PRNGKey

NUM_SHRINKS = 8
MASS_RANGE = 16.0
"""Modes of ``e^-16`` of the largest mass are dropped."""
LENGTHS = (2.0, 1.0, 0.4, 0.1, 0.01)
"""Fractions of the Newton step that are tried."""
LONG = 30.0
"""Takes the place of the first where there is no curvature, so no Newton step, to go by."""


class Local(NamedTuple):
    """Height and curvature at a point, in the coordinates ``x = unit u``."""

    x: Array
    value: Array
    newton: Array  # |H|^{-1} g
    deviation: Array  # √diag |H|^{-1}
    log_mass: Array  # value - ½ log det |H|
    is_flat: Array  # no curvature in any coordinate
    covariance: Array | None  # |H|^{-1}, (dim, dim)


def look(logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey) -> Local:
    """Height, Newton step and Gaussian widths at one point."""
    value, slope = jax.value_and_grad(logdensity_fn)(x)
    at = curvature(logdensity_fn, x, slope, rng_key)
    log_mass = value - half_log_det(at)
    return Local(
        x, value, newton_step(at, slope), deviations(at), log_mass, at.is_flat, covariance(at)
    )


def climb(
    logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey, num_steps: int
) -> tuple[Local, Array]:
    """Damped Newton steps from one point towards a maximum; what was seen at every step."""
    lengths = jnp.asarray(LENGTHS, x.dtype)

    def body(x: Array, key: PRNGKey) -> tuple[Array, tuple[Local, Array]]:
        here = look(logdensity_fn, x, key)
        fractions = lengths.at[0].set(jnp.where(here.is_flat, LONG, lengths[0]))
        tries = x[None, :] + fractions[:, None] * here.newton[None, :]
        values = jax.vmap(logdensity_fn)(tries)
        values = jnp.where(jnp.isfinite(values), values, -jnp.inf)
        best = jnp.argmax(values)
        new = jnp.where(values[best] > here.value, tries[best], x)
        return new, (here, jnp.sum(values == -jnp.inf, dtype=jnp.int32))

    _, (seen, bad) = jax.lax.scan(body, x, jax.random.split(rng_key, num_steps))
    return seen, jnp.sum(bad)


def inside(logdensity_fn: LogDensityFn, position: Array, offset: Array) -> Array:
    """The farthest of ``position + 4^{-k} offset`` with positive density: supports may be small."""
    tries = position[None, :] + 4.0 ** -jnp.arange(NUM_SHRINKS)[:, None] * offset[None, :]
    tries = tries.astype(position.dtype)
    return tries[jnp.argmax(jnp.isfinite(jax.vmap(logdensity_fn)(tries)))]


def bounded(met: Local) -> Local:
    """Deviations at most 30 times what is typical, and at most the breadth of what was met.

    Where curvature vanishes it says nothing, and on a ridge its rounding would promise masses.
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


def crowding(met: Local) -> Array:
    """Number of points within the Gaussian that the curvature at each point describes."""

    def one(x: Array, deviation: Array) -> Array:
        return jnp.sum(jnp.exp(-0.5 * squared_distance(x, met.x, 2 * deviation)))

    return jnp.maximum(jax.lax.map(lambda p: one(*p), (met.x, met.deviation), batch_size=64), 1.0)


def log_rank(met: Local) -> Array:
    """Log weights that visit modes by the square root of their mass, however many met them.

    The square root because masses are rough; modes below ``e^{-MASS_RANGE}`` of the best mass get
    none.
    """
    mass = jnp.where(jnp.isfinite(met.log_mass), met.log_mass, -jnp.inf)
    is_worth = mass > jnp.max(mass) - MASS_RANGE
    return jnp.where(is_worth, 0.5 * mass - jnp.log(crowding(met)), -jnp.inf)


def evaluations_per_climb(dim: int) -> tuple[int, int]:
    """Density and gradient evaluations of one Newton step; a Hessian product counts as one."""
    gradients = 1 + products_per_point(dim)
    return gradients + len(LENGTHS), gradients
