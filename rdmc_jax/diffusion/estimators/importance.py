"""Importance sampling of the denoising posterior: own proposals, or those of all particles.

All posteriors are tilts of one target, so the points of one particle serve every other one too,
with weights that cost no evaluation of the target. Path weights stay exact: the shared points are
part of the randomness inside the level. No gradients are taken.
"""

import math
from dataclasses import KW_ONLY
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...montecarlo.resampling import multinomial
from ...types import (
    Array,
    Evaluations,
    LogDensityFn,
    Moments,
    Posterior,
    PRNGKey,
    record,
)
from ..kde import average_of, spread_about
from ..posterior import as_column, check_ensemble, log_tilt
from .batches import total_over_particles


class SelfNormalised(NamedTuple):
    """Averages over weighted points, and the error of their mean."""

    log_sum: Array  # () log Σ w
    mean: Array  # (dim,)
    variance: Array  # (dim,)
    ess: Array  # () (Σ w)²/Σ w², 0 where every weight is zero
    standard_error: Array  # (dim,) of the mean


def self_normalised(position: Array, log_weight: Array) -> SelfNormalised:
    """Self-normalised averages of weighted points, with the error of their mean.

    The error is that of a ratio, ``√Σ w²(y - m)² / Σ w`` (delta method). Where all weights are zero
    the averages are plain ones, so that they stay finite; the effective sample size says 0.

    Args:
        position: shape (num_samples, dim).
        log_weight: shape (num_samples,); -inf is a weight of zero.

    Returns:
        `SelfNormalised`.

    >>> found = self_normalised(jnp.array([[0.0], [2.0]]), jnp.zeros(2))
    >>> float(found.mean[0]), float(found.variance[0]), float(found.ess)
    (1.0, 1.0, 2.0)

    Reference: Owen (2013), Monte Carlo theory, methods and examples, Chapter 9.
    """
    log_sum = jax.nn.logsumexp(log_weight)
    has_weight = jnp.isfinite(log_sum)
    share = jnp.where(has_weight, jax.nn.softmax(log_weight), 1 / log_weight.shape[0])[:, None]
    mean = jnp.sum(share * position, axis=0)
    offset2 = (position - mean[None, :]) ** 2
    return SelfNormalised(
        log_sum,
        mean,
        variance=jnp.sum(share * offset2, axis=0),
        ess=jnp.where(has_weight, 1 / jnp.sum(share**2), 0.0),
        standard_error=jnp.sqrt(jnp.sum(share**2 * offset2, axis=0)),
    )


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
    """Draw from the posterior that a target N(0, b² I) would have, and weight for the true one.

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


class ImportanceState(NamedTuple):
    """The points of the last update, from which `importance` draws."""

    position: Array  # (num_particles, num_samples, dim)
    log_weight: Array  # (num_particles, num_samples)


@record
class importance:
    """Estimate posterior moments by self-normalised importance sampling.

    Proposals come from N(c, s²I) (or its product with a broad reference, see `propose`). The mean
    weight times ``α^{-d}`` estimates ``Z p_t(x)`` without bias. Its logarithm is reported as
    ``log_marginal``, without the ``α^{-d}`` that depends on the process only.

    Args:
        num_samples: points per particle and level; one density evaluation each.
        reference_scale: standard deviation b of the reference Gaussian, in the units of the
            (standardised) target; ``inf`` is the plain proposal of the literature.

    It is an `Estimator` of the ensemble. Its effective sample size falls exponentially with the
    dimension: beyond about 6, and for narrow modes earlier, use `chains`. Its draws are chosen
    from the points of the moments, by their weights. The state keeps these points; a compiled
    program drops them where no draw is asked for.

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

    _: KW_ONLY
    num_samples: int = 64
    reference_scale: float = math.inf

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            raise ValueError(f"importance needs num_samples >= 2, but got {self.num_samples}.")

    def init(
        self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior
    ) -> ImportanceState:
        """Points at the centers, for nothing is evaluated before the first update."""
        num_particles, dim = posterior.center.shape
        shape = (num_particles, self.num_samples, dim)
        position = jnp.broadcast_to(posterior.center[:, None], shape)
        return ImportanceState(position, jnp.zeros(shape[:2], position.dtype))

    def update(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        posterior: Posterior,
        state: ImportanceState,
    ) -> tuple[Moments, ImportanceState]:
        """Moments from new points, whatever the state."""
        check_ensemble(posterior)

        def one(key: PRNGKey, own: Posterior) -> tuple[Moments, ImportanceState]:
            propose_key, _ = jax.random.split(key)
            points = propose(
                propose_key, logdensity_fn, own, self.num_samples, self.reference_scale
            )
            found = self_normalised(points.position, points.log_weight)
            log_mean = found.log_sum - math.log(self.num_samples)
            count = jnp.asarray(self.num_samples)
            moments = Moments(
                mean=found.mean,
                variance=found.variance,
                ess=found.ess,
                standard_error=found.standard_error,
                log_marginal=log_mean + _log_constant(own, self.reference_scale),
                acceptance_rate=jnp.full((), jnp.nan, found.mean.dtype),
                num_evals=Evaluations(count, jnp.zeros_like(count)),
                num_nonfinite=jnp.sum(~jnp.isfinite(points.logdensity)),
            )
            log_weight = points.log_weight.astype(points.position.dtype)
            return moments, ImportanceState(points.position, log_weight)

        keys = jax.random.split(rng_key, posterior.center.shape[0])
        moments, state = jax.vmap(one)(keys, posterior)
        return total_over_particles(moments), state

    def draw(self, rng_key: PRNGKey, state: ImportanceState) -> Array:
        """One of the points for each particle, by its weight."""

        def one(key: PRNGKey, own: ImportanceState) -> Array:
            return own.position[multinomial(key, own.log_weight, 1)[0]]

        return jax.vmap(one)(jax.random.split(rng_key, state.position.shape[0]), state)


