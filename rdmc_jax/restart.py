"""Noised-pool restart: the noisy part of the reverse diffusion of a fixed pool, in closed form.

Noising a member of a fixed pool {(y_j, W_j)} gives the law ``p̂_σ(x) = Σ_j W_j N(x; y_j, σ²I)``
exactly, and its denoising posterior means are kernel averages: no target evaluation, no ladder of
levels and no path weight is needed for it. Each particle stops at a noise level of its own, the
first one where too few members speak for it; the annealed finish does the rest.
"""

from typing import Any

import jax
import jax.numpy as jnp

from .averages import pooled_covariance, pooled_moments, stop_levels
from .memo import memoised
from .pool import known_points
from .posterior import column
from .processes import variance_exploding
from .resampling import systematic
from .strata import by_neighbourhood, spread_out
from .types import (
    Array,
    Estimator,
    Evaluations,
    Levels,
    LogDensityFn,
    Moments,
    Pool,
    PoolGenerator,
    Posterior,
    PRNGKey,
    Process,
    Start,
    StartDraws,
)

NUM_SIGMAS = 48
NUM_SCOUTS = 128
"""Particles, thrown away, that tell how coarse the noise has to be."""
COARSEST = (2.5, 1.3)
"""Coarsest noise of a particle: so many widths of a mode, or so many times the median of where the
scouts stop if that is more, or what the pool says if that is more still. Members that are far from
all others would stop a particle where its posterior reaches over several modes, which no single
Gaussian describes: annealing from there gives nothing, or rarely a very heavy weight."""
SHRINKAGE = 8.0
"""Members' worth of the ensemble's average variance in each particle's own."""
LARGEST_FULL = 6
"""Dimension up to which covariances are known in full: a particle stops at 25 members, and fewer
than four of them for each coordinate make a covariance that is too narrow in some direction."""


@memoised
def noised_pool(
    generator: PoolGenerator | None = None,
    *,
    num_particles: int,
    threshold: float = 25.0,
    coarsest: tuple[float, float] = COARSEST,
) -> Start:
    """Start from a noised pool, each particle at the finest level that the pool supports.

    ``log ρ(x) = log p̂_σ(x)`` at the particle's own level: target and pool share the forward
    noising kernels down to the stop, so these cancel.

    Args:
        generator: of the pool; by default what the pilot or the user already has.
        num_particles: size of the ensemble.
        threshold: a particle stops where fewer members than this speak for it.
        coarsest: noise of the first level, in widths of a mode (1 in the pool's coordinates) and,
            if that is more, in medians of where scouts stop; infinite for no limit. A pool that
            was `reweighted` knows where coarser noise does no harm.

    Returns:
        A `Start` for `no_levels`. It repairs wrong proportions of modes in the pool; it does not
        discover modes.
    """
    make = known_points() if generator is None else generator

    def sample(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        time: float,
        known: Pool,
    ) -> StartDraws:
        dtype = known.position.dtype
        pool_key, order_key, scout_key, path_key = jax.random.split(rng_key, 4)
        pool = make(pool_key, logdensity_fn, known)
        if pool.position.shape[0] < 2:
            raise ValueError(
                "noised_pool needs a pool of two points or more, but has "
                f"{pool.position.shape[0]}. "
                "Pass a generator such as broad_chains(num_chains=1000)."
            )
        pool = by_neighbourhood(order_key, pool)
        share = jax.nn.softmax(pool.log_weight)
        mean = jnp.average(pool.position, axis=0, weights=share)
        spread = jnp.average((pool.position - mean[None, :]) ** 2, axis=0, weights=share)
        widest = jnp.sqrt(jnp.max(spread)) + 1e-6
        sigmas = 2 * widest * 2.0 ** (-jnp.arange(NUM_SIGMAS, dtype=dtype) / 4)
        # scouts have randomness of their own: for the particles the coarsest level is frozen
        scouts = _paths(scout_key, pool, sigmas, NUM_SCOUTS)
        typical = jnp.median(sigmas[stop_levels(scouts, sigmas, pool, threshold)])
        widths, medians = coarsest
        limit = jnp.maximum(jnp.maximum(widths, medians * typical), pool.coarsest)
        first = jnp.argmax(sigmas <= limit)
        paths = _paths(path_key, pool, sigmas, num_particles)
        level = stop_levels(paths, sigmas, pool, threshold, first)
        x = jnp.take_along_axis(paths, level[None, :, None], axis=0)[0]
        sigma = sigmas[level]
        log_density, ess, mean, variance = pooled_moments(x, sigma, pool)
        unknown = jnp.full((num_particles,), jnp.nan, dtype)
        zero = Evaluations(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
        moments = Moments(
            mean=mean,
            variance=variance,
            ess=ess,
            standard_error=jnp.sqrt(variance / column(ess)),
            log_marginal=unknown,
            acceptance_rate=unknown,
            num_evals=zero,
            num_nonfinite=jnp.zeros((), jnp.int32),
            covariance=(
                pooled_covariance(x, sigma, mean, pool) if x.shape[1] <= LARGEST_FULL else None
            ),
        )
        return StartDraws(x, sigma, log_density, pool.num_evals, pool.num_nonfinite, moments)

    return Start(sample, num_particles, is_adaptive=True)


def _paths(rng_key: PRNGKey, pool: Pool, sigmas: Array, num_particles: int) -> Array:
    """Members of the pool along their noise, coarse to fine: (num_sigmas, num_particles, dim)."""
    dtype = pool.position.dtype
    member_key, shift_key, noise_key = jax.random.split(rng_key, 3)
    chosen = systematic(member_key, pool.log_weight, num_particles)
    member = pool.position[chosen[spread_out(shift_key, num_particles)]]
    finer = jnp.append(sigmas[1:], 0.0)
    steps = jnp.sqrt(sigmas**2 - finer**2)[:, None, None]
    noise = steps * jax.random.normal(noise_key, (sigmas.shape[0], *member.shape), dtype)
    return member[None] + jnp.cumsum(noise[::-1], axis=0)[::-1]


def ensemble_shrunk(moments: Moments, scale: Array) -> Array:
    """Posterior variance shrunk towards the ensemble's average of ``V/s²``, and widened.

    ``V' = (n V + 8 s² Ā)/(n + 8) (1 + 2/n) + 10⁻⁶ s²``, n the effective number of members. Where
    the moments have the covariance, its correlations times ``n/(n + dim)`` between these
    variances: what few members say of the narrowest direction is always too narrow.

    Args:
        moments: kernel averages of the pool.
        scale: s, shape (num_particles,).

    Returns:
        Shape (num_particles, dim), or (num_particles, dim, dim).
    """
    n = column(moments.ess)
    scale2 = column(scale) ** 2
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


def _known_init(rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior) -> Any:
    raise ValueError("no_levels() needs a start that knows its moments, such as noised_pool.")


def _known_update(
    rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, state: Moments
) -> tuple[Moments, Moments]:
    return state, state


@memoised
def no_levels() -> Levels:
    """No transitions: the finish takes over where the start stopped, with its moments.

    The process is `variance_exploding`, by which `noised_pool` noises.
    """
    known = Estimator(_known_init, _known_update, lambda rng_key, state: state.mean)
    return Levels(variance_exploding(), (0.0,), known, None)
