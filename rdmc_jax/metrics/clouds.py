"""Checks and pieces that the distances share: weights, sorted projections, directions."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def random_directions(rng_key: jax.Array, num_directions: int, dim: int) -> jax.Array:
    """Draw directions uniformly from the unit sphere.

    Args:
        rng_key: Key.
        num_directions: How many.
        dim: Dimension.

    Returns:
        Unit vectors, shape ``(num_directions, dim)``.

    >>> import jax
    >>> from rdmc_jax import metrics
    >>> metrics.random_directions(jax.random.key(0), 5, 3).shape
    (5, 3)
    """
    noise = jax.random.normal(rng_key, (num_directions, dim))
    return noise / jnp.linalg.norm(noise, axis=1, keepdims=True)


def project(x: jax.Array, direction: jax.Array) -> jax.Array:
    """Project every row; accelerators round plain products to less than single precision."""
    return jnp.matmul(x, direction, precision="highest")


def sorted_distribution(value: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sort scalar draws and return the distribution function just after each of them."""
    order = jnp.argsort(value)
    level = jnp.cumsum(weight[order])
    return value[order], level / level[-1]


def normalised(
    name: str, log_weight: ArrayLike | None, num_samples: int, dtype: jnp.dtype
) -> jax.Array:
    """Return weights that sum to one, or say which array has the wrong shape."""
    if log_weight is None:
        return jnp.full(num_samples, 1.0 / num_samples, dtype)
    log_weight = jnp.asarray(log_weight)
    if log_weight.shape != (num_samples,):
        raise ValueError(
            f"{name} must have one entry per draw, shape ({num_samples},), but got "
            f"{log_weight.shape}."
        )
    return jax.nn.softmax(log_weight).astype(dtype)


def clouds(
    x: ArrayLike, y: ArrayLike, x_log_weight: ArrayLike | None, y_log_weight: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Check the shapes, bring both clouds to one dtype and normalise the weights."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            "x and y must have shapes (num_samples, dim) and (num_reference, dim), but got "
            f"{x.shape} and {y.shape}. Flatten each draw to one row first."
        )
    dtype = jnp.result_type(x, y, float)
    x, y = x.astype(dtype), y.astype(dtype)
    x_weight = normalised("x_log_weight", x_log_weight, x.shape[0], dtype)
    y_weight = normalised("y_log_weight", y_log_weight, y.shape[0], dtype)
    return x, y, x_weight, y_weight
