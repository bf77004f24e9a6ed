"""Last stage: from x at the last level to a draw of x_0 and its factor of the weight.

The factor is an unbiased estimate of ``∫ π(y) N(x; αy, σ²I) dy``, so that with the factors of the
start and the levels the mean weight is exactly the normalising constant, however rough the
estimates inside the levels were. Conditions: step sizes are frozen before the estimate is made.
"""

import jax
import jax.numpy as jnp

from .memo import memoised
from .posterior import column, log_tilt, posterior_at
from .transitions import log_normal, predictive_variance
from .types import (
    Array,
    Evaluations,
    Finish,
    FinishDraws,
    LogDensityFn,
    Moments,
    PRNGKey,
    Process,
)


def log_noise_constant(process: Process, x: Array, t: Array) -> Array:
    """``log N(x; αy, σ²I) - log_tilt(y)``: the constant of the Gaussian factor."""
    return -0.5 * x.shape[-1] * jnp.log(2 * jnp.pi * process.sigma(t) ** 2)


@memoised
def identity() -> Finish:
    """``y = x/α`` with weight factor ``π(y) α^{-d}``.

    Blurs whatever is finer than ``σ/α`` of the last level in unweighted draws, and throws the
    weights of paths from narrow targets; it needs one last level common to all paths.

    Returns:
        A `Finish`. One density evaluation per particle.
    """

    def sample(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        x: Array,
        t: Array,
        moments: Moments | None,
    ) -> FinishDraws:
        alpha = process.alpha(t)
        y = x / column(alpha)
        logdensity = jax.vmap(logdensity_fn)(y)
        log_weight = logdensity - x.shape[-1] * jnp.log(alpha)
        return _without_chain(y, logdensity, log_weight)

    return Finish(sample, needs_moments=False, needs_fixed_level=True)


@memoised
def gaussian_finish() -> Finish:
    """``y ~ G = N(m, V)``, moment-matched to the posterior, with ``π(y) N(x; αy, σ²)/G(y)``.

    Importance sampling with one draw: good where the last posterior is nearly Gaussian.

    Returns:
        A `Finish`. One density evaluation per particle, and one update of the estimator.
    """

    def sample(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        x: Array,
        t: Array,
        moments: Moments,
    ) -> FinishDraws:
        posterior = posterior_at(process, x, t)
        variance = predictive_variance(moments, posterior.scale)
        noise = jax.random.normal(rng_key, x.shape, x.dtype)
        y = moments.mean + jnp.sqrt(variance) * noise
        logdensity = jax.vmap(logdensity_fn)(y)
        log_noise = log_tilt(posterior, y) + log_noise_constant(process, x, t)
        log_weight = logdensity + log_noise - log_normal(y, moments.mean, variance)
        return _without_chain(y, logdensity, log_weight)

    return Finish(sample, needs_moments=True, needs_fixed_level=False)


def _without_chain(y: Array, logdensity: Array, log_weight: Array) -> FinishDraws:
    count = jnp.asarray(y.shape[0], jnp.int32)
    return FinishDraws(
        position=y,
        log_weight=log_weight,
        acceptance_rate=jnp.full(y.shape[:1], jnp.nan, y.dtype),
        num_evals=Evaluations(count, jnp.zeros_like(count)),
        num_nonfinite=jnp.sum(~jnp.isfinite(logdensity), dtype=jnp.int32),
    )
