"""Errors of mode weights."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rdmc_jax.metrics.clouds import normalised


def mode_weight_error(
    modes: ArrayLike, mode_weights: ArrayLike, *, log_weight: ArrayLike | None = None
) -> jax.Array:
    r"""Absolute total variation between the estimated and the true mode weights.

    .. math:: \tfrac12 \sum_k |\hat w_k - w_k|

    It says nothing about the shape within a mode, and with fewer draws than modes it is near one
    even for exact draws.

    Args:
        modes: Mode of every draw, integers in ``0..num_modes-1``, shape ``(num_samples,)``. Draws
            with any other number count as lost.
        mode_weights: Exact weights, shape ``(num_modes,)``.
        log_weight: Unnormalised log weights, shape ``(num_samples,)``; equal when omitted.

    Returns:
        A scalar between 0 and 1.

    >>> import jax.numpy as jnp
    >>> from rdmc_jax import metrics
    >>> float(metrics.mode_weight_error(jnp.array([0, 0, 0, 1]), jnp.array([0.5, 0.5])))
    0.25
    """
    modes, truth = jnp.asarray(modes), jnp.asarray(mode_weights)
    weight = normalised("log_weight", log_weight, modes.shape[0], truth.dtype)
    known = (modes >= 0) & (modes < truth.shape[0])
    slot = jnp.where(known, modes, truth.shape[0])
    estimate = jnp.zeros(truth.shape[0] + 1, truth.dtype).at[slot].add(weight)
    return 0.5 * (jnp.sum(jnp.abs(estimate[:-1] - truth)) + estimate[-1])
