"""Exact draws from one-dimensional laws known on a grid."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def quantile_fn(edges: np.ndarray, log_density: np.ndarray) -> Callable[[jax.Array], jax.Array]:
    """Return the inverse distribution function of a density that is constant in each cell.

    Args:
        edges: Increasing cell edges, shape ``(num_cells + 1,)``.
        log_density: Unnormalised, at the cell midpoints, shape ``(num_cells,)``.

    Returns:
        A function from uniforms in [0, 1] to draws; its error is second order in the cell width.
    """
    mass = np.exp(log_density - log_density.max()) * np.diff(edges)
    distribution = np.append(0.0, np.cumsum(mass)) / mass.sum()

    def quantile(uniform: jax.Array) -> jax.Array:
        return jnp.interp(uniform, jnp.asarray(distribution), jnp.asarray(edges))

    return quantile


def log_integral(edges: np.ndarray, log_density: np.ndarray) -> float:
    """Return the logarithm of the midpoint rule's integral over equal or unequal cells."""
    peak = float(log_density.max())
    return peak + float(np.log(np.sum(np.exp(log_density - peak) * np.diff(edges))))
