"""Estimators in which particles share their inner samples: all posteriors are tilts of one target.

The points of one particle serve every other one too, with weights that cost no evaluation of the
target. Path weights stay exact: whatever is shared belongs to what is random inside the level.
"""

import math

import jax
import jax.numpy as jnp

from ..memo import memoised
from ..posterior import column, log_tilt
from ..resampling import multinomial, systematic
from ..tilted import retarget, to_position
from ..types import (
    Array,
    Estimator,
    Evaluations,
    KernelFactory,
    LogDensityFn,
    Moments,
    Posterior,
    PRNGKey,
)
from .chain_starts import ChainsState, ChainStart, Placed, SharedMoments, Unit, local, no_evals

BLOCK = 64
"""Particles whose row of the kernel matrix is in memory at a time."""


def _log_normal_constant(posterior: Posterior) -> Array:
    """``log N(y; c, s²I) - log_tilt(y)``, shape of the scale."""
    return -0.5 * posterior.center.shape[-1] * jnp.log(2 * math.pi * posterior.scale**2)


@memoised
def pooled_importance(*, num_samples: int = 4, reference_scale: float = 2.0) -> Estimator:
    """Pooled multiple importance sampling: every particle uses the proposals of all.

    Each of N particles proposes ``num_samples`` points, by the rule of `importance`; all of them
    serve each particle with the balance heuristic,
    ``w_ij = π(y_j) N(y_j; c_i, s_i²) / ((1/N) Σ_k proposal_k(y_j))``. The mean of a row estimates
    ``∫ π N(y; c_i, s_i²)`` and is reported as ``log_marginal``.

    Args:
        num_samples: points per particle and level; one density evaluation each.
        reference_scale: standard deviation b of the reference Gaussian of the proposals, in the
            units of the (standardised) target; ``inf`` for none.

    Returns:
        An `Estimator` of the ensemble that needs no gradients. Up to about five dimensions.

    Raises:
        ValueError: for fewer than one sample.

    Reference: Veach and Guibas (1995), SIGGRAPH, Section 3.2, for the balance heuristic.
    """
    if num_samples < 1:
        raise ValueError(f"pooled_importance needs num_samples >= 1, but got {num_samples}.")

    def init(rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior) -> Array:
        return posterior.center

    def proposal_of(posterior: Posterior) -> Posterior:
        shrink = 1 / (1 + (posterior.scale / reference_scale) ** 2)
        return Posterior(column(shrink) * posterior.center, posterior.scale * jnp.sqrt(shrink))

    def update(
        rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, state: Array
    ) -> tuple[Moments, Array]:
        num_particles, dim = posterior.center.shape
        noise_key, draw_key = jax.random.split(rng_key)
        proposal = proposal_of(posterior)
        noise = jax.random.normal(
            noise_key, (num_samples, num_particles, dim), posterior.center.dtype
        )
        points = proposal.center[None] + proposal.scale[None, :, None] * noise
        points = points.reshape(-1, dim)
        logdensity = jax.vmap(logdensity_fn)(points)

        def log_mixture(y: Array) -> Array:
            each = jax.vmap(lambda one: log_tilt(one, y))(proposal)
            each = each + _log_normal_constant(proposal)
            return jax.nn.logsumexp(each) - math.log(num_particles)

        log_ratio = logdensity - jax.lax.map(log_mixture, points, batch_size=BLOCK)

        def row(args: tuple[Posterior, Array]) -> tuple[Array, Array, Array, Array, Array, Array]:
            own, key = args
            log_weight = log_ratio + log_tilt(own, points) + _log_normal_constant(own)
            log_sum = jax.nn.logsumexp(log_weight)
            uniform = jnp.full_like(log_weight, 1 / log_weight.shape[0])
            share = jnp.where(jnp.isfinite(log_sum), jnp.exp(log_weight - log_sum), uniform)
            mean = share @ points
            offset2 = (points - mean[None, :]) ** 2
            variance, error2 = share @ offset2, share**2 @ offset2
            ess = jnp.where(jnp.isfinite(log_sum), 1 / jnp.sum(share**2), 0.0)
            drawn = points[multinomial(key, log_weight, 1)[0]]
            log_mean = log_sum - math.log(log_weight.shape[0])
            return mean, variance, ess, jnp.sqrt(error2), log_mean, drawn

        keys = jax.random.split(draw_key, num_particles)
        mean, variance, ess, error, log_marginal, drawn = jax.lax.map(
            row, (posterior, keys), batch_size=BLOCK
        )
        count = jnp.asarray(points.shape[0], jnp.int32)
        moments = Moments(
            mean=mean,
            variance=variance,
            ess=ess,
            standard_error=error,
            log_marginal=log_marginal,
            acceptance_rate=jnp.full_like(ess, jnp.nan),
            num_evals=Evaluations(count, jnp.zeros_like(count)),
            num_nonfinite=jnp.sum(~jnp.isfinite(logdensity), dtype=jnp.int32),
        )
        return moments, drawn

    def draw(rng_key: PRNGKey, state: Array) -> Array:
        return state

    return Estimator(init, update, draw)


