"""Self-normalised importance sampling of the denoising posterior; no gradients."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .. import moments as weighted
from ..memo import memoised
from ..resampling import multinomial
from ..types import Array, Estimator, Evaluations, LogDensityFn, Moments, Posterior, PRNGKey
from .independent import independent


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
        sums = weighted.from_samples(points.position, points.log_weight)
        log_mean = sums.log_weight_sum - math.log(num_samples)
        count = jnp.asarray(num_samples)
        moments = Moments(
            mean=sums.mean,
            variance=sums.variance,
            ess=weighted.ess(sums),
            standard_error=weighted.standard_error(sums),
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
