"""Whether a density has a gradient that means something."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .border import bind
from .types import Array, ArrayTree, LogDensityFn

NUM_POINTS = 64


def _slopes(
    logdensity_fn: LogDensityFn, position: ArrayTree, data: Any
) -> tuple[Array, Array, Array]:
    """Value, size of the gradient and one Hessian product at points around the position."""
    flat = bind(logdensity_fn, position, data)
    dim, dtype = flat.position.shape[0], flat.position.dtype
    octave = jnp.linspace(-8.0, 4.0, NUM_POINTS, dtype=dtype)
    noise = jax.random.normal(jax.random.key(0), (NUM_POINTS, dim), dtype)
    offsets = 2.0 ** octave[:, None] * (1 + jnp.abs(flat.position))[None, :] * noise
    gradient = jax.grad(flat.logdensity_fn)

    def one(x: Array, v: Array) -> tuple[Array, Array, Array]:
        # the pilot's Newton steps differentiate twice
        product = jax.grad(lambda y: jnp.vdot(gradient(y), v))(x)
        return flat.logdensity_fn(x), jnp.max(jnp.abs(gradient(x))), jnp.sum(product)

    return jax.vmap(one)(flat.position[None, :] + offsets, noise)


_compiled = jax.jit(_slopes, static_argnames="logdensity_fn")


def has_gradient(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any = None) -> bool:
    """Whether JAX can differentiate a density twice, and does not find it flat.

    A density that calls other code has no derivative in JAX; one that is rounded, or looked up in a
    table, has one that is zero nearly everywhere.

    Args:
        logdensity_fn: ``logdensity_fn(position)`` or ``logdensity_fn(position, data)``, which can
            be evaluated.
        position: example position, of arrays.
        data: passed to the density if not None.

    Returns:
        False if differentiation raises, or the gradient is exactly zero at all of
        `NUM_POINTS` points around the position though the values there differ.

    >>> has_gradient(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
    True
    >>> has_gradient(lambda x: -jnp.floor(jnp.sum(x**2)), jnp.zeros(2))
    False
    """
    try:
        value, slope, _ = _compiled(logdensity_fn, position, data)
    except Exception:  # whatever a density's code raises when it is differentiated: it evaluates
        return False
    finite = np.isfinite(np.asarray(value))
    values, slopes = np.asarray(value)[finite], np.asarray(slope)[finite]
    return not (values.size and np.ptp(values) > 0 and np.all(slopes == 0))
