"""Absolute curvature of a log density at one point, where it has any, and lengths where not.

Eigenvalues of the Hessian are taken by their absolute values, so that steps go uphill everywhere.
Coordinates in which the density has no curvature borrow a length: the gradient's where that is all
there is (a density that decays like ``e^{-|x|}``), but no more than the size of the position.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..types import Array, LogDensityFn, PRNGKey

MAX_NEWTON_DIM = 128
"""Above this dimension only the Hessian's diagonal is estimated, by random signs."""
NUM_PROBES = 16
NEGLIGIBLE = 1e-10
"""Curvature over squared gradient below which there is none: 1e5 deviations from a Gaussian."""
LEAST = 1e-5
"""Smallest eigenvalue, once the coordinates have unit curvature: what single precision resolves."""
LONGEST = 1e8
"""Longest length that curvature may mean, in units of ``1 + |x|``."""


class Curvature(NamedTuple):
    """``|H| = D V diag(values) Vᵀ D`` with ``D = diag(1/unit)``."""

    unit: Array  # (dim,)
    values: Array  # (dim,)
    vectors: Array | None  # (dim, dim); None: the identity
    is_flat: Array  # no coordinate has any curvature of its own


def products_per_point(dim: int) -> int:
    """Hessian products of one call of `curvature`; each costs about one gradient."""
    return dim if dim <= MAX_NEWTON_DIM else NUM_PROBES


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

    if dim > MAX_NEWTON_DIM:
        signs = jax.random.rademacher(rng_key, (NUM_PROBES, dim), x.dtype)
        diagonal = jnp.abs(jnp.mean(signs * jax.vmap(along)(signs), axis=0))
        borrowed = _borrowed(diagonal, x, slope)
        unit = 1 / jnp.sqrt(diagonal + borrowed)
        return Curvature(unit, jnp.ones_like(x), None, jnp.all(borrowed > 0))
    hessian = jax.vmap(along)(jnp.eye(dim, dtype=x.dtype))
    hessian = 0.5 * (hessian + hessian.T)
    largest = jnp.max(jnp.abs(hessian), axis=0)
    borrowed = _borrowed(largest, x, slope)
    # equilibrated first: coordinates of very different scale would drown each other's
    # eigenvalues in rounding
    unit = 1 / jnp.sqrt(largest + borrowed)
    scaled = (hessian - jnp.diag(borrowed)) * unit[:, None] * unit[None, :]
    values, vectors = jnp.linalg.eigh(scaled)
    return Curvature(unit, jnp.maximum(jnp.abs(values), LEAST), vectors, jnp.all(borrowed > 0))


def _borrowed(largest: Array, x: Array, slope: Array) -> Array:
    """Curvature for coordinates that have none of their own, zero for the others."""
    of_slope = slope**2
    of_size = 1 / (1 + jnp.abs(x)) ** 2
    has_slope = of_slope > of_size / LONGEST**2
    is_flat = largest < jnp.where(has_slope, NEGLIGIBLE * of_slope, of_size / LONGEST**2)
    return jnp.where(is_flat, jnp.maximum(of_slope, of_size), 0.0)


def newton_step(at: Curvature, slope: Array) -> Array:
    """``|H|^{-1} slope``."""
    scaled = at.unit * slope
    if at.vectors is None:
        return at.unit * scaled / at.values
    return at.unit * (at.vectors @ ((at.vectors.T @ scaled) / at.values))


def deviations(at: Curvature) -> Array:
    """``√diag |H|^{-1}``, shape (dim,)."""
    if at.vectors is None:
        return at.unit / jnp.sqrt(at.values)
    return at.unit * jnp.sqrt(jnp.sum(at.vectors**2 / at.values[None, :], axis=1))


def covariance(at: Curvature) -> Array | None:
    """``|H|^{-1}``, shape (dim, dim); None where only the diagonal is known."""
    if at.vectors is None:
        return None
    root = at.unit[:, None] * at.vectors / jnp.sqrt(at.values)[None, :]
    return root @ root.T


def half_log_det(at: Curvature) -> Array:
    """``½ log det |H|``."""
    return 0.5 * jnp.sum(jnp.log(at.values)) - jnp.sum(jnp.log(at.unit))


def squared_length(at: Curvature, offset: Array) -> Array:
    """``offsetᵀ |H| offset`` for each row of ``offset``, shape (num_points, dim)."""
    z = offset / at.unit[None, :]
    z = z if at.vectors is None else z @ at.vectors
    return jnp.sum(z**2 * at.values[None, :], axis=1)


MAX_SHAPES = 256
LEAST_SHAPE = 1e-6
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
    logs = _function_of(scaled, lambda values: jnp.log(jnp.maximum(values, LEAST_SHAPE)))
    return width[:, None] * _function_of(jnp.mean(logs, axis=0), lambda v: jnp.exp(0.5 * v))
