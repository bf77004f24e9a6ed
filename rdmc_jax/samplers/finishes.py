"""Last stage: from x at the last level to a draw of x_0 and its factor of the weight.

The factor is an unbiased estimate of ``∫ π(y) N(x; αy, σ²I) dy``, so that with the factors of the
start and the levels the mean weight is exactly the normalising constant, however rough the
estimates inside the levels were. Condition: step sizes are frozen before the estimate is made.

The annealed finish goes from a Gaussian that resembles the posterior of x_0 to the posterior
itself. Chains walk in the Gaussian's own coordinates z, ``y = m + A z`` with ``A Aᵀ = V``.
Posteriors differ: some are thin and bent, others round. A step that suits most leaves the chains of
the others where they began, and their weights stay scattered for any number of temperatures. So
each particle measures how much steeper its posterior is than the Gaussian, once, at a point of the
Gaussian that is then discarded. It divides the common step by that.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ..diffusion.mixture import moved
from ..diffusion.posterior import as_column, log_tilt, posterior_at
from ..diffusion.transitions import log_normal, predictive_variance
from ..montecarlo.kernels import mala
from ..montecarlo.tilted import (
    Tilted,
    acceptance_of,
    adapted,
    evaluations_of,
    nonfinite_of,
    retarget,
    target_logdensity,
    tilted_logdensity,
)
from ..types import (
    Array,
    Evaluations,
    FinishDraws,
    KernelFactory,
    LogDensityFn,
    Moments,
    Posterior,
    PRNGKey,
    Process,
    record,
)


def log_noise_constant(process: Process, x: Array, t: Array) -> Array:
    """``log N(x; αy, σ²I) - log_tilt(y)``: the constant of the Gaussian factor."""
    return -0.5 * x.shape[-1] * jnp.log(2 * jnp.pi * process.sigma(t) ** 2)


@record
class identity_finish:
    """``y = x/α`` with weight factor ``π(y) α^{-d}``; one density evaluation per particle.

    It blurs whatever is finer than ``σ/α`` of the last level in unweighted draws, and scatters the
    weights of paths where the target is narrow. It needs one last level common to all paths.
    """

    needs_moments: ClassVar[bool] = False
    needs_common_level: ClassVar[bool] = True

    def sample(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        x: Array,
        t: Array,
        moments: None,
    ) -> FinishDraws:
        """Draw from points at the last level."""
        alpha = process.alpha(t)
        y = x / as_column(alpha)
        logdensity = jax.vmap(logdensity_fn)(y)
        log_weight = logdensity - x.shape[-1] * jnp.log(alpha)
        return without_chain(y, logdensity, log_weight)


@record
class gaussian_finish:
    """``y ~ G = N(m, V)``, moment-matched to the posterior, with ``π(y) N(x; αy, σ²)/G(y)``.

    Importance sampling with one draw: good where the last posterior is nearly Gaussian. One density
    evaluation per particle, and one update of the estimator.
    """

    needs_moments: ClassVar[bool] = True
    needs_common_level: ClassVar[bool] = False

    def sample(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        x: Array,
        t: Array,
        moments: Moments,
    ) -> FinishDraws:
        """Draw from points at the last level."""
        posterior = posterior_at(process, x, t)
        variance = predictive_variance(moments, posterior.scale)
        noise = jax.random.normal(rng_key, x.shape, x.dtype)
        y = moments.mean + jnp.sqrt(variance) * noise
        logdensity = jax.vmap(logdensity_fn)(y)
        log_noise = log_tilt(posterior, y) + log_noise_constant(process, x, t)
        log_weight = logdensity + log_noise - log_normal(y, moments.mean, variance)
        return without_chain(y, logdensity, log_weight)


def without_chain(y: Array, logdensity: Array, log_weight: Array) -> FinishDraws:
    """Draws that cost one density evaluation each."""
    count = jnp.asarray(y.shape[0], jnp.int32)
    return FinishDraws(
        position=y,
        log_weight=log_weight,
        acceptance_rate=jnp.full(y.shape[:1], jnp.nan, y.dtype),
        num_evals=Evaluations(count, jnp.zeros_like(count)),
        num_nonfinite=jnp.sum(~jnp.isfinite(logdensity), dtype=jnp.int32),
    )


STEEPEST = 1e4
"""Largest factor by which a particle's step is shorter than that of a round posterior."""


def factor_of(variance: Array) -> Array:
    """``A`` of ``A Aᵀ = V``: deviations of variances, or Cholesky factors of covariances.

    Where a covariance has no Cholesky factor in this precision, its diagonal is taken.

    Args:
        variance: V, shape (num_particles, dim) or (num_particles, dim, dim).

    Returns:
        The same shape.
    """
    if variance.ndim == 2:
        return jnp.sqrt(variance)
    factor = jnp.linalg.cholesky(variance)
    deviation = jnp.sqrt(jnp.diagonal(variance, axis1=1, axis2=2))
    is_factor = jnp.all(jnp.isfinite(factor), axis=(1, 2), keepdims=True)
    return jnp.where(is_factor, factor, jax.vmap(jnp.diag)(deviation))


