"""Checks of the user's arguments, shared by all functions that sample."""

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..types import Array, ArrayTree, LogDensityFn, PRNGKey
from .flat import bind, check_position, checked_value, value_at
from .programs import compiled


def shown(numbers: np.ndarray) -> str:
    """The first ten numbers, separated by commas.

    >>> shown(np.arange(12))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...'
    """
    return ", ".join(map(str, numbers[:10])) + (", ..." if numbers.size > 10 else "")


def typed_key(rng_key: PRNGKey) -> PRNGKey:
    """A typed key; raw uint32 keys are accepted.

    Raises:
        TypeError: if it is neither, for instance a bare seed.
    """
    if isinstance(rng_key, jax.Array) and jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key):
        if rng_key.shape == ():
            return rng_key
    elif hasattr(rng_key, "dtype") and rng_key.dtype == jnp.uint32 and rng_key.ndim == 1:
        return jax.random.wrap_key_data(jnp.asarray(rng_key))
    raise TypeError(
        f"rng_key must be one key, but got {rng_key!r}. Make one with jax.random.key(0)."
    )


def as_count(num_samples: int) -> int:
    """The number of draws as a Python int.

    Raises:
        TypeError: if it is not a whole number.
    """
    try:
        return operator.index(num_samples)
    except TypeError:
        raise TypeError(
            f"num_samples must be a whole number of draws, but got {num_samples!r}."
        ) from None


def checked_example(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any) -> ArrayTree:
    """The example position as arrays, after all checks of it and of the density there.

    The density is called under jit, so that a second run with the same function traces nothing.

    Args:
        logdensity_fn: the user's density.
        position: example position.
        data: passed to the density if not None.

    Returns:
        The position, each leaf an array.

    Raises:
        TypeError: for leaves or a density of a wrong type or shape.
        ValueError: for an empty position, or values that are not numbers.
    """
    position = _checked_leaves(logdensity_fn, position)
    _check_values(np.asarray(value_at(logdensity_fn, position, data)), position)
    return position


@compiled
def _values_at(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any) -> Array:
    return jax.lax.map(lambda one: checked_value(logdensity_fn, position, one), data)


def checked_many(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any) -> ArrayTree:
    """`checked_example` for many densities, whose data lie along a leading axis; errors name them.

    Args:
        logdensity_fn: the user's density.
        position: example position.
        data: of all densities.

    Returns:
        The position, each leaf an array.

    Raises:
        TypeError: as `checked_example`.
        ValueError: as `checked_example`.
    """
    position = _checked_leaves(logdensity_fn, position)
    _check_values(np.asarray(_values_at(logdensity_fn, position, data)), position)
    return position


def _checked_leaves(logdensity_fn: LogDensityFn, position: ArrayTree) -> ArrayTree:
    check_position(position)
    try:
        hash(logdensity_fn)
    except TypeError:
        raise TypeError(
            f"logdensity_fn must be hashable, because it identifies its compiled program, but "
            f"{type(logdensity_fn).__name__} is not. Pass a function, or a frozen dataclass."
        ) from None
    # explicit dtypes: a Python float is weakly typed, and that would be another program
    position = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), position)
    for path, leaf in jax.tree_util.tree_leaves_with_path(position):
        bad = np.asarray(leaf)[~np.isfinite(np.asarray(leaf))]
        if bad.size:
            raise ValueError(
                f"position leaf {jax.tree_util.keystr(path) or 'position'} holds {bad.flat[0]}: "
                "the example position must be finite. Zeros will do if nothing is known."
            )
    return position


def _check_values(values: np.ndarray, position: ArrayTree) -> None:
    flat = np.atleast_1d(values)
    bad = np.flatnonzero(np.isnan(flat) | (flat == np.inf))
    if bad.size:
        which = f" for {shown(bad)} of {flat.size} data sets" if values.ndim else ""
        raise ValueError(
            f"logdensity_fn returned {flat[bad[0]]} at the example position {position!r}{which}. "
            "It must be a number, or -inf for zero density: check it there, or pass another "
            "position."
        )


class Target(NamedTuple):
    """The checked arguments: example position, known points, and whether there is a gradient."""

    position: ArrayTree
    known: ArrayTree | None
    has_gradient: bool


def checked_target(
    logdensity_fn: LogDensityFn, position: ArrayTree, data: Any, known_positions: ArrayTree | None
) -> Target:
    """Example position and known points after all checks, and whether there is a gradient.

    Raises:
        TypeError: as `checked_example`.
        ValueError: as `checked_example` and `checked_known`.
    """
    position = checked_example(logdensity_fn, position, data)
    known = checked_known(known_positions, position)
    where = position if known is None else jax.tree.map(lambda leaf: leaf[0], known)
    return Target(position, known, has_gradient(logdensity_fn, where, data))