ROWS_AT_ONCE = 64
"""Particles whose row of the kernel matrix is in memory at a time."""


def _log_normal_constant(posterior: Posterior) -> Array:
    """``log N(y; c, s²I) - log_tilt(y)``, shape of the scale."""
    return -0.5 * posterior.center.shape[-1] * jnp.log(2 * math.pi * posterior.scale**2)


class PooledState(NamedTuple):
    """The points of the last update, from which `pooled_importance` draws."""

    position: Array  # (num_samples * num_particles, dim)
    log_ratio: Array  # (num_samples * num_particles,) target over the mixture of all proposals
    posterior: Posterior  # that the particles had


@record
class pooled_importance:
    """Pooled multiple importance sampling: every particle uses the proposals of all.

    Each of N particles proposes ``num_samples`` points, by the rule of `importance`; all of them
    serve each particle with the balance heuristic,
    ``w_ij = π(y_j) N(y_j; c_i, s_i²) / ((1/N) Σ_k proposal_k(y_j))``. The mean of a row estimates
    ``∫ π N(y; c_i, s_i²)`` and is reported as ``log_marginal``.

    Args:
        num_samples: points per particle and level; one density evaluation each.
        reference_scale: standard deviation b of the reference Gaussian of the proposals, in the
            units of the (standardised) target; ``inf`` for none.

    It is an `Estimator` of the ensemble that needs no gradients, for up to about five dimensions.
    Its draws are chosen from the points of the moments, by each particle's own weights.

    Raises:
        ValueError: for fewer than one sample.

    Reference: Veach and Guibas (1995), SIGGRAPH, Section 3.2, for the balance heuristic.
    """

    _: KW_ONLY
    num_samples: int = 4
    reference_scale: float = 2.0

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(
                f"pooled_importance needs num_samples >= 1, but got {self.num_samples}."
            )

    def init(
        self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior
    ) -> PooledState:
        """Points at the centers, for nothing is evaluated before the first update."""
        position = jnp.tile(posterior.center, (self.num_samples, 1))
        return PooledState(position, jnp.zeros(position.shape[:1], position.dtype), posterior)

    def _proposal_of(self, posterior: Posterior) -> Posterior:
        shrink = 1 / (1 + (posterior.scale / self.reference_scale) ** 2)
        return Posterior(as_column(shrink) * posterior.center, posterior.scale * jnp.sqrt(shrink))

    def update(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        posterior: Posterior,
        state: PooledState,
    ) -> tuple[Moments, PooledState]:
        """Moments from new points, whatever the state."""
        check_ensemble(posterior)
        num_particles, dim = posterior.center.shape
        noise_key, _ = jax.random.split(rng_key)
        proposal = self._proposal_of(posterior)
        noise = jax.random.normal(
            noise_key, (self.num_samples, num_particles, dim), posterior.center.dtype
        )
        points = proposal.center[None] + proposal.scale[None, :, None] * noise
        points = points.reshape(-1, dim)
        logdensity = jax.vmap(logdensity_fn)(points)

        def log_mixture(y: Array) -> Array:
            each = jax.vmap(lambda one: log_tilt(one, y))(proposal)
            each = each + _log_normal_constant(proposal)
            return jax.nn.logsumexp(each) - math.log(num_particles)

        log_ratio = logdensity - jax.lax.map(log_mixture, points, batch_size=ROWS_AT_ONCE)

        def row(own: Posterior) -> tuple[Array, Array, Array, Array, Array]:
            log_weight = log_ratio + log_tilt(own, points) + _log_normal_constant(own)
            # where no point has weight, equal weights keep the moments finite, and the ess says 0
            has_weight = jnp.any(log_weight > -jnp.inf)
            found = average_of(jnp.where(has_weight, log_weight, 0.0), points)
            error2 = spread_about(found.share**2, points, found.mean)
            log_mean = jnp.where(
                has_weight, found.log_sum - math.log(log_weight.shape[0]), -jnp.inf
            )
            ess = jnp.where(has_weight, found.ess, 0.0)
            return found.mean, found.variance, ess, jnp.sqrt(error2), log_mean

        mean, variance, ess, error, log_marginal = jax.lax.map(
            row, posterior, batch_size=ROWS_AT_ONCE
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
        return moments, PooledState(points, log_ratio.astype(points.dtype), posterior)

    def draw(self, rng_key: PRNGKey, state: PooledState) -> Array:
        """One of all points for each particle, by its own weights."""

        def row(args: tuple[Posterior, PRNGKey]) -> Array:
            own, key = args
            log_weight = state.log_ratio + log_tilt(own, state.position)
            return state.position[multinomial(key, log_weight, 1)[0]]

        keys = jax.random.split(rng_key, state.posterior.scale.shape[0])
        return jax.lax.map(row, (state.posterior, keys), batch_size=ROWS_AT_ONCE)
