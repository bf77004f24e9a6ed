"""Importance sampling of the denoising posterior: own proposals, or those of all particles.

All posteriors are tilts of one target, so the points of one particle serve every other one too,
with weights that cost no evaluation of the target. Path weights stay exact: whatever is shared
belongs to what is random inside the level. No gradients are taken.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...montecarlo.resampling import multinomial
from ...types import (
    Array,
    Estimator,
    Evaluations,
    LogDensityFn,
    Moments,
    Posterior,
    PRNGKey,
    memoised,
)
from ..posterior import as_column, log_tilt
from .batches import independent


class WeightedSums(NamedTuple):
    """Sufficient statistics of weighted points; `merge` of two equals those of all points.

    Means and variances are kept instead of raw sums: raw second sums cancel in single precision
    when the points lie far from the origin.
    """

    log_weight_sum: Array  # ()      log Σ w
    log_square_sum: Array  # ()      log Σ w²
    mean: Array  # (dim,)            under w
    variance: Array  # (dim,)        under w
    square_mean: Array  # (dim,)     under w²
    square_variance: Array  # (dim,) under w²
    num_samples: Array  # ()


def _weighted(positions: Array, log_weight: Array) -> tuple[Array, Array, Array]:
    log_sum = jax.nn.logsumexp(log_weight)
    # all weights zero: fall back to equal ones, so that moments stay finite; the ess says 0
    share = jnp.where(
        jnp.isfinite(log_sum), jnp.exp(log_weight - log_sum), 1 / log_weight.shape[0]
    )[:, None]
    mean = jnp.sum(share * positions, axis=0)
    return log_sum, mean, jnp.sum(share * (positions - mean[None, :]) ** 2, axis=0)


def from_samples(positions: Array, log_weight: Array) -> WeightedSums:
    """Statistics of weighted points.

    Args:
        positions: shape (num_samples, dim).
        log_weight: shape (num_samples,); -inf is a weight of zero.

    Returns:
        `WeightedSums`.

    >>> sums = from_samples(jnp.array([[0.0], [2.0]]), jnp.zeros(2))
    >>> float(sums.mean[0]), float(sums.variance[0]), float(ess(sums))
    (1.0, 1.0, 2.0)
    """
    log_weight_sum, mean, variance = _weighted(positions, log_weight)
    log_square_sum, square_mean, square_variance = _weighted(positions, 2 * log_weight)
    num_samples = jnp.asarray(positions.shape[0])
    return WeightedSums(
        log_weight_sum, log_square_sum, mean, variance, square_mean, square_variance, num_samples
    )


def _mix(
    log_a: Array,
    mean_a: Array,
    variance_a: Array,
    log_b: Array,
    mean_b: Array,
    variance_b: Array,
    share_without_weight: Array,
) -> tuple[Array, Array, Array]:
    log_sum = jnp.logaddexp(log_a, log_b)
    share = jnp.where(jnp.isfinite(log_sum), jnp.exp(log_b - log_sum), share_without_weight)
    shift = mean_b - mean_a
    mean = mean_a + share * shift
    variance = (1 - share) * variance_a + share * variance_b + share * (1 - share) * shift**2
    return log_sum, mean, variance


def merge(a: WeightedSums, b: WeightedSums) -> WeightedSums:
    """Statistics of the union of two sets of weighted points; associative and commutative.

    Reference: Chan, Golub, LeVeque (1983), The American Statistician 37, Eq. (2.1).
    """
    share = b.num_samples / (a.num_samples + b.num_samples)
    log_sum, mean, variance = _mix(
        a.log_weight_sum, a.mean, a.variance, b.log_weight_sum, b.mean, b.variance, share
    )
    log_square, square_mean, square_variance = _mix(
        a.log_square_sum,
        a.square_mean,
        a.square_variance,
        b.log_square_sum,
        b.square_mean,
        b.square_variance,
        share,
    )
    return WeightedSums(
        log_sum,
        log_square,
        mean,
        variance,
        square_mean,
        square_variance,
        a.num_samples + b.num_samples,
    )


def ess(sums: WeightedSums) -> Array:
    """Effective sample size ``(Σw)²/Σw²``; 0 when every weight is zero."""
    return jnp.where(
        jnp.isfinite(sums.log_weight_sum),
        jnp.exp(2 * sums.log_weight_sum - sums.log_square_sum),
        0.0,
    )


def standard_error(sums: WeightedSums) -> Array:
    """Standard error of the self-normalised mean, ``√Σw²(y - m)² / Σw`` (delta method).

    Returns:
        Shape (dim,).

    Reference: Owen (2013), Monte Carlo theory, methods and examples, Chapter 9.
    """
    spread = sums.square_variance + (sums.square_mean - sums.mean) ** 2
    return jnp.sqrt(spread / jnp.maximum(ess(sums), 1))


class Candidates(NamedTuple):
    """Weighted points that represent the posterior of one particle."""

    position: Array  # (num_samples, dim)
    logdensity: Array  # (num_samples,) of the target
    log_weight: Array  # (num_samples,)


def propose(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    posterior: Posterior,
    num_samples: int,
    reference_scale: float,
) -> Candidates:
    """Draw from the posterior that a target N(0, b² I) would have, and weigh with the true one.

    ``y ~ N(κc, κs²)``, ``κ = b²/(b² + s²)``, weight ``π(y)/N(y; 0, b²)``. For ``b = ∞`` this is
    the proposal N(c, s²) of the literature with weight π(y): there the Gaussian factor cancels.
    A finite b keeps the proposal on the target when the noise is much wider than it.

    Args:
        rng_key: key.
        logdensity_fn: target.
        posterior: of one particle, center (dim,), scale ().
        num_samples: number of candidates.
        reference_scale: b, in the units of the target; ``inf`` for none.

    Returns:
        `Candidates`.
    """
    dtype = posterior.center.dtype
    if math.isinf(reference_scale):
        shrink = jnp.ones((), dtype)
    else:
        ratio = posterior.scale / reference_scale
        shrink = 1 / (1 + ratio**2)
    noise = jax.random.normal(rng_key, (num_samples, *posterior.center.shape), dtype)
    position = shrink * posterior.center[None, :] + posterior.scale * jnp.sqrt(shrink) * noise
    logdensity = jax.vmap(logdensity_fn)(position)
    log_weight = logdensity
    if not math.isinf(reference_scale):
        log_weight = logdensity + 0.5 * jnp.sum((position / reference_scale) ** 2, axis=-1)
    return Candidates(position, logdensity, log_weight)


def _log_constant(posterior: Posterior, reference_scale: float) -> Array:
    """``log ∫ e^{-½y²/b²} N(y; c, s²) dy``: with the mean weight it makes log(Z p_t(x))."""
    if math.isinf(reference_scale):
        return jnp.zeros((), posterior.center.dtype)
    total = reference_scale**2 + posterior.scale**2
    dim = posterior.center.shape[0]
    return (
        0.5 * dim * jnp.log(reference_scale**2 / total) - 0.5 * jnp.sum(posterior.center**2) / total
    )


@memoised
def importance(*, num_samples: int = 64, reference_scale: float = math.inf) -> Estimator:
    """Estimate posterior moments by self-normalised importance sampling.

    Proposals come from N(c, s²I) (or its product with a broad reference, see `propose`); the
    mean weight times ``α^{-d}`` estimates ``Z p_t(x)`` without bias and is reported, less the
    ``α^{-d}`` that depends on the process only, as ``log_marginal``.

    Args:
        num_samples: points per particle and level; one density evaluation each.
        reference_scale: standard deviation b of the reference Gaussian, in the units of the
            (standardised) target; ``inf`` is the plain proposal of the literature.

    Returns:
        An `Estimator` of the ensemble. Its effective sample size dies exponentially with the
        dimension: beyond about 6, and for narrow modes earlier, use `chains`.

    Raises:
        ValueError: for fewer than two samples.

    >>> estimator = importance(num_samples=256)
    >>> posterior = Posterior(jnp.zeros((3, 1)), jnp.ones(3))  # three particles
    >>> gaussian = lambda x: -0.5 * jnp.sum(x**2)
    >>> key = jax.random.key(0)
    >>> state = estimator.init(key, gaussian, posterior)
    >>> moments, state = estimator.update(key, gaussian, posterior, state)
    >>> moments.mean.shape, int(moments.num_evals.logdensity)
    ((3, 1), 768)

    Reference: Huang et al. (2024), arXiv 2307.02037, Section 3.2.
    """
    if num_samples < 2:
        raise ValueError(f"importance needs num_samples >= 2, but got {num_samples}.")

    def init(rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior) -> Array:
        return posterior.center

    def update(
        rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, state: Array
    ) -> tuple[Moments, Array]:
        propose_key, draw_key = jax.random.split(rng_key)
        points = propose(propose_key, logdensity_fn, posterior, num_samples, reference_scale)
        sums = from_samples(points.position, points.log_weight)
        log_mean = sums.log_weight_sum - math.log(num_samples)
        count = jnp.asarray(num_samples)
        moments = Moments(
            mean=sums.mean,
            variance=sums.variance,
            ess=ess(sums),
            standard_error=standard_error(sums),
            log_marginal=log_mean + _log_constant(posterior, reference_scale),
            acceptance_rate=jnp.full((), jnp.nan, sums.mean.dtype),
            num_evals=Evaluations(count, jnp.zeros_like(count)),
            num_nonfinite=jnp.sum(~jnp.isfinite(points.logdensity)),
        )
        chosen = multinomial(draw_key, points.log_weight, 1)[0]
        return moments, points.position[chosen]

    def draw(rng_key: PRNGKey, state: Array) -> Array:
        return state

    def wider(factor: int) -> Estimator:
        return importance(num_samples=factor * num_samples, reference_scale=reference_scale)

    return independent(Estimator(init, update, draw))._replace(wider=wider)


ROWS_AT_ONCE = 64
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
        return Posterior(as_column(shrink) * posterior.center, posterior.scale * jnp.sqrt(shrink))

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

        log_ratio = logdensity - jax.lax.map(log_mixture, points, batch_size=ROWS_AT_ONCE)

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
            row, (posterior, keys), batch_size=ROWS_AT_ONCE
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
