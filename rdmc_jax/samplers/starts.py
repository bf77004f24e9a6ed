"""First stage: draw the particles at a noisy level from a law of known density, if it has one."""

import jax
import jax.numpy as jnp

from ..diffusion.posterior import posterior_at, score_from_mean
from ..diffusion.transitions import log_normal
from ..types import (
    Array,
    Estimator,
    Evaluations,
    LogDensityFn,
    Pool,
    PRNGKey,
    Process,
    Start,
    StartDraws,
    memoised,
)


def _nothing() -> Array:
    return jnp.zeros((), jnp.int32)


@memoised
def gaussian_start(*, num_particles: int, scale: float = 1.0) -> Start:
    """Particles from N(0, scale² I), the stationary law of the Ornstein-Uhlenbeck process.

    Args:
        num_particles: size of the ensemble.
        scale: standard deviation; 1 for the Ornstein-Uhlenbeck process, the noise of the first
            level for processes that do not shrink the target.

    Returns:
        A `Start` whose log density is known, so runs from it carry weights.

    Raises:
        ValueError: for no particles.
    """
    _check_particles(num_particles)

    def sample(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        time: float,
        known: Pool,
    ) -> StartDraws:
        dim, dtype = known.position.shape[1], known.position.dtype
        x = scale * jax.random.normal(rng_key, (num_particles, dim), dtype)
        log_density = log_normal(x, jnp.zeros_like(x), jnp.full_like(x, scale**2))
        times = jnp.full((num_particles,), time, dtype)
        return StartDraws(x, times, log_density, Evaluations(_nothing(), _nothing()), _nothing())

    return Start(sample, num_particles, is_adaptive=False)


@memoised
def langevin_start(
    estimator: Estimator,
    *,
    num_particles: int,
    num_steps: int,
    step_size: float,
    initial_scale: float = 1.0,
) -> Start:
    """The paper's start: unadjusted Langevin on p_T with estimated scores, from N(0, scale² I).

    Args:
        estimator: of the posterior means that give the scores.
        num_particles: size of the ensemble.
        num_steps: Langevin steps; each costs one update of the estimator.
        step_size: h of ``x' = x + h score + √(2h) ξ``, in squared units of x.
        initial_scale: standard deviation of the first points.

    Returns:
        A `Start` of unknown density: runs from it carry no weights, log Z or bounds.

    Raises:
        ValueError: for no particles.

    Reference: Huang et al. (2024), arXiv 2307.02037, Algorithm 1, step 1.
    """
    _check_particles(num_particles)

    def sample(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        time: float,
        known: Pool,
    ) -> StartDraws:
        dim, dtype = known.position.shape[1], known.position.dtype
        x_key, init_key, scan_key = jax.random.split(rng_key, 3)
        x = initial_scale * jax.random.normal(x_key, (num_particles, dim), dtype)
        times = jnp.full((num_particles,), time, dtype)
        state = estimator.init(init_key, logdensity_fn, posterior_at(process, x, times))

        def body(
            carry: tuple[Array, object], key: PRNGKey
        ) -> tuple[tuple[Array, object], tuple[Evaluations, Array]]:
            x, state = carry
            update_key, noise_key = jax.random.split(key)
            posterior = posterior_at(process, x, times)
            moments, state = estimator.update(update_key, logdensity_fn, posterior, state)
            score = score_from_mean(process, x, times, moments.mean)
            noise = jax.random.normal(noise_key, x.shape, dtype)
            x = x + step_size * score + jnp.sqrt(2 * step_size) * noise
            return (x, state), (moments.num_evals, moments.num_nonfinite)

        keys = jax.random.split(scan_key, num_steps)
        (x, _), (evals, bad) = jax.lax.scan(body, (x, state), keys)
        return StartDraws(x, times, None, Evaluations(*(jnp.sum(e) for e in evals)), jnp.sum(bad))

    return Start(sample, num_particles, is_adaptive=False)


def _check_particles(num_particles: int) -> None:
    if num_particles < 1:
        raise ValueError(f"num_particles must be at least 1, but got {num_particles}.")


@memoised
def duplicated(start: Start) -> Start:
    """Each particle of a start twice: the finish then shows its own noise.

    Args:
        start: of half as many particles.

    Returns:
        A `Start`, particle i and particle ``i + num_particles/2`` at the same point. Both weights
        are as unbiased as those of `start`, so pairs are as good for pools as other draws.
    """

    def sample(
        rng_key: PRNGKey, logdensity_fn: LogDensityFn, process: Process, time: float, known: Pool
    ) -> StartDraws:
        drawn = start.sample(rng_key, logdensity_fn, process, time, known)

        def twice(leaf: Array) -> Array:
            return leaf if jnp.ndim(leaf) == 0 else jnp.concatenate([leaf, leaf])

        return jax.tree.map(twice, drawn)

    return Start(sample, 2 * start.num_particles, start.is_adaptive)
