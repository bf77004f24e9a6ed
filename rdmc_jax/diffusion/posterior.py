"""The denoising posterior ``q(x_0 | x_t)`` and the one place where means become scores."""

import chex
import jax.numpy as jnp

from ..types import Array, Posterior, Process


def as_column(values: Array) -> Array:
    """Per-particle scalars ``(num_particles,)`` as ``(num_particles, 1)``, against ``(…, dim)``."""
    return values[..., None]


def posterior_at(process: Process, x: Array, t: Array) -> Posterior:
    """Center ``x/α`` and scale ``σ/α`` of the Gaussian factor of ``q_t(x_0 | x)``.

    Args:
        process: the noising process.
        x: noisy points, shape (num_particles, dim).
        t: their times, shape (num_particles,).

    Returns:
        The `Posterior`; nothing downstream needs the time or the process.
    """
    alpha = process.alpha(t)
    return Posterior(center=x / as_column(alpha), scale=process.sigma(t) / alpha)


def check_ensemble(posterior: Posterior) -> None:
    """Check that there is one posterior per particle: center (num_particles, dim), scale alike.

    Raises:
        AssertionError: of `chex`, with the shapes; when the program is made, never when it runs.
    """
    chex.assert_rank([posterior.center, posterior.scale], [2, 1])
    chex.assert_equal_shape_prefix([posterior.center, posterior.scale], 1)


def log_tilt(posterior: Posterior, position: Array) -> Array:
    """Unnormalised log of the Gaussian factor, ``-|y - center|²/(2 scale²)``.

    Args:
        posterior: center (dim,) and scale () of one particle (or batched alike).
        position: points y, shape (..., dim).

    Returns:
        Shape (...).
    """
    offset = position - jnp.broadcast_to(posterior.center, position.shape)
    return -0.5 * jnp.sum(offset**2, axis=-1) / posterior.scale**2


def score_from_mean(process: Process, x: Array, t: Array, mean: Array) -> Array:
    """Tweedie's formula ``∇log p_t(x) = (α E[x_0|x] - x)/σ²``.

    Args:
        process: the noising process.
        x: noisy points, shape (num_particles, dim).
        t: their times, shape (num_particles,).
        mean: posterior means, shape (num_particles, dim).

    Returns:
        Scores, shape (num_particles, dim).

    Reference: Huang et al. (2024), arXiv 2307.02037, Section 3.
    """
    return (as_column(process.alpha(t)) * mean - x) / as_column(process.sigma(t)) ** 2
