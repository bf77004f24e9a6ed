"""Distances between one-dimensional distribution functions."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rdmc_jax.metrics.clouds import (
    clouds,
    normalised,
    project,
    random_directions,
    sorted_distribution,
)


def kolmogorov_smirnov(
    x: ArrayLike,
    y: ArrayLike,
    *,
    directions: ArrayLike | None = None,
    x_log_weight: ArrayLike | None = None,
    y_log_weight: ArrayLike | None = None,
) -> jax.Array:
    r"""Largest two-sample Kolmogorov-Smirnov distance over directions.

    .. math:: \max_l \sup_s |F_x(s; \theta_l) - F_y(s; \theta_l)|

    An alarm for any one wrong marginal. It is insensitive to how far mass has moved and to tails;
    its floor grows with the number of directions, so compare equal sets of them only.

    Args:
        x: Draws, shape ``(num_samples, dim)``.
        y: Draws, shape ``(num_reference, dim)``.
        directions: Shape ``(num_directions, dim)``; the coordinate axes when omitted.
        x_log_weight: Unnormalised log weights, shape ``(num_samples,)``; equal when omitted.
        y_log_weight: The same for ``y``.

    Returns:
        A scalar between 0 and 1.

    Raises:
        ValueError: If the shapes do not fit.

    >>> import jax.numpy as jnp
    >>> from rdmc_jax import metrics
    >>> x = jnp.array([[0.0, 0.0], [1.0, 0.0]])
    >>> float(metrics.kolmogorov_smirnov(x, x + jnp.array([[0.5, 0.0]])))
    0.5
    """
    x, y, x_weight, y_weight = clouds(x, y, x_log_weight, y_log_weight)
    directions = jnp.eye(x.shape[1], dtype=x.dtype) if directions is None else directions
    return jnp.max(_along_directions(jnp.asarray(directions, x.dtype), x, y, x_weight, y_weight))


def sliced_kolmogorov_smirnov(
    rng_key: jax.Array,
    x: ArrayLike,
    y: ArrayLike,
    *,
    num_projections: int = 128,
    x_log_weight: ArrayLike | None = None,
    y_log_weight: ArrayLike | None = None,
) -> jax.Array:
    r"""Mean two-sample Kolmogorov-Smirnov distance along random directions.

    .. math:: \frac1L \sum_{l=1}^L \sup_s |F_x(s; \theta_l) - F_y(s; \theta_l)|,
        \quad \theta_l \sim U(S^{d-1})

    The average hides one wrong marginal of many: use `kolmogorov_smirnov` as an alarm.

    Args:
        rng_key: Key of the directions.
        x: Draws, shape ``(num_samples, dim)``.
        y: Draws, shape ``(num_reference, dim)``.
        num_projections: Number of directions L.
        x_log_weight: Unnormalised log weights, shape ``(num_samples,)``; equal when omitted.
        y_log_weight: The same for ``y``.

    Returns:
        A scalar between 0 and 1.

    Raises:
        ValueError: If the shapes do not fit.

    >>> import jax, jax.numpy as jnp
    >>> from rdmc_jax import metrics
    >>> x = jnp.zeros((2, 1))
    >>> float(metrics.sliced_kolmogorov_smirnov(jax.random.key(0), x, x + 1.0))
    1.0

    Reference: Grenioux, Noble, Gabrié, Durmus (2024), arXiv 2402.10758, section 5.
    """
    x, y, x_weight, y_weight = clouds(x, y, x_log_weight, y_log_weight)
    directions = random_directions(rng_key, num_projections, x.shape[1]).astype(x.dtype)
    return jnp.mean(_along_directions(directions, x, y, x_weight, y_weight))


@jax.jit
def _along_directions(
    directions: jax.Array, x: jax.Array, y: jax.Array, x_weight: jax.Array, y_weight: jax.Array
) -> jax.Array:
    def distance(direction: jax.Array) -> jax.Array:
        x_value, x_level = sorted_distribution(project(x, direction), x_weight)
        y_value, y_level = sorted_distribution(project(y, direction), y_weight)
        value = jnp.concatenate([x_value, y_value])
        return jnp.max(
            jnp.abs(_evaluate(x_value, x_level, value) - _evaluate(y_value, y_level, value))
        )

    return jax.lax.map(distance, directions, batch_size=16)


def kolmogorov_smirnov_exact(
    x: ArrayLike,
    distribution_fn: Callable[[jax.Array], jax.Array],
    *,
    log_weight: ArrayLike | None = None,
) -> jax.Array:
    r"""Kolmogorov-Smirnov distance of scalar draws to a known continuous distribution.

    .. math:: \sup_s |\hat F(s) - F(s)|

    Args:
        x: Scalar draws, shape ``(num_samples,)``: project first.
        distribution_fn: F, applied to the whole array; increasing and continuous. Where F jumps
            the result is too large.
        log_weight: Unnormalised log weights, shape ``(num_samples,)``; equal when omitted.

    Returns:
        A scalar between 0 and 1.

    >>> import jax.numpy as jnp
    >>> from rdmc_jax import metrics
    >>> float(metrics.kolmogorov_smirnov_exact(jnp.array([0.25, 0.75]), lambda s: s))
    0.25
    """
    x = jnp.asarray(x)
    weight = normalised("log_weight", log_weight, x.shape[0], x.dtype)
    value, level = sorted_distribution(x, weight)
    truth = distribution_fn(value)
    below = jnp.concatenate([jnp.zeros(1, level.dtype), level[:-1]])
    return jnp.maximum(jnp.max(jnp.abs(truth - level)), jnp.max(jnp.abs(truth - below)))


def _evaluate(value: jax.Array, level: jax.Array, at: jax.Array) -> jax.Array:
    """Evaluate a step distribution function, continuous from the right."""
    return jnp.append(jnp.zeros(1, level.dtype), level)[jnp.searchsorted(value, at, side="right")]
