"""Averages over chains: plain, and with the zero-variance control variate."""

from typing import NamedTuple

import jax.numpy as jnp

from ..types import Array


class ChainAverage(NamedTuple):
    """Mean and variance over chains, with the standard error of the mean."""

    mean: Array  # (dim,)
    variance: Array  # (dim,)
    standard_error: Array  # (dim,)
    ess: Array  # ()


def _between_chains(values: Array) -> tuple[Array, Array]:
    """Mean and its squared standard error from the scatter of the chains' own means."""
    chain_means = jnp.mean(values, axis=0)
    num_chains = chain_means.shape[0]
    return jnp.mean(chain_means, axis=0), jnp.var(chain_means, axis=0, ddof=1) / num_chains


def plain_average(positions: Array, gradients: Array) -> ChainAverage:
    """Mean over all steps of all chains.

    The standard error is the scatter between chains, so it needs no autocorrelation time, and
    the effective sample size is the variance over its square, pooled over the coordinates.

    Args:
        positions: shape (num_steps, num_chains, dim).
        gradients: ``∇log q`` there, same shape; not used.

    Returns:
        `ChainAverage`.

    >>> plain_average(jnp.array([[[0.0], [2.0]]]), jnp.zeros((1, 2, 1))).mean.tolist()
    [1.0]
    """
    mean, error2 = _between_chains(positions)
    variance = jnp.var(positions, axis=(0, 1))
    tiny = jnp.finfo(variance.dtype).tiny
    ess = jnp.mean(variance) / jnp.maximum(jnp.mean(error2), tiny)
    ess = jnp.clip(ess, 1.0, positions.shape[0] * positions.shape[1])
    return ChainAverage(mean, variance, jnp.sqrt(error2), ess)


def zero_variance(positions: Array, gradients: Array) -> ChainAverage:
    """Mean with the control variate ``E_q[∇log q] = 0``, coordinate by coordinate.

    ``m = mean(y) + C mean(g)``, ``C_i = -Cov(y_i, g_i)/Var(g_i)``, at least 0: exact for a
    Gaussian, where g is linear in y. It blends Tweedie's formula with the target-score identity.
    The variance and the effective sample size are those of the plain samples: what the control
    variate removes from the error of the mean it does not remove from the error of the variance.

    Args:
        positions: shape (num_steps, num_chains, dim).
        gradients: ``∇log q`` of the posterior there, same shape.

    Returns:
        `ChainAverage`, its standard error that of the corrected mean.

    Reference: Mira, Solgi, Imparato (2013), Stat. Comput. 23 (linear trial function).
    """
    plain = plain_average(positions, gradients)
    y = positions - plain.mean[None, None, :]
    g = gradients - jnp.mean(gradients, axis=(0, 1), keepdims=True)
    tiny = jnp.finfo(y.dtype).tiny
    slope = -jnp.mean(y * g, axis=(0, 1)) / jnp.maximum(jnp.mean(g * g, axis=(0, 1)), tiny)
    corrected = positions + jnp.maximum(slope, 0.0)[None, None, :] * gradients
    mean, error2 = _between_chains(corrected)
    return plain._replace(mean=mean, standard_error=jnp.sqrt(error2))
