"""Kernel density estimate of a pool: the noised pool's density and its posterior moments.

Ensembles are worked on in blocks of particles, so that memory is O(block × number of points).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..target.flat import EXACT
from ..types import Array, Pool

BLOCK = 128
"""Particles that are worked on at a time."""


def squared_distance(x: Array, position: Array, unit: Array) -> Array:
    """``|(x - y_j)/unit|²`` for each row y_j of ``position``.

    It takes differences, not ``|x|² - 2xy + |y|²``, because modes may be thousands of their widths
    apart. CPUs go coordinate by coordinate: loops over the points are fast there, and loops over
    few coordinates are not. Accelerators prefer one kernel to one per coordinate.

    Args:
        x: one point, shape (dim,).
        position: shape (num_points, dim).
        unit: of length, for each coordinate or one for all.

    Returns:
        Shape (num_points,).
    """
    inverse = jnp.broadcast_to(1 / unit, x.shape)

    def by_coordinate(x: Array, position: Array, inverse: Array) -> Array:
        def add(total: Array, along: tuple[Array, Array, Array]) -> tuple[Array, None]:
            one, all_points, factor = along
            return total + ((one - all_points) * factor) ** 2, None

        return jax.lax.scan(add, jnp.zeros_like(position[:, 0]), (x, position.T, inverse))[0]

    def at_once(x: Array, position: Array, inverse: Array) -> Array:
        return jnp.sum(((x[None, :] - position) * inverse[None, :]) ** 2, axis=1)

    return jax.lax.platform_dependent(x, position, inverse, cpu=by_coordinate, default=at_once)


def log_kernel(x: Array, sigma: Array, pool: Pool) -> Array:
    """``log W_j - |x - y_j|²/(2σ²)`` for one particle, shape (num_points,)."""
    return pool.log_weight - 0.5 * squared_distance(x, pool.position, sigma)


class Average(NamedTuple):
    """Weighted average of points, for one particle."""

    log_sum: Array  # () log Σ_j w_j
    share: Array  # (num_points,) w_j / Σ w
    ess: Array  # () effective number of points
    mean: Array  # (dim,)
    variance: Array  # (dim,)


def average_of(log_weight: Array, points: Array) -> Average:
    """Mean and variance of points under weights, in the precision that accelerators need.

    Args:
        log_weight: of one particle, unnormalised, shape (num_points,); one of them is finite.
        points: shape (num_points, dim).

    Returns:
        `Average`.

    >>> found = average_of(jnp.zeros(2), jnp.array([[0.0], [2.0]]))
    >>> float(found.mean[0]), float(found.variance[0]), float(found.ess)
    (1.0, 1.0, 2.0)
    """
    log_sum = jax.nn.logsumexp(log_weight)
    share = jnp.exp(log_weight - log_sum)
    mean = jnp.matmul(share, points, precision=EXACT)
    ess = 1 / jnp.sum(share**2)
    return Average(log_sum, share, ess, mean, spread_about(share, points, mean))


def spread_about(share: Array, points: Array, center: Array) -> Array:
    """``Σ_j share_j (y_j - center)²``, one coordinate after the other to save memory.

    Args:
        share: shape (num_points,).
        points: shape (num_points, dim).
        center: shape (dim,).

    Returns:
        Shape (dim,).
    """

    def along(pair: tuple[Array, Array]) -> Array:
        values, middle = pair
        return jnp.vdot(share, (values - middle) ** 2, precision=EXACT)

    return jax.lax.map(along, (points.T, center))


def pooled_moments(x: Array, sigma: Array, pool: Pool) -> tuple[Array, Array, Array, Array]:
    """Kernel averages of the pool at ``x``: log p̂, ess, mean and variance.

    Args:
        x: shape (num_particles, dim).
        sigma: noise of each particle, shape (num_particles,).
        pool: normalised or not; p̂ is normalised.

    Returns:
        ``log p̂_σ(x)``, effective number of members, and mean and variance of the members'
        posterior, shapes (num_particles,), (num_particles,), and twice (num_particles, dim).
    """

    def one(x: Array, sigma: Array) -> tuple[Array, Array, Array, Array]:
        found = average_of(log_kernel(x, sigma, pool), pool.position)
        log_density = found.log_sum - 0.5 * x.shape[0] * jnp.log(2 * jnp.pi * sigma**2)
        return log_density, found.ess, found.mean, found.variance

    log_density, ess, mean, variance = jax.lax.map(
        lambda args: one(*args), (x, sigma), batch_size=BLOCK
    )
    return log_density - jax.nn.logsumexp(pool.log_weight), ess, mean, variance


def pooled_covariance(x: Array, sigma: Array, mean: Array, pool: Pool) -> Array:
    """Covariance of the members' posterior at ``x``, about its mean.

    Args:
        x: shape (num_particles, dim).
        sigma: noise of each particle, shape (num_particles,).
        mean: of `pooled_moments`.
        pool: normalised or not.

    Returns:
        Shape (num_particles, dim, dim).
    """

    def one(x: Array, sigma: Array, mean: Array) -> Array:
        share = jax.nn.softmax(log_kernel(x, sigma, pool))
        offset = pool.position - mean[None, :]
        return jnp.matmul((share[:, None] * offset).T, offset, precision=EXACT)

    return jax.lax.map(lambda args: one(*args), (x, sigma, mean), batch_size=BLOCK)