@memoised
def pooled_start(*, threshold: float = 32.0) -> ChainStart:
    """Re-draw every particle's chains from the chains of all particles.

    Together the chains of all particles are draws of the target (each particle is a noised draw,
    its chains are draws of what it came from), so ``N(x_i; αy, σ²)`` weighs them for particle i
    at no cost. While the effective number of points stays above ``threshold`` their weighted
    moments are used too; below it, late and in many dimensions, the particle keeps to its own
    chains. Wrong mode proportions of the pool give coherent scores of the re-weighted target,
    which the path weights repair.

    Args:
        threshold: effective number of points.

    Returns:
        A `ChainStart` for `chains`.
    """

    def place(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        kernel: KernelFactory,
        unit: Unit,
        posterior: Posterior,
        state: ChainsState,
        num_chains: int,
    ) -> Placed:
        num_particles, dim = posterior.center.shape
        y = jax.vmap(lambda own: to_position(local(own.posterior, unit), own.chain.position))(state)
        points = y.reshape(-1, dim)

        def row(
            args: tuple[Posterior, Posterior, Array, PRNGKey],
        ) -> tuple[Array, Array, Array, Array, Array]:
            own, before, index, key = args
            shared_key, own_key = jax.random.split(key)
            log_weight = log_tilt(own, points)
            share = jax.nn.softmax(log_weight)
            ess = 1 / jnp.sum(share**2)
            mean = share @ points
            variance = share @ (points - mean[None, :]) ** 2
            mine = y[index]
            own_weight = log_tilt(own, mine) - log_tilt(before, mine)
            own_share = jax.nn.softmax(own_weight)
            from_all = systematic(shared_key, log_weight, num_chains)
            from_own = index * num_chains + systematic(own_key, own_weight, num_chains)
            is_enough = ess >= threshold
            chosen = jnp.where(is_enough, from_all, from_own)
            own_ess = jnp.where(is_enough, num_chains, 1 / jnp.sum(own_share**2))
            return mean, variance, ess, chosen, own_ess

        keys = jax.random.split(rng_key, num_particles)
        index = jnp.arange(num_particles)
        mean, variance, ess, chosen, own_ess = jax.lax.map(
            row, (posterior, state.posterior, index, keys), batch_size=BLOCK
        )
        merged = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), state.chain)
        chain = jax.tree.map(lambda leaf: leaf[chosen], merged)
        source = jax.tree.map(lambda leaf: leaf[chosen // num_chains], state.posterior)

        def move(one: object, old: Posterior, new: Posterior) -> object:
            return retarget(one, local(old, unit), local(new, unit))

        moved = jax.vmap(
            lambda chains, olds, new: jax.vmap(lambda one, old: move(one, old, new))(chains, olds)
        )(chain, source, posterior)
        each = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, ess.shape), no_evals())
        shared = SharedMoments(mean, variance, ess, ess >= threshold)
        return Placed(moved, own_ess, each, jnp.zeros(ess.shape, jnp.int32), shared)

    return ChainStart(place)
