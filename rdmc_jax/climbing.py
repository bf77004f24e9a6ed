"""Climb towards modes by damped Newton steps, and tell how much mass a mode has from its height.

A point is judged by the mass of the Gaussian that its height and curvature describe, not by its
height: a spike of no mass would win. Points that many climbers
reached are not to count more for it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .types import Array, LogDensityFn, PRNGKey

MAX_NEWTON_DIM = 128
"""Above this dimension Hessians are too dear: their diagonal is estimated by random signs."""
NUM_PROBES = 16
NUM_SHRINKS = 8
MASS_RANGE = 16.0
"""Modes of ``e^-16`` of the largest mass are dropped."""
NUM_TRIES = 5


class Local(NamedTuple):
    """Height and curvature at a point, in the coordinates ``x = unit u``."""

    x: Array
    value: Array
    newton: Array  # |H|^{-1} g
    deviation: Array  # √diag |H|^{-1}
    log_mass: Array  # value - ½ log det |H|


def _hessian(logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey) -> Array:
    """Hessian, or a diagonal estimate of it where the dimension is large."""
    gradient = jax.grad(logdensity_fn)

    def along(v: Array) -> Array:
        return jax.grad(lambda y: jnp.vdot(gradient(y), v))(x)

    if x.shape[0] <= MAX_NEWTON_DIM:
        return jax.vmap(along)(jnp.eye(x.shape[0], dtype=x.dtype))
    signs = jax.random.rademacher(rng_key, (NUM_PROBES, x.shape[0]), x.dtype)
    return jnp.diag(jnp.mean(signs * jax.vmap(along)(signs), axis=0))


def _equilibrated(
    logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey
) -> tuple[Array, Array, Array]:
    """Units, absolute eigenvalues and eigenvectors of the Hessian."""
    hessian = _hessian(logdensity_fn, x, rng_key)
    hessian = jnp.where(
        jnp.all(jnp.isfinite(hessian)), hessian, -jnp.eye(x.shape[0], dtype=x.dtype)
    )
    # equilibrated first: coordinates of very different scale would drown each other's
    # eigenvalues in rounding
    diagonal = jnp.maximum(jnp.max(jnp.abs(hessian), axis=0), 1e-30)
    unit = 1 / jnp.sqrt(diagonal)
    values, vectors = jnp.linalg.eigh(hessian * unit[:, None] * unit[None, :])
    return unit, jnp.maximum(jnp.abs(values), 1e-3), vectors


def curvature_at(logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey) -> tuple[Array, Array]:
    """Height at ``x`` and a root R of the absolute Hessian there, ``|H| = R Rᵀ``."""
    unit, curvature, vectors = _equilibrated(logdensity_fn, x, rng_key)
    return logdensity_fn(x), vectors * jnp.sqrt(curvature)[None, :] / unit[:, None]


def look(logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey) -> Local:
    """Height, Newton step and Gaussian widths at one point."""
    value, gradient = jax.value_and_grad(logdensity_fn)(x)
    unit, curvature, vectors = _equilibrated(logdensity_fn, x, rng_key)
    newton = unit * (vectors @ ((vectors.T @ (unit * gradient)) / curvature))
    deviation = unit * jnp.sqrt(jnp.sum(vectors**2 / curvature[None, :], axis=1))
    log_mass = value - 0.5 * jnp.sum(jnp.log(curvature)) + jnp.sum(jnp.log(unit))
    return Local(x, value, newton, deviation, log_mass)


def climb(
    logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey, num_steps: int
) -> tuple[Local, Array]:
    """Damped Newton steps from one point towards a maximum; what was seen at every step."""
    lengths = jnp.asarray([1.0, 0.4, 0.1, 0.01, 0.0], x.dtype)

    def body(x: Array, key: PRNGKey) -> tuple[Array, tuple[Local, Array]]:
        here = look(logdensity_fn, x, key)
        tries = x[None, :] + lengths[:, None] * here.newton[None, :]
        values = jax.vmap(logdensity_fn)(tries)
        values = jnp.where(jnp.isfinite(values), values, -jnp.inf)
        return tries[jnp.argmax(values)], (here, jnp.sum(values == -jnp.inf, dtype=jnp.int32))

    _, (seen, bad) = jax.lax.scan(body, x, jax.random.split(rng_key, num_steps))
    return seen, jnp.sum(bad)


def inside(logdensity_fn: LogDensityFn, position: Array, offset: Array) -> Array:
    """The farthest of ``position + 4^{-k} offset`` with positive density: supports may be small."""
    tries = position[None, :] + 4.0 ** -jnp.arange(NUM_SHRINKS)[:, None] * offset[None, :]
    tries = tries.astype(position.dtype)
    return tries[jnp.argmax(jnp.isfinite(jax.vmap(logdensity_fn)(tries)))]


def bounded(met: Local) -> Local:
    """Deviations at most 30 times what is typical: where curvature vanishes it says nothing."""
    typical = jnp.nanmedian(
        jnp.where(jnp.isfinite(met.log_mass)[:, None], met.deviation, jnp.nan), 0
    )
    bound = 30 * jnp.broadcast_to(typical, met.deviation.shape)
    deviation = jnp.minimum(met.deviation, bound)
    excess = jnp.sum(jnp.log(met.deviation / deviation), axis=-1)
    return met._replace(deviation=deviation, log_mass=met.log_mass - excess)


def crowding(met: Local) -> Array:
    """Number of points within the Gaussian that the curvature at each point describes."""

    def one(x: Array, deviation: Array) -> Array:
        z = (met.x - x[None, :]) / (2 * deviation[None, :])
        return jnp.sum(jnp.exp(-0.5 * jnp.sum(z * z, axis=-1)))

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
    gradients = 1 + (dim if dim <= MAX_NEWTON_DIM else NUM_PROBES)
    return gradients + NUM_TRIES, gradients
