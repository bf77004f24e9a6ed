"""How curved a log density is: at which points to look, and power iteration on Hessian products.

Within modes a mixture may be concave; what is not lies between them. So the points are draws, and
the deepest points of the segments that join them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..types import Array, LogDensityFn, PRNGKey

NUM_ITERATIONS = 32
"""The error of the eigenvalues is about ``log(dim)/NUM_ITERATIONS`` of the largest, or less."""


class Spectrum(NamedTuple):
    """Ends of the spectrum of ``-∇² log π`` at each point."""

    largest: Array  # (num_points,) absolute value; from below
    lowest: Array  # (num_points,) with its sign; from above


NUM_COARSE, NUM_FINE = 33, 17
"""Points of a segment that are compared: along all of it, then around the lowest."""


def valleys(logdensity_fn: LogDensityFn, begin: Array, end: Array) -> Array:
    """The point of lowest positive density on each segment; an end of it if it has no valley.

    Args:
        logdensity_fn: guarded density on flat arrays.
        begin: shape (num_points, dim).
        end: likewise.

    Returns:
        Points, shape (num_points, dim).

    >>> def density(x):  # modes at -4 and 4
    ...     return jnp.logaddexp(-0.5 * jnp.sum((x - 4) ** 2), -0.5 * jnp.sum((x + 4) ** 2))
    >>> found = valleys(density, jnp.array([[-4.0], [4.0]]), jnp.array([[4.0], [5.0]]))
    >>> found.round(1).tolist()
    [[0.0], [5.0]]
    """

    def one(a: Array, b: Array) -> Array:
        def lowest(fractions: Array) -> Array:
            value = jax.vmap(lambda f: logdensity_fn(a + f * (b - a)))(fractions)
            return fractions[jnp.argmin(jnp.where(jnp.isfinite(value), value, jnp.inf))]

        coarse = lowest(jnp.linspace(0.0, 1.0, NUM_COARSE, dtype=a.dtype))
        near = coarse + jnp.linspace(-1.0, 1.0, NUM_FINE, dtype=a.dtype) / (NUM_COARSE - 1)
        return a + lowest(jnp.clip(near, 0.0, 1.0)) * (b - a)

    return jax.vmap(one)(begin, end)


def products_of_spectrum(num_iterations: int = NUM_ITERATIONS) -> int:
    """Hessian products that `spectrum` takes for each point; each counts as a gradient."""
    return 2 * (num_iterations + 1)


def spectrum(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    points: Array,
    *,
    num_iterations: int = NUM_ITERATIONS,
) -> Spectrum:
    """Largest absolute and lowest eigenvalue of the negative Hessian at each point.

    ``v ← H v/‖H v‖`` converges to the eigenspace of the largest absolute value, of either sign, and
    ``‖H v‖`` to it from below; the same with ``ρ I + ∇² log π`` for a ρ above it converges to the
    lowest eigenvector.

    Args:
        rng_key: for the first vectors.
        logdensity_fn: guarded density on flat arrays, twice differentiable.
        points: shape (num_points, dim).
        num_iterations: products for each of both.

    Returns:
        `Spectrum`; products that are not finite count as zero.

    Not a bound: between and beyond the points the density may be more curved.

    >>> def saddle(x):  # eigenvalues of the negative Hessian: -3 and 1
    ...     return 1.5 * x[0] ** 2 - 0.5 * x[1] ** 2
    >>> found = spectrum(jax.random.key(0), saddle, jnp.zeros((1, 2)))
    >>> round(float(found.largest[0]), 3), round(float(found.lowest[0]), 3)
    (3.0, -3.0)
    """
    gradient = jax.grad(logdensity_fn)
    dim, dtype = points.shape[1], points.dtype
    tiny = jnp.finfo(dtype).tiny

    def one(x: Array, key: PRNGKey) -> Spectrum:
        def along(v: Array) -> Array:
            # in reverse mode twice, for densities with a derivative of their own have no other
            product = -jax.grad(lambda y: jnp.vdot(gradient(y), v))(x)
            return jnp.where(jnp.isfinite(product), product, 0.0)

        def unit(v: Array) -> Array:
            # by the largest element first: squares may overflow
            v = v / jnp.maximum(jnp.max(jnp.abs(v)), tiny)
            return v / jnp.maximum(jnp.linalg.norm(v), tiny)

        def size(v: Array) -> Array:
            top = jnp.maximum(jnp.max(jnp.abs(v)), tiny)
            return top * jnp.linalg.norm(v / top)

        first = unit(jax.random.normal(key, (dim,), dtype))
        v = jax.lax.fori_loop(0, num_iterations, lambda _, v: unit(along(v)), first)
        largest = size(along(v))
        # above the largest, which has been met from below
        shift = 1.1 * largest
        v = jax.lax.fori_loop(0, num_iterations, lambda _, v: unit(shift * v - along(v)), first)
        return Spectrum(largest, jnp.vdot(v, along(v)))

    return jax.vmap(one)(points, jax.random.split(rng_key, points.shape[0]))