class _FromGaussian(NamedTuple):
    """One particle's path from its Gaussian to its posterior, in the Gaussian's coordinates."""

    posterior: Posterior
    mean: Array
    factor: Array  # (dim,) or (dim, dim)

    def position(self, z: Array) -> Array:
        return moved(self.mean, self.factor, z)

    def log_reference(self, z: Array) -> Array:
        """Log density of z where the path begins."""
        return -0.5 * jnp.sum(z**2) - 0.5 * z.size * jnp.log(2 * jnp.pi)

    def log_rest(self, z: Array) -> Array:
        """Term that is added to the target's log density where the path ends."""
        diagonal = self.factor if self.factor.ndim == 1 else jnp.diagonal(self.factor)
        return log_tilt(self.posterior, self.position(z)) + jnp.sum(jnp.log(diagonal))


class Path(Protocol):
    """From a reference density of z to the target's, ``y = position(z)``."""

    def position(self, z: Array, /) -> Array:
        """Point of the target."""

    def log_reference(self, z: Array, /) -> Array:
        """Log density where the path begins."""

    def log_rest(self, z: Array, /) -> Array:
        """Term that is added to ``log π(position(z))`` where it ends."""


def _tilted(path: Path, inverse_temperature: Array | float) -> Tilted:
    def log_rest(z: Array) -> Array:
        rest = inverse_temperature * path.log_rest(z)
        return rest + (1 - inverse_temperature) * path.log_reference(z)

    return Tilted(log_rest, 0.0, 1.0, inverse_temperature)


def _log_ratio(path: Path, tilted: Tilted, state: Any) -> Array:
    """Log of the target over the reference at the state's point."""
    z = state.position
    value = target_logdensity(tilted, z, state.logdensity)
    return value + path.log_rest(z) - path.log_reference(z)


class Annealing(NamedTuple):
    """Settings of `annealed`; see `annealed_finish`."""

    kernel: KernelFactory
    num_temperatures: int
    num_pilot: int = 64
    step_size: float = 0.6
    target_acceptance: float = 0.6


def annealed(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    own: Any,
    path_of: Callable[[Any], Path],
    dim: int,
    options: Annealing,
) -> FinishDraws:
    """Annealed importance sampling of an ensemble, along a path for each particle.

    Args:
        rng_key: key.
        logdensity_fn: target.
        own: PyTree of what belongs to each particle, leading axis num_particles.
        path_of: the path of one particle, from its part of ``own``. It begins where z is standard
            normal given that part.
        dim: of z.
        options: settings.

    Returns:
        `FinishDraws`, where the mean of ``exp(log_weight)`` is the ratio of the normalising
        constants at the two ends, for each particle.
    """
    start_key, init_key, look_key, scan_key = jax.random.split(rng_key, 4)
    kernel, num_temperatures = options.kernel, options.num_temperatures
    leaf = jax.tree.leaves(own)[0]
    num_particles, dtype = leaf.shape[0], leaf.dtype
    total = num_particles + min(options.num_pilot, num_particles)
    beta = jnp.arange(1, num_temperatures + 2, dtype=dtype) / (num_temperatures + 1)
    first_step = jnp.asarray(options.step_size * dim ** (-1 / 3), dtype)

    def logdensity(path: Path, tilted: Tilted) -> LogDensityFn:
        return tilted_logdensity(lambda z: logdensity_fn(path.position(z)), tilted)

    def begin(own: Any, z: Array, key: PRNGKey, beta: Array) -> tuple[Any, Array]:
        path = path_of(own)
        tilted = _tilted(path, beta)
        state = kernel(logdensity(path, tilted), first_step).init(z, key)
        return state, beta * _log_ratio(path, tilted, state)

    def steepness(own: Any, key: PRNGKey) -> tuple[Array, Array]:
        z = jax.random.normal(key, (dim,), dtype)
        state, _ = begin(own, z, key, jnp.ones((), dtype))
        if not hasattr(state, "logdensity_grad"):  # no gradient: λ = 1, no evaluation
            return jnp.ones((), dtype), jnp.zeros((), jnp.int32)
        ratio = jnp.linalg.norm(state.logdensity_grad) / jnp.linalg.norm(z)
        # a point without density tells nothing
        ratio = jnp.where(jnp.isfinite(ratio), ratio, 1.0)
        return jnp.clip(ratio, 1.0, STEEPEST), (~jnp.isfinite(state.logdensity)).astype(int)

    steep, look_bad = jax.vmap(steepness)(own, jax.random.split(look_key, num_particles))
    # copies of the first particles, with randomness of their own, set the step sizes
    own, steep = jax.tree.map(
        lambda leaf: jnp.concatenate([leaf, leaf[: options.num_pilot]]), (own, steep)
    )
    z = jax.random.normal(start_key, (total, dim), dtype)
    init_keys = jax.random.split(init_key, total)
    state, log_weight = jax.vmap(begin, (0, 0, 0, None))(own, z, init_keys, beta[0])
    first_bad = jnp.sum(~jnp.isfinite(state.logdensity), dtype=jnp.int32)

    def body(carry: Any, step: Any) -> Any:
        state, log_weight, h = carry
        key, now, then = step

        def move(own: Any, steep: Array, state: Any, key: PRNGKey) -> Any:
            path = path_of(own)
            old, new = _tilted(path, now), _tilted(path, then)
            length = h / (1 - now + now * steep)
            stepped = kernel(logdensity(path, old), length).step(key, state)
            increment = (then - now) * _log_ratio(path, old, stepped[0])
            return retarget(stepped[0], old, new), increment, stepped[1]

        keys = jax.random.split(key, total)
        state, increment, info = jax.vmap(move)(own, steep, state, keys)
        rate = jnp.broadcast_to(acceptance_of(info), (total,))
        # only the copies decide: for the particles themselves h is a frozen number
        h = adapted(h, jnp.mean(rate[num_particles:]), options.target_acceptance)
        kept = (rate[:num_particles], evaluations_of(state, info, total), nonfinite_of(info))
        return (state, log_weight + increment, h), kept

    steps = (jax.random.split(scan_key, num_temperatures), beta[:-1], beta[1:])
    (state, log_weight, _), kept = jax.lax.scan(body, (state, log_weight, first_step), steps)
    rate, counted, bad = kept
    log_ratio = log_weight[:num_particles]
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
    first = total + (num_particles if hasattr(state, "logdensity_grad") else 0)
    position = jax.vmap(lambda own, z: path_of(own).position(z))(own, state.position)
    return FinishDraws(
        position=position[:num_particles],
        log_weight=log_ratio,
        acceptance_rate=jnp.mean(rate, axis=0),
        num_evals=Evaluations(*(jnp.sum(c) + first * (jnp.max(c) > 0) for c in counted)),
        num_nonfinite=first_bad + jnp.sum(look_bad, dtype=jnp.int32) + jnp.sum(bad),
    )


