"""Resampling by inverse distribution functions; no table of Gumbel variables is drawn."""

import jax
import jax.numpy as jnp
import numpy as np

from ..types import Array, PRNGKey


def _inverse_cdf(log_weight: Array, points: Array) -> Array:
    share = jax.nn.softmax(log_weight)
    cumulative = jnp.cumsum(share)
    # rounding leaves the last value a little off 1: rescale, and let what still falls behind the
    # end go to the last candidate that has any weight
    index = jnp.searchsorted(cumulative, points * cumulative[-1], side="right")
    last = jnp.max(jnp.where(share > 0, jnp.arange(share.shape[0]), 0))
    return jnp.minimum(index, last)


def _sanitised(log_weight: Array) -> Array:
    """Equal weights where all are zero, so that the result is always a valid choice."""
    any_mass = jnp.any(log_weight > -jnp.inf)
    return jnp.where(any_mass, log_weight, jnp.zeros_like(log_weight))


def _in_strata(log_weight: Array, offset: Array, num_samples: int) -> Array:
    """One index for each of ``num_samples`` equal strata; ``offset`` is the place within them."""
    points = (jnp.arange(num_samples, dtype=log_weight.dtype) + offset) / num_samples
    return _inverse_cdf(_sanitised(log_weight), points)


def systematic(rng_key: PRNGKey, log_weight: Array, num_samples: int) -> Array:
    """Indices drawn with one uniform number and a comb of equal spacing.

    Each index i appears ``floor`` or ``ceil`` of ``num_samples · w_i`` times: the least noise of
    the usual schemes. Not for cases where draws must be independent: use `multinomial`.

    Args:
        rng_key: key.
        log_weight: shape (num_candidates,), unnormalised.
        num_samples: number of indices.

    Returns:
        Sorted indices, shape (num_samples,).

    >>> systematic(jax.random.key(0), jnp.log(jnp.array([0.5, 0.0, 0.5])), 4).tolist()
    [0, 0, 2, 2]

    Reference: Kitagawa (1996), J. Comput. Graph. Statist. 5, appendix.
    """
    offset = jax.random.uniform(rng_key, (), log_weight.dtype)
    return _in_strata(log_weight, offset, num_samples)


def stratified(rng_key: PRNGKey, log_weight: Array, num_samples: int) -> Array:
    """Indices drawn with one uniform number in each of ``num_samples`` equal strata.

    The counts scatter a little more than those of `systematic`, whose comb can miss every second
    candidate where equal weights come in turns, such as known points of two modes.

    Args:
        rng_key: key.
        log_weight: shape (num_candidates,), unnormalised.
        num_samples: number of indices.

    Returns:
        Sorted indices, shape (num_samples,).

    >>> stratified(jax.random.key(0), jnp.log(jnp.array([0.5, 0.0, 0.5])), 4).tolist()
    [0, 0, 2, 2]

    Reference: Kitagawa (1996), J. Comput. Graph. Statist. 5, appendix.
    """
    offset = jax.random.uniform(rng_key, (num_samples,), log_weight.dtype)
    return _in_strata(log_weight, offset, num_samples)


def multinomial(rng_key: PRNGKey, log_weight: Array, num_samples: int) -> Array:
    """Independent indices, each i with probability ∝ ``exp(log_weight[i])``.

    Args:
        rng_key: key.
        log_weight: shape (num_candidates,), unnormalised.
        num_samples: number of indices.

    Returns:
        Indices, shape (num_samples,).

    >>> multinomial(jax.random.key(0), jnp.array([-jnp.inf, 0.0]), 3).tolist()
    [1, 1, 1]
    """
    points = jax.random.uniform(rng_key, (num_samples,), log_weight.dtype)
    return _inverse_cdf(_sanitised(log_weight), points)


def effective_size(log_weight: Array) -> Array:
    """Effective sample size ``(Σ w)²/Σ w²`` of unnormalised weights; 0 where all are zero.

    >>> float(effective_size(jnp.log(jnp.array([1.0, 1.0, 0.0]))))
    2.0
    """
    share = jax.nn.softmax(log_weight)
    return jnp.where(jnp.any(log_weight > -jnp.inf), 1 / jnp.sum(share**2), 0.0)


def comb(weight: np.ndarray, count: int, offset: float = 0.5) -> np.ndarray:
    """Indices at equal steps of the cumulative weight: `systematic` on the host, offset given.

    Args:
        weight: shape (num_candidates,), unnormalised.
        count: number of indices.
        offset: of the comb within its steps, in [0, 1): their middle, or a random number.

    Returns:
        Sorted indices, shape (count,).

    >>> comb(np.array([0.5, 0.0, 0.5]), 4).tolist()
    [0, 0, 2, 2]
    """
    cumulative = np.cumsum(weight)
    points = (np.arange(count) + offset) / count * cumulative[-1]
    return np.minimum(np.searchsorted(cumulative, points), weight.size - 1)
