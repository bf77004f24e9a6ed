"""One linear map for all modes: the average shape within a mode, correlations included.

The average is the log-Euclidean one, ``exp(mean_k log C_k)``: the geometric mean where all shapes
have the same axes, nearly round where axes point everywhere.

Reference: Arsigny, Fillard, Pennec, Ayache (2006), Magn. Reson. Med. 56, Eq. (3).
"""

from collections.abc import Callable

import jax.numpy as jnp

from .types import Array

MAX_SHAPES = 256
LEAST = 1e-6
"""Smallest squared width of a shape over its coordinates' own."""


def _function_of(symmetric: Array, fn: Callable[[Array], Array]) -> Array:
    values, vectors = jnp.linalg.eigh(symmetric)
    return (vectors * fn(values)[..., None, :]) @ jnp.swapaxes(vectors, -1, -2)


def average_factor(covariance: Array, width: Array) -> Array:
    """``A`` with ``A Aᵀ`` the average of the covariances.

    Args:
        covariance: shape (num_shapes, dim, dim); a thinned set of them is taken.
        width: typical deviations, shape (dim,): coordinates of very different scale would drown
            each other in rounding.

    Returns:
        Shape (dim, dim).

    >>> one = jnp.array([[4.0, 1.0], [1.0, 1.0]])
    >>> a = average_factor(jnp.stack([one, one]), jnp.array([2.0, 1.0]))
    >>> bool(jnp.allclose(a @ a.T, one, atol=1e-5))
    True
    """
    thinned = covariance[:: -(-covariance.shape[0] // MAX_SHAPES)]
    scaled = thinned / (width[:, None] * width[None, :])[None]
    logs = _function_of(scaled, lambda values: jnp.log(jnp.maximum(values, LEAST)))
    return width[:, None] * _function_of(jnp.mean(logs, axis=0), lambda v: jnp.exp(0.5 * v))
