"""Last stage: from x at the last level to a draw of x_0 and its factor of the weight.

The factor is an unbiased estimate of ``∫ π(y) N(x; αy, σ²I) dy``, so that with the factors of the
start and the levels the mean weight is exactly the normalising constant, however rough the
estimates inside the levels were. Conditions: step sizes are frozen before the estimate is made.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .kernels import mala
from .memo import memoised
from .posterior import column, log_tilt, posterior_at
from .tilted import (
    Tilted,
    acceptance_of,
    adapted,
    evaluations_of,
    nonfinite_of,
    retarget,
    target_logdensity,
    tilted_logdensity,
    to_position,
)
from .transitions import log_normal, predictive_variance
from .types import (
    Array,
    Evaluations,
    Finish,
    FinishDraws,
    KernelFactory,
    LogDensityFn,
    Moments,
    Posterior,
    PRNGKey,
    Process,
)


def _log_noise_constant(process: Process, x: Array, t: Array) -> Array:
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
        log_noise = log_tilt(posterior, y) + _log_noise_constant(process, x, t)
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


class _Anneal(NamedTuple):
    """One particle's path from its Gaussian to its posterior."""

    posterior: Posterior
    mean: Array
    variance: Array

    def tilted(self, inverse_temperature: Array) -> Tilted:
        def log_rest(y: Array) -> Array:
            tilt = log_tilt(self.posterior, y)
            reference = log_normal(y, self.mean, self.variance)
            return inverse_temperature * tilt + (1 - inverse_temperature) * reference

        return Tilted(log_rest, self.mean, jnp.sqrt(self.variance), inverse_temperature)

    def log_ratio(self, tilted: Tilted, state: Any) -> Array:
        """``log π(y) + log_tilt(y) - log G(y)`` at the state's point."""
        y = to_position(tilted, state.position)
        value = target_logdensity(tilted, state.position, state.logdensity)
        return value + log_tilt(self.posterior, y) - log_normal(y, self.mean, self.variance)


@memoised
def annealed(
    kernel: KernelFactory = mala,
    *,
    num_temperatures: int = 32,
    num_pilot: int = 64,
    step_size: float = 0.6,
    target_acceptance: float = 0.6,
    reference: Callable[[Moments, Array], Array] = predictive_variance,
) -> Finish:
    """Annealed importance sampling from ``G = N(m, V)`` to the posterior.

    ``log R̂ = Σ_b (β_{b+1} - β_b) [log π(y_b) N(x; αy_b, σ²) - log G(y_b)]``, one kernel step per
    temperature. The step size is adapted by copies of some particles, with randomness of their
    own, that are thrown away: for the particles themselves it is frozen, and the estimate exactly
    unbiased.

    Args:
        kernel: factory of the inner kernel, ours or blackjax's; it must leave its density
            invariant (no unadjusted one).
        num_temperatures: steps between G and the posterior; the larger, the less noisy.
        num_pilot: particles whose copies find the step sizes.
        step_size: first step, in units of the Gaussian's width, times ``dim^{-1/3}``.
        target_acceptance: of the kernel.
        reference: ``(moments, scale) -> V``, variance of the Gaussian.

    Returns:
        A `Finish`: ``num_temperatures + 1`` evaluations per particle, and one update of the
        estimator.

    Raises:
        ValueError: without temperatures; use `gaussian_finish` then.

    Reference: Neal (2001), Stat. Comput. 11, Eq. (7)-(11).
    """
    if num_temperatures < 1:
        raise ValueError(
            f"annealed needs num_temperatures >= 1, but got {num_temperatures}. "
            "gaussian_finish() is the finish without temperatures."
        )

    def sample(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        x: Array,
        t: Array,
        moments: Moments,
    ) -> FinishDraws:
        start_key, init_key, scan_key = jax.random.split(rng_key, 3)
        posterior = posterior_at(process, x, t)
        own = _Anneal(posterior, moments.mean, reference(moments, posterior.scale))
        num_particles, dim = x.shape
        # copies of the first particles, with randomness of their own, go ahead and set the steps
        paths = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:num_pilot]]), own)
        total = num_particles + min(num_pilot, num_particles)
        xi = jax.random.normal(start_key, (total, dim), x.dtype)
        beta = jnp.arange(1, num_temperatures + 2, dtype=x.dtype) / (num_temperatures + 1)
        first_step = jnp.asarray(step_size * dim ** (-1 / 3), x.dtype)

        def begin(path: _Anneal, xi: Array, key: PRNGKey) -> tuple[Any, Array]:
            tilted = path.tilted(beta[0])
            state = kernel(tilted_logdensity(logdensity_fn, tilted), first_step).init(xi, key)
            return state, beta[0] * path.log_ratio(tilted, state)

        state, log_weight = jax.vmap(begin)(paths, xi, jax.random.split(init_key, total))
        first_bad = jnp.sum(~jnp.isfinite(state.logdensity), dtype=jnp.int32)

        def body(carry: Any, step: Any) -> Any:
            state, log_weight, h = carry
            key, now, then = step

            def move(path: _Anneal, state: Any, key: PRNGKey) -> tuple[Any, Array, Any]:
                old, new = path.tilted(now), path.tilted(then)
                state, info = kernel(tilted_logdensity(logdensity_fn, old), h).step(key, state)
                increment = (then - now) * path.log_ratio(old, state)
                return retarget(state, old, new), increment, info

            keys = jax.random.split(key, total)
            state, increment, info = jax.vmap(move)(paths, state, keys)
            rate = jnp.broadcast_to(acceptance_of(info), (total,))
            # only the copies decide: for the particles themselves h is a frozen number
            h = adapted(h, jnp.mean(rate[num_particles:]), target_acceptance)
            record = (rate[:num_particles], evaluations_of(state, info, total), nonfinite_of(info))
            return (state, log_weight + increment, h), record

        steps = (jax.random.split(scan_key, num_temperatures), beta[:-1], beta[1:])
        (state, log_weight, _), record = jax.lax.scan(body, (state, log_weight, first_step), steps)
        rate, counted, bad = record
        y = own.mean + jnp.sqrt(own.variance) * state.position[:num_particles]
        log_ratio = log_weight[:num_particles]
        log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
        return FinishDraws(
            position=y,
            log_weight=log_ratio + _log_noise_constant(process, x, t),
            acceptance_rate=jnp.mean(rate, axis=0),
            num_evals=Evaluations(*(jnp.sum(c) + total * (jnp.max(c) > 0) for c in counted)),
            num_nonfinite=first_bad + jnp.sum(bad),
        )

    def finer(factor: int) -> Finish:
        return annealed(
            kernel,
            num_temperatures=factor * num_temperatures,
            num_pilot=num_pilot,
            step_size=step_size,
            target_acceptance=target_acceptance,
            reference=reference,
        )

    return Finish(sample, needs_moments=True, needs_fixed_level=False, finer=finer)
