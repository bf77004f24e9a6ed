"""Densities on boxes and half-lines, sampled on all of R^d.

A bijection is anything with ``forward`` and ``forward_log_det_jacobian``, functions of one point: a
`Bijection`, or an object of a probability library that has these two.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..types import Array, ArrayTree, LogDensityFn


class Bijection(NamedTuple):
    """A map from R^d, written for one point, and the log of its Jacobian's determinant."""

    forward: Callable[[ArrayTree], ArrayTree]
    forward_log_det_jacobian: Callable[[ArrayTree], Array]


def box(low: Any, high: Any) -> Bijection:
    """``x = low + (high - low) sigmoid(u)`` in each coordinate.

    Args:
        low: lower bounds, a float or an array of the position's shape.
        high: upper bounds.

    Returns:
        A `Bijection` of arrays of the position's shape.

    Raises:
        ValueError: if a bound is not finite or the box is empty.

    >>> float(box(-1.0, 3.0).forward(jnp.zeros(())))
    1.0
    """
    low, high = jnp.asarray(low, float), jnp.asarray(high, float)
    if not bool(jnp.all(jnp.isfinite(low) & jnp.isfinite(high) & (low < high))):
        raise ValueError(
            f"box needs finite bounds with low < high, but got low={low} and high={high}. "
            "Use half_line for one bound."
        )

    def log_det(u: Array) -> Array:
        # accurate in both tails, where a product of sigmoids would underflow
        each = jnp.log(high - low) + jax.nn.log_sigmoid(u) + jax.nn.log_sigmoid(-u)
        return jnp.sum(jnp.broadcast_to(each, u.shape))

    def forward(u: Array) -> Array:
        x = low + (high - low) * jax.nn.sigmoid(u)
        # rounding would put tails on the edge or beyond, where densities may be zero or infinite
        return jnp.clip(x, jnp.nextafter(low, high), jnp.nextafter(high, low))

    return Bijection(forward, log_det)


def half_line(low: Any = 0.0) -> Bijection:
    """``x = low + e^u`` in each coordinate.

    Args:
        low: lower bounds, a float or an array of the position's shape.

    Returns:
        A `Bijection` of arrays of the position's shape.

    >>> float(half_line(2.0).forward(jnp.zeros(())))
    3.0
    """
    low = jnp.asarray(low, float)
    least = jnp.nextafter(low, jnp.asarray(jnp.inf, low.dtype))
    # rounding would put the tail on the edge, where densities may be zero or infinite
    return Bijection(lambda u: jnp.maximum(low + jnp.exp(u), least), lambda u: jnp.sum(u))


def unconstrained(logdensity_fn: LogDensityFn, bijection: Any) -> LogDensityFn:
    """The density of u where ``x = forward(u)``: ``log π(x) + log |det ∂x/∂u|``.

    It has the normalising constant of π on the image, so log Z stays the user's.

    Args:
        logdensity_fn: ``logdensity_fn(x)`` or ``logdensity_fn(x, data)``.
        bijection: an object with ``forward`` and ``forward_log_det_jacobian``.

    Returns:
        A density of u with the same further arguments.

    >>> f = unconstrained(lambda x: -x, half_line())  # Exp(1)
    >>> float(f(jnp.zeros(())))
    -1.0
    """

    def fn(u: ArrayTree, *data: Any) -> Array:
        return logdensity_fn(bijection.forward(u), *data) + bijection.forward_log_det_jacobian(u)

    return fn
