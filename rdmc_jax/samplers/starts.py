"""First stage: draw the particles at a noisy level from a law of known density, if it has one."""

from dataclasses import KW_ONLY
from typing import ClassVar

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
    StartDraws,
    record,
)


@record
class gaussian_start:
    """Particles from N(0, scale² I), the stationary law of the Ornstein-Uhlenbeck process.

    The log density is known, so runs from it carry weights.

    Args:
        num_particles: size of the ensemble.
        scale: standard deviation; 1 for the Ornstein-Uhlenbeck process, the noise of the first
            level for processes that do not shrink the target.

    Raises:
        ValueError: for no particles.
    """

    num_particles: int
    _: KW_ONLY
    scale: float = 1.0
    has_own_levels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_particles(self.num_particles)

    def sample(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        time: float,
        known: Pool,
    ) -> StartDraws:
        """Draw the particles at ``time``."""
        dim, dtype = known.position.shape[1], known.position.dtype
        x = self.scale * jax.random.normal(rng_key, (self.num_particles, dim), dtype)
        log_density = log_normal(x, jnp.zeros_like(x), jnp.full_like(x, self.scale**2))
        times = jnp.full((self.num_particles,), time, dtype)
        return StartDraws(x, times, log_density, Evaluations.zero(), jnp.zeros((), jnp.int32))


@record
class langevin_start:
    """The paper's start: unadjusted Langevin on p_T with estimated scores, from N(0, scale² I).

    Its density is unknown: runs from it carry no weights, log Z or bounds.

    Args:
        estimator: of the posterior means that give the scores.
        num_particles: size of the ensemble.
        num_steps: Langevin steps; each costs one update of the estimator.
        step_size: h of ``x' = x + h score + √(2h) ξ``, in squared units of x.
        initial_scale: standard deviation of the first points.

    Raises:
        ValueError: for no particles.

    Reference: Huang et al. (2024), arXiv 2307.02037, Algorithm 1, step 1.
    """

    estimator: Estimator
    _: KW_ONLY
    num_particles: int
    num_steps: int
    step_size: float
    initial_scale: float = 1.0
    has_own_levels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_particles(self.num_particles)

    def sample(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        time: float,
        known: Pool,
    ) -> StartDraws:
        """Draw the particles at ``time``."""
        dim, dtype = known.position.shape[1], known.position.dtype
        x_key, init_key, scan_key = jax.random.split(rng_key, 3)
        x = self.initial_scale * jax.random.normal(x_key, (self.num_particles, dim), dtype)
        times = jnp.full((self.num_particles,), time, dtype)
        state = self.estimator.init(init_key, logdensity_fn, posterior_at(process, x, times))

        def body(
            carry: tuple[Array, object], key: PRNGKey
        ) -> tuple[tuple[Array, object], tuple[Evaluations, Array]]:
            x, state = carry
            update_key, noise_key = jax.random.split(key)
            posterior = posterior_at(process, x, times)
            moments, state = self.estimator.update(update_key, logdensity_fn, posterior, state)
            score = score_from_mean(process, x, times, moments.mean)
            noise = jax.random.normal(noise_key, x.shape, dtype)
            x = x + self.step_size * score + jnp.sqrt(2 * self.step_size) * noise
            return (x, state), (moments.num_evals, moments.num_nonfinite)

        keys = jax.random.split(scan_key, self.num_steps)
        (x, _), (evals, bad) = jax.lax.scan(body, (x, state), keys)
        return StartDraws(x, times, None, Evaluations(*(jnp.sum(e) for e in evals)), jnp.sum(bad))


def _check_particles(num_particles: int) -> None:
    if num_particles < 1:
        raise ValueError(f"num_particles must be at least 1, but got {num_particles}.")