def checked_known(known: ArrayTree | None, position: ArrayTree) -> ArrayTree | None:
    """Points that the user knows, of the position's types.

    Raises:
        ValueError: for another structure, unequal lengths, or values that are not finite.
    """
    if known is None:
        return None
    shapes = jax.tree.map(lambda leaf: jnp.shape(leaf)[1:], known)
    wanted = jax.tree.map(jnp.shape, position)
    counts = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(known)}
    if shapes != wanted or len(counts) != 1 or counts == {0}:
        got = jax.tree.map(jnp.shape, known)
        raise ValueError(
            f"known_positions must be like position with one leading axis: expected leaves "
            f"(num_known, ...) over {wanted}, but got {got}."
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(known):
        if not np.all(np.isfinite(np.asarray(leaf))):
            raise ValueError(
                f"known_positions leaf {jax.tree_util.keystr(path) or 'known_positions'} holds nan "
                "or infinite values: all points must be finite. Leave the others out."
            )
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), known, position)


NUM_POINTS = 64
"""Points around the position at which the gradient is evaluated."""


def _slopes(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any) -> tuple[Array, Array]:
    """Value and size of the gradient at points around the position."""
    flat = bind(logdensity_fn, position, data)
    dim, dtype = flat.position.shape[0], flat.position.dtype
    octave = jnp.linspace(-8.0, 4.0, NUM_POINTS, dtype=dtype)
    noise = jax.random.normal(jax.random.key(0), (NUM_POINTS, dim), dtype)
    offsets = 2.0 ** octave[:, None] * (1 + jnp.abs(flat.position))[None, :] * noise
    value, slope = jax.vmap(jax.value_and_grad(flat.logdensity_fn))(flat.position[None] + offsets)
    return value, jnp.max(jnp.abs(slope), axis=1)


@compiled
def _hessian_product(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any) -> Array:
    """What the pilot measures curvature by; it is traced only, as compiling it takes a second."""
    flat = bind(logdensity_fn, position, data)
    gradient = jax.grad(flat.logdensity_fn)
    return jax.vmap(jax.grad(lambda x: jnp.sum(gradient(x))))(flat.position[None])


_slopes_at = compiled(_slopes)


@compiled
def _slopes_of_many(
    logdensity_fn: LogDensityFn, position: ArrayTree, data: Any
) -> tuple[Array, Array]:
    return jax.lax.map(lambda one: _slopes(logdensity_fn, position, one), data)


def _is_flat(value: np.ndarray, slope: np.ndarray) -> bool:
    """Whether the values of one data set differ though the gradient is zero at all points."""
    is_finite = np.isfinite(value)
    values, slopes = value[is_finite], slope[is_finite]
    return bool(values.size and np.ptp(values) > 0 and np.all(slopes == 0))


def has_gradient(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any = None) -> bool:
    """Whether JAX can differentiate a density twice, and does not find it flat.

    A density that calls other code has no derivative in JAX. The derivative of a density that is
    rounded, or looked up in a table, is zero nearly everywhere.

    Args:
        logdensity_fn: ``logdensity_fn(position)`` or ``logdensity_fn(position, data)``, which can
            be evaluated.
        position: example position, of arrays.
        data: passed to the density if not None.

    Returns:
        False if tracing the derivatives raises, or the gradient is exactly zero at all of
        `NUM_POINTS` points around the position though the values there differ.

    >>> has_gradient(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
    True
    >>> has_gradient(lambda x: -jnp.floor(jnp.sum(x**2)), jnp.zeros(2))
    False
    """
    return _any_slope(_slopes_at, logdensity_fn, position, data, data)


def any_has_gradient(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any) -> bool:
    """`has_gradient` for many densities, whose data lie along a leading axis.

    If one density has a gradient, all are sampled with gradients. A density that has one needs it,
    above all in many dimensions. Those that have none are sampled too, because steps along a
    gradient of zero are random walks.

    Args:
        logdensity_fn: ``logdensity_fn(position, data)``.
        position: example position, of arrays.
        data: of all densities.

    Returns:
        Whether any of them has a gradient.
    """
    first = jax.tree.map(lambda leaf: leaf[0], data)
    return _any_slope(_slopes_of_many, logdensity_fn, position, data, first)


def _any_slope(
    at: compiled[..., tuple[Array, Array]],
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    one_data: Any,
) -> bool:
    try:
        at.trace(logdensity_fn, position, data)
        _hessian_product.trace(logdensity_fn, position, one_data)
    except Exception:  # the density evaluates, so what is raised comes from its derivatives
        return False
    # what goes wrong when it runs (memory, a callback) says nothing about gradients
    value, slope = map(np.asarray, at(logdensity_fn, position, data))
    return not all(
        _is_flat(*one)
        for one in zip(value.reshape(-1, NUM_POINTS), slope.reshape(-1, NUM_POINTS), strict=True)
    )
