"""Kernel averages of a pool: the noised pool's density, its posterior moments, where to stop.

All work on blocks of particles, so that memory is O(block × number of points).
"""

import jax
import jax.numpy as jnp

from .types import Array, Pool

BLOCK = 128


def _log_kernel(x: Array, sigma: Array, columns: Array, log_weight: Array) -> Array:
    """Of one particle; ``columns`` are the points, shape (dim, num_points).

    Points lie along the last axis, so that sums over coordinates are sums of long vectors: with the
    coordinates last, two dimensions cost ten times as much on a CPU.
    """
    z = (x[:, None] - columns) / sigma
    return log_weight - 0.5 * jnp.sum(z * z, axis=0)


def log_kernel(x: Array, sigma: Array, pool: Pool) -> Array:
    """``log W_j - |x - y_j|²/(2σ²)`` for a block of particles, shape (block, num_points)."""
    columns = pool.position.T
    return jax.vmap(lambda x, sigma: _log_kernel(x, sigma, columns, pool.log_weight))(x, sigma)


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
    columns = pool.position.T

    def one(x: Array, sigma: Array) -> tuple[Array, Array, Array, Array]:
        log_kernel = _log_kernel(x, sigma, columns, pool.log_weight)
        log_sum = jax.nn.logsumexp(log_kernel)
        share = jnp.exp(log_kernel - log_sum)
        mean = columns @ share
        variance = (columns - mean[:, None]) ** 2 @ share
        log_density = log_sum - 0.5 * x.shape[0] * jnp.log(2 * jnp.pi * sigma**2)
        return log_density, 1 / jnp.sum(share**2), mean, variance

    log_density, ess, mean, variance = jax.lax.map(
        lambda args: one(*args), (x, sigma), batch_size=BLOCK
    )
    return log_density - jax.nn.logsumexp(pool.log_weight), ess, mean, variance


def stop_levels(
    paths: Array, sigmas: Array, pool: Pool, threshold: float, first: Array | int = 0
) -> Array:
    """First level, coarse to fine, where a particle's kernel ess falls below ``threshold``.

    Looks at coarser points of the path only, so the density ratio at the stop is exact.

    Args:
        paths: noised positions, coarse to fine, shape (num_sigmas, num_particles, dim).
        sigmas: decreasing noise levels, shape (num_sigmas,).
        pool: the pool.
        threshold: effective number of members.
        first: level to begin at.

    Returns:
        Level of each particle, shape (num_particles,).
    """
    num_sigmas, num_particles, _ = paths.shape
    columns = pool.position.T

    def kernel_ess(x: Array, sigma: Array) -> Array:
        log_share = _log_kernel(x, sigma, columns, pool.log_weight)
        share = jnp.exp(log_share - jnp.max(log_share))
        return jnp.sum(share) ** 2 / jnp.sum(share**2)

    def is_running(carry: tuple[Array, Array, Array]) -> Array:
        level, _, stopped = carry
        return (level < num_sigmas) & ~jnp.all(stopped)

    def body(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        level, stop, stopped = carry
        sigma = jnp.full((num_particles,), sigmas[level])
        ess = jax.lax.map(
            lambda args: kernel_ess(*args),
            (paths[level], sigma),
            batch_size=BLOCK,
        )
        stop = jnp.where(stopped, stop, level)
        return level + 1, stop, stopped | (ess < threshold)

    begin = jnp.asarray(first, jnp.int32)
    none = jnp.zeros((num_particles,), bool)
    carry = (begin, jnp.full((num_particles,), begin), none)
    return jax.lax.while_loop(is_running, body, carry)[1]
