"""Maximum mean discrepancy."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rdmc_jax.metrics.clouds import clouds

# Rows of a kernel matrix that exist at one time.
ROWS = 64


def mmd_squared(
    x: ArrayLike,
    y: ArrayLike,
    *,
    x_log_weight: ArrayLike | None = None,
    y_log_weight: ArrayLike | None = None,
) -> jax.Array:
    r"""Squared maximum mean discrepancy, the V-statistic, of a ten-width Gaussian kernel.

    .. math:: \sum_{ij} u_i u_j k(x_i, x_j) - 2 \sum_{ij} u_i w_j k(x_i, y_j)
        + \sum_{ij} w_i w_j k(y_i, y_j), \quad
        k(x, y) = \sum_{l=-2}^{7} \exp(-\tfrac12 \|x - y\|^2 / 2^l)

    The kernel has fixed widths from 1/2 to 11: it is blind to clouds that lie closer or farther
    apart than that, so do not use it where the scale of the target is another. The diagonal is
    included: the value is never negative and its mean is above zero for equal laws.

    Args:
        x: Draws, shape ``(num_samples, dim)``.
        y: Draws, shape ``(num_reference, dim)``.
        x_log_weight: Unnormalised log weights, shape ``(num_samples,)``; equal when omitted.
        y_log_weight: The same for ``y``.

    Returns:
        A scalar between 0 and 20.

    Raises:
        ValueError: If the shapes do not fit.

    >>> import jax.numpy as jnp
    >>> from rdmc_jax import metrics
    >>> x = jnp.zeros((1, 2))
    >>> round(float(metrics.mmd_squared(x, x + 1e3)), 3), float(metrics.mmd_squared(x, x))
    (20.0, 0.0)

    Reference: Gretton et al. (2012), "A kernel two-sample test", equation 5; kernel of He, Rojas,
    Tao (2024), arXiv 2402.17886.
    """
    x, y, x_weight, y_weight = clouds(x, y, x_log_weight, y_log_weight)
    return _mmd_squared(x, y, x_weight, y_weight)


@jax.jit
def _mmd_squared(x: jax.Array, y: jax.Array, x_weight: jax.Array, y_weight: jax.Array) -> jax.Array:
    def mean_kernel(
        a: jax.Array, a_weight: jax.Array, b: jax.Array, b_weight: jax.Array
    ) -> jax.Array:
        def row(point: jax.Array) -> jax.Array:
            squared = jnp.sum((b - point[None, :]) ** 2, axis=1)
            kernel = sum(jnp.exp(-0.5 * squared / 2.0**level) for level in range(-2, 8))
            return jnp.sum(b_weight * kernel)

        return jnp.sum(a_weight * jax.lax.map(row, a, batch_size=ROWS))

    within_x = mean_kernel(x, x_weight, x, x_weight)
    within_y = mean_kernel(y, y_weight, y, y_weight)
    return within_x + within_y - 2.0 * mean_kernel(x, x_weight, y, y_weight)
