"""Noised-pool restart: the noisy part of the reverse diffusion of a fixed pool, in closed form.

Noising a member of a fixed pool {(y_j, W_j)} gives the law ``p̂_σ(x) = Σ_j W_j N(x; y_j, σ²I)``
exactly, and its denoising posterior means are kernel averages: no target evaluation, no sequence of
levels and no path weight is needed for it. Each particle stops at a noise level of its own, the
first one where its effective number of members is too small; `annealed_finish` does the rest.

Members are chosen evenly over the space, rather than by chance. Systematic resampling takes from
each stretch of the pool as many members as its weight says, to within one. Where neighbours in
space follow each other in the pool, stretches are regions. Each mode then gets its share of
particles to within one; only the noise of the weights remains. Sorting is harmless as long as the
order does not depend on the random number that selects the points.
"""

from dataclasses import KW_ONLY
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..diffusion.kde import BLOCK, log_kernel, pooled_covariance, pooled_moments, squared_distance
from ..diffusion.posterior import as_column
from ..montecarlo.resampling import systematic
from ..types import (
    Array,
    Evaluations,
    LogDensityFn,
    Moments,
    Pool,
    PRNGKey,
    Process,
    StartDraws,
    record,
)

NUM_NEIGHBOURHOODS = 64
"""Cells: enough for each mode to have some, few enough for each to have several particles."""


def sorted_by_neighbourhood(rng_key: PRNGKey, pool: Pool) -> Pool:
    """The pool in an order in which neighbours follow each other.

    Neighbourhoods are the Voronoi cells of some members, chosen by their weight. A tour puts them
    in order: the next is the nearest one not visited yet. Modes that are apart are then in
    different cells, and the cells of one mode mostly in one stretch, in any dimension.

    Args:
        rng_key: key; independent of the key that will choose members.
        pool: any pool.

    Returns:
        The same members and weights.

    >>> from rdmc_jax.pools.pool import fixed_pool
    >>> pool = fixed_pool(jnp.array([[0.0], [9.0], [0.1], [9.1]]), jnp.zeros(4))
    >>> left = sorted_by_neighbourhood(jax.random.key(0), pool).position[:, 0] < 5
    >>> int(jnp.sum(left[:-1] != left[1:]))  # changes of side along the pool
    1
    """
    centers = pool.position[systematic(rng_key, pool.log_weight, NUM_NEIGHBOURHOODS)]
    centers = centers[_tour(centers)]
    unit = jnp.ones((), pool.position.dtype)

    def cell(x: Array) -> Array:
        return jnp.argmin(squared_distance(x, centers, unit))

    order = jnp.argsort(jax.lax.map(cell, pool.position, batch_size=BLOCK))
    return pool._replace(
        position=pool.position[order], log_weight=pool.log_weight[order], source=pool.source[order]
    )


