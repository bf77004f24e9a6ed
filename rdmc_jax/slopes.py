"""Whether a density has a gradient that means something."""

import functools
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


@functools.partial(jax.jit, static_argnames="logdensity_fn")
def _compiled_many(
    logdensity_fn: LogDensityFn, position: ArrayTree, data: Any
) -> tuple[Array, Array, Array]:
    return jax.lax.map(lambda one: _slopes(logdensity_fn, position, one), data)


def _is_flat(value: np.ndarray, slope: np.ndarray) -> bool:
    """Whether values differ where the gradient is zero at all points, for one data set."""
    is_finite = np.isfinite(value)
    values, slopes = value[is_finite], slope[is_finite]
    return bool(values.size and np.ptp(values) > 0 and np.all(slopes == 0))


def has_gradient(
    logdensity_fn: LogDensityFn, position: ArrayTree, data: Any = None, *, is_many: bool = False
) -> bool:
    """Whether JAX can differentiate a density twice, and does not find it flat.

    A density that calls other code has no derivative in JAX; one that is rounded, or looked up in a
    table, has one that is zero nearly everywhere.

    Args:
        logdensity_fn: ``logdensity_fn(position)`` or ``logdensity_fn(position, data)``, which can
            be evaluated.
        position: example position, of arrays.
        data: passed to the density if not None.
        is_many: whether the data are those of many densities, along a leading axis.

    Returns:
        False if tracing the derivatives raises, or the gradient is exactly zero at all of
        `NUM_POINTS` points around the position though the values there differ: for every one of
        the data sets, if there are many. One that has a gradient needs it, above all in many
        dimensions; steps along a gradient of zero are random walks, so those that have none are
        sampled too.

    >>> has_gradient(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
    True
    >>> has_gradient(lambda x: -jnp.floor(jnp.sum(x**2)), jnp.zeros(2))
    False
    """
    at = _compiled_many if is_many else _compiled
    try:
        at.trace(logdensity_fn, position, data)
    except Exception:  # whatever a density's code raises when it is differentiated: it evaluates
        return False
    # what goes wrong when it runs (memory, a callback) says nothing about gradients
    value, slope, _ = map(np.asarray, at(logdensity_fn, position, data))
    return not all(
        _is_flat(*one)
        for one in zip(value.reshape(-1, NUM_POINTS), slope.reshape(-1, NUM_POINTS), strict=True)
    )
