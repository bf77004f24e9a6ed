"""Absolute curvature of a log density at one point, and length scales where it has none.

Eigenvalues of the Hessian are taken by their absolute values, so that widths exist everywhere.
Where the second derivative vanishes (a density that decays like ``e^{-|x|}``), the gradient sets
the length scale, but never more than ``1 + |x|``.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..types import Array, LogDensityFn, PRNGKey

MAX_FULL_DIM = 128
"""Largest dimension with a full Hessian; above it random signs estimate the diagonal only."""
NUM_PROBES = 16
"""Vectors of random signs that estimate the diagonal."""
NEGLIGIBLE = 1e-10
"""Curvature over squared gradient that counts as none: that of a Gaussian at 1e5 deviations."""
LEAST = 1e-5
"""Smallest eigenvalue, once the coordinates have unit curvature: what single precision resolves."""
LONGEST = 1e8
"""Longest length scale that curvature may set, in units of ``1 + |x|``."""


class Curvature(NamedTuple):
    """``|H| = D V diag(values) Vᵀ D`` with ``D = diag(1/unit)``."""

    unit: Array  # (dim,)
    values: Array  # (dim,)
    vectors: Array | None  # (dim, dim); None: the identity
    is_flat: Array  # no coordinate has any curvature of its own


def products_per_point(dim: int) -> int:
    """Hessian products of one call of `curvature`; each costs about one gradient."""
    return dim if dim <= MAX_FULL_DIM else NUM_PROBES


def curvature(logdensity_fn: LogDensityFn, x: Array, slope: Array, rng_key: PRNGKey) -> Curvature:
    """Absolute curvature at ``x``.

    Args:
        logdensity_fn: guarded density on flat arrays.
        x: point, shape (dim,).
        slope: its gradient there.
        rng_key: for the random signs in many dimensions.

    Returns:
        `Curvature`.
    """
    gradient = jax.grad(logdensity_fn)
    dim = x.shape[0]

    def along(v: Array) -> Array:
        product = jax.grad(lambda y: jnp.vdot(gradient(y), v))(x)
        return jnp.where(jnp.isfinite(product), product, 0.0)

    if dim > MAX_FULL_DIM:
        signs = jax.random.rademacher(rng_key, (NUM_PROBES, dim), x.dtype)
        diagonal = jnp.abs(jnp.mean(signs * jax.vmap(along)(signs), axis=0))
        substitute = _substitute(diagonal, x, slope)
        unit = 1 / jnp.sqrt(diagonal + substitute)
        return Curvature(unit, jnp.ones_like(x), None, jnp.all(substitute > 0))
    hessian = jax.vmap(along)(jnp.eye(dim, dtype=x.dtype))
    hessian = 0.5 * (hessian + hessian.T)
    largest = jnp.max(jnp.abs(hessian), axis=0)
    substitute = _substitute(largest, x, slope)
    # equilibrated first: with coordinates of very different scale, rounding would hide the
    # eigenvalues of some
    unit = 1 / jnp.sqrt(largest + substitute)
    scaled = (hessian - jnp.diag(substitute)) * unit[:, None] * unit[None, :]
    values, vectors = jnp.linalg.eigh(scaled)
    return Curvature(unit, jnp.maximum(jnp.abs(values), LEAST), vectors, jnp.all(substitute > 0))


def _substitute(largest: Array, x: Array, slope: Array) -> Array:
    """Curvature for coordinates that have none of their own, zero for the others."""
    of_slope = slope**2
    of_size = 1 / (1 + jnp.abs(x)) ** 2
    has_slope = of_slope > of_size / LONGEST**2
    is_flat = largest < jnp.where(has_slope, NEGLIGIBLE * of_slope, of_size / LONGEST**2)
    return jnp.where(is_flat, jnp.maximum(of_slope, of_size), 0.0)


def deviations(at: Curvature) -> Array:
    """``√diag |H|^{-1}``, shape (dim,)."""
    if at.vectors is None:
        return at.unit / jnp.sqrt(at.values)
    return at.unit * jnp.sqrt(jnp.sum(at.vectors**2 / at.values[None, :], axis=1))


def factor(at: Curvature) -> Array:
    """``A`` of ``A Aᵀ = |H|^{-1}``, (dim, dim), or (dim,) where only the diagonal is known."""
    if at.vectors is None:
        return at.unit / jnp.sqrt(at.values)
    return at.unit[:, None] * at.vectors / jnp.sqrt(at.values)[None, :]


def half_log_det(at: Curvature) -> Array:
    """``½ log det |H|``."""
    return 0.5 * jnp.sum(jnp.log(at.values)) - jnp.sum(jnp.log(at.unit))


def squared_length(at: Curvature, offset: Array) -> Array:
    """``offsetᵀ |H| offset`` for each row of ``offset``, shape (num_points, dim)."""
    z = offset / at.unit[None, :]
    z = z if at.vectors is None else z @ at.vectors
    return jnp.sum(z**2 * at.values[None, :], axis=1)


MAX_SHAPES = 256
"""Covariances that are averaged, at most."""
LEAST_SHAPE = 1e-6
"""Smallest eigenvalue of a covariance whose coordinates are in units of their typical widths."""


def _function_of(symmetric: Array, fn: Callable[[Array], Array]) -> Array:
    values, vectors = jnp.linalg.eigh(symmetric)
    return (vectors * fn(values)[..., None, :]) @ jnp.swapaxes(vectors, -1, -2)


def average_factor(covariance: Array, width: Array) -> Array:
    """``A`` with ``A Aᵀ`` the average of the covariances, taken of their logarithms.

    Args:
        covariance: shape (num_shapes, dim, dim); a thinned set of `MAX_SHAPES` at most is taken.
        width: typical deviations, shape (dim,), the units in which it averages: with coordinates
            of very different scale, rounding would hide some.

    Returns:
        Shape (dim, dim).

    >>> one = jnp.array([[4.0, 1.0], [1.0, 1.0]])
    >>> a = average_factor(jnp.stack([one, one]), jnp.array([2.0, 1.0]))
    >>> bool(jnp.allclose(a @ a.T, one, atol=1e-5))
    True
    """
    thinned = covariance[:: -(-covariance.shape[0] // MAX_SHAPES)]
    scaled = thinned / (width[:, None] * width[None, :])[None]
    logs = _function_of(scaled, lambda values: jnp.log(jnp.maximum(values, LEAST_SHAPE)))
    return width[:, None] * _function_of(jnp.mean(logs, axis=0), lambda v: jnp.exp(0.5 * v))
