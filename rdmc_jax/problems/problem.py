"""The record of a problem, and the cache that returns the identical record for equal calls."""

from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np

from ..types import memoised

Parameters = ParamSpec("Parameters")


class Problem(NamedTuple):
    """A target density together with what is known exactly about it.

    A field is None where no exact truth exists.

    Attributes:
        name: The factory's call, for tables and error messages.
        logdensity_fn: ``logdensity_fn(position) -> scalar`` for one point, perhaps unnormalised.
        position: An example point. It gives structure, shapes and dtype, and nothing away.
        log_normalizer: Natural logarithm of the integral of ``exp(logdensity_fn)``.
        sample: ``sample(rng_key, num_samples)`` draws exactly; leading axis ``num_samples``.
        mode_fn: ``mode_fn(position) -> int`` names the mode that one point belongs to.
        mode_weights: Exact probability of each mode, shape ``(num_modes,)``.
        reference: Where the definition and the truth come from.
    """

    name: str
    logdensity_fn: Callable[[Any], jax.Array]
    position: Any
    log_normalizer: float | None
    sample: Callable[[jax.Array, int], Any] | None
    mode_fn: Callable[[Any], jax.Array] | None
    mode_weights: np.ndarray | None
    reference: str


def memoised_problem(function: Callable[Parameters, Problem]) -> Callable[Parameters, Problem]:
    """Make equal calls return the identical problem; its position has the default precision."""
    return memoised(function, also=lambda: jnp.result_type(float))


def constant(shape: tuple[int, ...], value: float = 0.0) -> np.ndarray:
    """Return a constant array of the default float dtype, safe to build under a trace."""
    return np.full(shape, value, jnp.result_type(float))


def frozen(values: Any) -> np.ndarray:
    """Return a read-only float array: the cached problems are shared by everybody."""
    array = np.array(values, float)
    array.setflags(write=False)
    return array


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