@record
class annealed_finish:
    """Annealed importance sampling from ``G = N(m, V)`` to the posterior.

    ``log R̂ = Σ_b (β_{b+1} - β_b) [log π(y_b) N(x; αy_b, σ²) - log G(y_b)]``, one kernel step per
    temperature, of length ``h_b / (1 - β_b + β_b λ)``. Each particle measures
    ``λ = |∇ log q(z)|/|z| ≥ 1`` at one z of its Gaussian; it is 1 if the posterior q is that
    Gaussian. Copies of some particles adapt the common h_b. Copies and z have randomness of their
    own and are discarded: for the particles' chains all steps are frozen, and the estimate is
    exactly unbiased. It costs ``num_temperatures + 1`` evaluations per particle, one more with
    gradients, and one update of the estimator.

    Args:
        kernel: factory of the inner kernel, ours or blackjax's; it must leave its density
            invariant (no unadjusted one). Without gradients in its state all λ are 1.
        num_temperatures: steps between G and the posterior; more of them make less noisy weights.
        num_pilot: particles whose copies find the step sizes.
        step_size: first step, in units of the Gaussian's width, times ``dim^{-1/3}``.
        target_acceptance: of the kernel.
        reference: ``(moments, scale) -> V``, variances of the Gaussian (num_particles, dim), or
            covariances (num_particles, dim, dim).

    Raises:
        ValueError: without temperatures; use `gaussian_finish` then.

    >>> import dataclasses
    >>> dataclasses.replace(annealed_finish(num_pilot=16), num_temperatures=64)
    annealed_finish(num_temperatures=64, num_pilot=16)

    Reference: Neal (2001), Stat. Comput. 11, Eq. (7)-(11).
    """

    kernel: KernelFactory = mala
    _: KW_ONLY
    num_temperatures: int = 32
    num_pilot: int = 64
    step_size: float = 0.6
    target_acceptance: float = 0.6
    reference: Callable[[Moments, Array], Array] = predictive_variance
    needs_moments: ClassVar[bool] = True
    needs_common_level: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.num_temperatures < 1:
            raise ValueError(
                f"annealed_finish needs num_temperatures >= 1, but got {self.num_temperatures}. "
                "gaussian_finish() is the finish without temperatures."
            )

    def sample(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        x: Array,
        t: Array,
        moments: Moments,
    ) -> FinishDraws:
        """Draw from points at the last level."""
        posterior = posterior_at(process, x, t)
        factor = factor_of(self.reference(moments, posterior.scale))
        own = _FromGaussian(posterior, moments.mean, factor)
        options = Annealing(
            self.kernel,
            self.num_temperatures,
            self.num_pilot,
            self.step_size,
            self.target_acceptance,
        )
        drawn = annealed(rng_key, logdensity_fn, own, lambda path: path, x.shape[1], options)
        return drawn._replace(log_weight=drawn.log_weight + log_noise_constant(process, x, t))
