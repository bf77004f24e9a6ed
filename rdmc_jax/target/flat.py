"""The user's density as a function of one flat array: PyTrees, coordinates, guarded values."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ..types import Array, ArrayTree, LogDensityFn
from .programs import compiled


@jax.custom_vjp
def _finite_cotangent(x: Array) -> Array:
    return x


def _finite_cotangent_fwd(x: Array) -> tuple[Array, None]:
    return x, None


def _finite_cotangent_bwd(_: None, cotangent: Array) -> tuple[Array]:
    return (jnp.where(jnp.isfinite(cotangent), cotangent, 0),)


_finite_cotangent.defvjp(_finite_cotangent_fwd, _finite_cotangent_bwd)


def guarded(logdensity_fn: LogDensityFn) -> LogDensityFn:
    """Count nan and +inf as zero density (-inf), and non-finite gradients as zero.

    Every density that enters a sampler passes through here once, so one bad point can neither
    spread nan nor look like infinite mass. Kernels count the -inf values they meet.

    >>> f = guarded(lambda x: jnp.log(x).sum())
    >>> value, gradient = jax.value_and_grad(f)(jnp.array([-1.0]))
    >>> float(value), abs(float(gradient[0]))
    (-inf, 0.0)
    """

    def fn(position: Array) -> Array:
        value = logdensity_fn(_finite_cotangent(position))
        return jnp.where(jnp.isnan(value) | (value == jnp.inf), -jnp.inf, value)

    return fn


class Flat(NamedTuple):
    """A density on flat arrays."""

    logdensity_fn: LogDensityFn  # (dim,) -> (), non-finite values guarded
    position: Array  # (dim,) the example position
    unravel: Callable[[Array], ArrayTree]  # (dim,) -> PyTree


def _leaf_name(path: Any) -> str:
    return jax.tree_util.keystr(path) or "position"


def _shapes(position: ArrayTree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(position)
    return {_leaf_name(path): jnp.shape(leaf) for path, leaf in leaves}


def check_position(position: ArrayTree) -> None:
    """Static checks of the example position.

    Raises:
        ValueError: if it has no numbers in it.
        TypeError: if a leaf is not a real floating-point number or array.

    >>> check_position({"mu": 1})
    Traceback (most recent call last):
    TypeError: position leaf ['mu'] has dtype int32, but must be a real floating-point ...
    """
    leaves = jax.tree_util.tree_leaves_with_path(position)
    for path, leaf in leaves:
        if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float | complex):
            raise TypeError(
                f"position leaf {_leaf_name(path)} is {leaf!r} of type {type(leaf).__name__}, "
                "but must be a float array or scalar."
            )
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"position leaf {_leaf_name(path)} has dtype {dtype}, but must be a real "
                "floating-point number or array. Write 0.0 instead of 0; discrete parameters "
                "must be summed out of the density."
            )
        if jnp.finfo(dtype).bits < 32:
            raise TypeError(
                f"position leaf {_leaf_name(path)} has dtype {dtype}, too coarse for log "
                "densities. Pass float32 or float64."
            )
    if dimension(position) == 0:
        raise ValueError(
            f"position holds no numbers: got {position!r}. Pass one example point, a PyTree of "
            "float arrays or scalars, such as jnp.zeros(3) or {'mu': 0.0, 'log_sigma': 0.0}."
        )


def dimension(position: ArrayTree) -> int:
    """Number of coordinates of a position."""
    return int(sum(jnp.size(leaf) for leaf in jax.tree.leaves(position)))


def _call(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any) -> Any:
    return logdensity_fn(position) if data is None else logdensity_fn(position, data)


def checked_value(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any = None) -> Array:
    """The density at the example position, after the static checks of both.

    Args:
        logdensity_fn: ``logdensity_fn(position)`` or ``logdensity_fn(position, data)``.
        position: example point.
        data: passed to the density if not None.

    Returns:
        The unguarded value, a scalar.

    Raises:
        TypeError: if the position or the density's value has a wrong type or shape.
        ValueError: if the position holds no numbers.
    """
    check_position(position)
    value = _call(logdensity_fn, jax.tree.map(jnp.asarray, position), data)
    leaves = jax.tree.leaves(value)
    shapes = [jnp.shape(leaf) for leaf in leaves]
    if shapes != [()] or value is not leaves[0]:
        got = f"shape {shapes[0]}" if len(shapes) == 1 else f"a tree with shapes {shapes}"
        raise TypeError(
            f"logdensity_fn must return a scalar for one position, but returned {got} for "
            f"leaves {_shapes(position)}. Pass the density of a single point (rdmc_jax applies "
            "vmap itself); if the axis is data, sum over it."
        )
    if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise TypeError(
            "logdensity_fn must return a real floating-point number, but returned dtype "
            f"{jnp.result_type(value)}."
        )
    return jnp.asarray(value)


value_at = compiled(checked_value)
"""`checked_value`, compiled once for all checks of one density."""


def bind(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any = None) -> Flat:
    """The density as a guarded function of one flat array; checks nothing (see `flatten`)."""
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, position))

    def fn(x: Array) -> Array:
        return jnp.asarray(_call(logdensity_fn, unravel(x), data)).astype(x.dtype)

    return Flat(guarded(fn), flat, unravel)


def flatten(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any = None) -> Flat:
    """The density as a guarded function of one flat array, after the checks of `checked_value`.

    Args:
        logdensity_fn: ``logdensity_fn(position)`` or ``logdensity_fn(position, data)``.
        position: example point.
        data: passed to the density if not None.

    Returns:
        `Flat`.

    Raises:
        TypeError: if the position or the density's value has a wrong type or shape.
        ValueError: if the position holds no numbers.

    >>> flat = flatten(lambda p: -0.5 * (p["a"] ** 2 + jnp.sum(p["b"] ** 2)),
    ...                {"a": jnp.zeros(()), "b": jnp.ones(2)})
    >>> float(flat.logdensity_fn(flat.position))
    -1.0
    """
    check_position(position)
    jax.eval_shape(lambda p: checked_value(logdensity_fn, p, data), position)
    return bind(logdensity_fn, position, data)


def ravel_ensemble(position: ArrayTree) -> Array:
    """PyTree with a leading particle axis to an array (num_particles, dim)."""
    return jax.vmap(lambda one: ravel_pytree(one)[0])(position)


EXACT = jax.lax.Precision.HIGHEST
"""Precision of matrix products with positions: accelerators would round these to a few digits."""


def log_det(scale: Array) -> Array:
    """``log |det scale|`` of a diagonal (dim,) or a matrix (dim, dim)."""
    return jnp.sum(jnp.log(scale)) if scale.ndim == 1 else jnp.linalg.slogdet(scale)[1]


@jax.jit
def from_standard(location: Array, scale: Array, u: Array) -> Array:
    """``x = location + scale u`` for each row of ``u``; ``scale`` is a diagonal or a matrix."""
    spread = u * scale[None, :] if scale.ndim == 1 else jnp.matmul(u, scale.T, precision=EXACT)
    return location[None, :] + spread


@jax.jit
def to_standard(location: Array, scale: Array, x: Array) -> Array:
    """``u = scale^{-1} (x - location)`` for each row of ``x``: the inverse of `from_standard`."""
    offset = x - location[None, :]
    if scale.ndim == 1:
        return offset / scale[None, :]
    # rows of one size first: else the coordinates' units choose the pivots, and digits are lost
    unit = jnp.max(jnp.abs(scale), axis=1)
    return jnp.linalg.solve(scale / unit[:, None], (offset / unit[None, :]).T).T


@jax.jit
def factors_to_standard(scale: Array, factor: Array) -> Array:
    """``scale^{-1} A`` for each of the factors of covariances ``A Aᵀ``.

    Args:
        scale: shape (dim,) or (dim, dim).
        factor: shape (num, dim, dim), or deviations (num, dim) where ``scale`` is a diagonal.

    Returns:
        Of the shape of ``factor``.
    """
    if factor.ndim == 2:
        return factor / scale[None, :]
    columns = jnp.swapaxes(factor, 1, 2)
    dim = factor.shape[-1]
    moved = to_standard(jnp.zeros(dim, factor.dtype), scale, columns.reshape(-1, dim))
    return jnp.swapaxes(moved.reshape(factor.shape), 1, 2)


@jax.jit
def factors_from_standard(scale: Array, factor: Array) -> Array:
    """``scale A``: the inverse of `factors_to_standard`."""
    if scale.ndim == 1:
        return factor * (scale[None, :] if factor.ndim == 2 else scale[None, :, None])
    return jnp.matmul(scale[None], factor, precision=EXACT)


def standardised(logdensity_fn: LogDensityFn, location: Array, scale: Array) -> LogDensityFn:
    """The density of u, ``x = location + scale u``: ``log π(x) + log |det scale|``.

    It includes the Jacobian, so normalising constants are the same as in the user's coordinates.

    Args:
        logdensity_fn: density on flat arrays.
        location: shape (dim,).
        scale: shape (dim,), or a matrix (dim, dim).

    Returns:
        Density on flat arrays.

    >>> f = standardised(lambda x: jnp.sum(x), jnp.zeros(2), jnp.array([1.0, 2.0]))
    >>> float(f(jnp.zeros(2))) == float(jnp.log(2.0))
    True
    """
    constant = log_det(scale)
    if scale.ndim == 1:
        return lambda u: logdensity_fn(location + scale * u) + constant
    return lambda u: logdensity_fn(location + jnp.matmul(scale, u, precision=EXACT)) + constant