def _tour(points: Array) -> Array:
    """All points, each followed by the nearest that is not visited yet; shape (num_points,)."""
    num_points = points.shape[0]
    unit = jnp.ones((), points.dtype)

    def go_on(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        here, is_left = carry
        is_left = is_left & (jnp.arange(num_points) != here)
        distance = squared_distance(points[here], points, unit)
        there = jnp.argmin(jnp.where(is_left, distance, jnp.inf)).astype(jnp.int32)
        return (there, is_left), here

    first = (jnp.zeros((), jnp.int32), jnp.ones(num_points, bool))
    return jax.lax.scan(go_on, first, None, length=num_points)[1]


def evenly_permuted(rng_key: PRNGKey, num_particles: int) -> Array:
    """Permute ``0 … num_particles - 1`` so that each stretch is spread evenly over all numbers.

    They are ranks of the multiples of the golden ratio modulo 1, shifted by a random number. The
    first draws of an ensemble, or the copies that set its step sizes, are then spread over the
    regions as evenly as all of it. Each place has each number with equal probability.

    Args:
        rng_key: key.
        num_particles: length of the permutation.

    Returns:
        A permutation, shape (num_particles,).

    >>> sorted(evenly_permuted(jax.random.key(0), 5).tolist())
    [0, 1, 2, 3, 4]
    """
    multiples = np.arange(num_particles) * (np.sqrt(5) - 1) / 2 % 1
    rank = jnp.asarray(np.argsort(np.argsort(multiples)), jnp.int32)
    return (rank + jax.random.randint(rng_key, (), 0, num_particles)) % num_particles


_Descent = tuple[Array, Array, Array, Array]


def kernel_ess(x: Array, sigma: Array, pool: Pool) -> Array:
    """Effective number of members whose noise of level ``sigma`` may have led to ``x``."""
    log_share = log_kernel(x, sigma, pool)
    share = jnp.exp(log_share - jnp.max(log_share))
    return jnp.sum(share) ** 2 / jnp.sum(share**2)


def stop_levels(
    paths: Array, sigmas: Array, pool: Pool, threshold: float, first: Array | int = 0
) -> Array:
    """First level, coarse to fine, where a particle's kernel ess falls below ``threshold``.

    It looks at no finer points of the path, so the density ratio at the stop is exact.

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
    begin, last = jnp.asarray(first, jnp.int32), num_sigmas - 1
    block = min(BLOCK, num_particles)
    places = jnp.arange(-(-num_particles // block) * block)

    def one_level(carry: _Descent) -> _Descent:
        level, left, num_left, stop = carry

        def look(number: Array, goes_on: Array) -> Array:
            some = jax.lax.dynamic_slice_in_dim(left, number * block, block)
            ess = jax.vmap(lambda x: kernel_ess(x, sigmas[level], pool))(paths[level, some])
            return jax.lax.dynamic_update_slice_in_dim(
                goes_on, ~(ess < threshold), number * block, 0
            )

        goes_on = jax.lax.fori_loop(0, -(-num_left // block), look, jnp.zeros(places.size, bool))
        goes_on = goes_on & (places < num_left) & (level < last)
        stop = stop.at[left].add(goes_on.astype(stop.dtype))
        # move the particles that continue to the front, so that blocks of finished ones are skipped
        left = left[jnp.nonzero(goes_on, size=places.size, fill_value=0)[0]]
        return level + 1, left, jnp.sum(goes_on, dtype=jnp.int32), stop

    everyone = jnp.asarray(num_particles, jnp.int32)
    stop = jnp.full((num_particles,), begin, jnp.int32)
    carry = (begin, (places % num_particles).astype(jnp.int32), everyone, stop)
    return jax.lax.while_loop(lambda carry: carry[2] > 0, one_level, carry)[3]


MEMBERS = 25.0
"""Effective number of members below which a particle stops."""
NUM_SIGMAS = 48
"""Noise levels, each finer than the one before by a factor ``2^{1/4}``."""
NUM_SCOUTS = 128
"""Discarded particles that measure how coarse the noise has to be."""
LARGEST_NOISE = (2.5, 1.3)
"""Upper limit of a particle's noise: the largest of 2.5 mode widths, 1.3 times the scouts' median
stopping noise, and `Pool.largest_useful_noise`. Members that are far from all others would stop a
particle where its posterior reaches over several modes, which no single Gaussian describes:
annealing from there gives nothing, or rarely a very heavy weight."""
SHRINKAGE = 8.0
"""Weight, in members, of the ensemble's average variance in the variance of each particle."""
LARGEST_FULL = 6
"""Largest dimension with full covariances: a particle stops at 25 members, and with fewer than four
members for each coordinate a covariance is too narrow in some direction."""


@record
class noised_pool:
    """Start from a noised pool, each particle at the finest level that the pool supports.

    ``log ρ(x) = log p̂_σ(x)`` at the particle's own level: target and pool share the forward
    noising kernels down to the stop, so these cancel. The pool is the method's (``pool=`` of
    `rdmc`), or else the points of the pilot and the user. This start repairs wrong proportions of
    modes in the pool; it does not discover modes. Its process is `variance_exploding`.

    Args:
        num_particles: size of the ensemble.
        threshold: a particle stops where its effective number of members falls below this.
        largest_noise: noise of the first level, in widths of a mode (1 in the pool's coordinates)
            and, if that is more, in medians of the scouts' stopping noise; infinite for no limit.
            Coarser noise is allowed up to the `Pool.largest_useful_noise` of a `reweighted` pool.
    """

    num_particles: int
    _: KW_ONLY
    threshold: float = MEMBERS
    largest_noise: tuple[float, float] = LARGEST_NOISE
    has_own_levels: ClassVar[bool] = True

    def sample(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        time: float,
        known: Pool,
    ) -> StartDraws:
        """Draw the particles, each at its own level; ``known`` is the pool."""
        dtype = known.position.dtype
        _, order_key, scout_key, path_key = jax.random.split(rng_key, 4)
        if known.position.shape[0] < 2:
            raise ValueError(
                "noised_pool needs a pool of two points or more, but has "
                f"{known.position.shape[0]}. Give rdmc one, such as "
                "pool=broad_chains(num_chains=1000)."
            )
        pool = sorted_by_neighbourhood(order_key, known)
        share = jax.nn.softmax(pool.log_weight)
        mean = jnp.average(pool.position, axis=0, weights=share)
        spread = jnp.average((pool.position - mean[None, :]) ** 2, axis=0, weights=share)
        widest = jnp.sqrt(jnp.max(spread)) + 1e-6
        sigmas = 2 * widest * 2.0 ** (-jnp.arange(NUM_SIGMAS, dtype=dtype) / 4)
        # scouts have randomness of their own: for the particles the first level is frozen
        scouts = _paths(scout_key, pool, sigmas, NUM_SCOUTS)
        typical = jnp.median(sigmas[stop_levels(scouts, sigmas, pool, self.threshold)])
        widths, medians = self.largest_noise
        limit = jnp.maximum(jnp.maximum(widths, medians * typical), pool.largest_useful_noise)
        first = jnp.argmax(sigmas <= limit)
        paths = _paths(path_key, pool, sigmas, self.num_particles)
        level = stop_levels(paths, sigmas, pool, self.threshold, first)
        x = jnp.take_along_axis(paths, level[None, :, None], axis=0)[0]
        sigma = sigmas[level]
        log_density, moments = noised_moments(x, sigma, pool)
        return StartDraws(x, sigma, log_density, pool.num_evals, pool.num_nonfinite, moments)


def noised_moments(x: Array, sigma: Array, pool: Pool) -> tuple[Array, Moments]:
    """``log p̂_σ(x)`` and the moments of the denoising posterior of a pool.

    Args:
        x: shape (num_particles, dim).
        sigma: noise of each, shape (num_particles,).
        pool: weighted points.

    Returns:
        Shape (num_particles,), and `Moments` that cost no evaluation.
    """
    log_density, ess, mean, variance = pooled_moments(x, sigma, pool)
    unknown = jnp.full(x.shape[:1], jnp.nan, x.dtype)
    is_full = x.shape[1] <= LARGEST_FULL
    return log_density, Moments(
        mean=mean,
        variance=variance,
        ess=ess,
        standard_error=jnp.sqrt(variance / as_column(ess)),
        log_marginal=unknown,
        acceptance_rate=unknown,
        num_evals=Evaluations.zero(),
        num_nonfinite=jnp.zeros((), jnp.int32),
        covariance=pooled_covariance(x, sigma, mean, pool) if is_full else None,
    )


def _paths(rng_key: PRNGKey, pool: Pool, sigmas: Array, num_particles: int) -> Array:
    """Members of the pool along their noise, coarse to fine: (num_sigmas, num_particles, dim)."""
    dtype = pool.position.dtype
    member_key, shift_key, noise_key = jax.random.split(rng_key, 3)
    chosen = systematic(member_key, pool.log_weight, num_particles)
    member = pool.position[chosen[evenly_permuted(shift_key, num_particles)]]
    finer = jnp.append(sigmas[1:], 0.0)
    steps = jnp.sqrt(sigmas**2 - finer**2)[:, None, None]
    noise = steps * jax.random.normal(noise_key, (sigmas.shape[0], *member.shape), dtype)
    return member[None] + jnp.cumsum(noise[::-1], axis=0)[::-1]


def shrunk_covariance(moments: Moments, scale: Array) -> Array:
    """Posterior variance shrunk towards the ensemble's average of ``V/s²``, and widened.

    ``V' = (n V + 8 s² Ā)/(n + 8) (1 + 2/n) + 10⁻⁶ s²``, n the effective number of members. Where
    the moments have the covariance, its correlations times ``n/(n + dim)`` join these variances:
    with few members the narrowest direction is always estimated too narrow.

    Args:
        moments: kernel averages of the pool.
        scale: s, shape (num_particles,).

    Returns:
        Shape (num_particles, dim), or (num_particles, dim, dim).
    """
    n = as_column(moments.ess)
    scale2 = as_column(scale) ** 2
    average = scale2 * jnp.mean(moments.variance / scale2, axis=0, keepdims=True)
    shrunk = (n * moments.variance + SHRINKAGE * average) / (n + SHRINKAGE)
    variance = shrunk * (1 + 2 / n) + 1e-6 * scale2
    if moments.covariance is None:
        return variance
    dim = variance.shape[1]
    diagonal = jnp.diagonal(moments.covariance, axis1=1, axis2=2)
    # members that are all at one point have no correlations
    ratio = jnp.sqrt(variance / jnp.maximum(diagonal, jnp.finfo(variance.dtype).tiny))
    ratio = jnp.where(diagonal > 0, ratio, 0.0)
    kept = (n / (n + dim))[:, :, None]
    correlated = kept * ratio[:, :, None] * moments.covariance * ratio[:, None, :]
    return jnp.where(jnp.eye(dim, dtype=bool)[None], jax.vmap(jnp.diag)(variance), correlated)
