"""Distances between weighted clouds of draws, and errors of mode weights.

Finitely many exact draws have a positive distance, too (the floor): print the distance between two
sets of exact draws beside each value.
"""

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

    It detects a single wrong marginal. It is insensitive to how far mass has moved and to tails.
    Its floor grows with the number of directions, so compare equal sets of them only.

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

    The average hides one wrong marginal among many: `kolmogorov_smirnov` detects it.

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


def _evaluate(value: jax.Array, level: jax.Array, at: jax.Array) -> jax.Array:
    """Evaluate a step distribution function, continuous from the right."""
    return jnp.append(jnp.zeros(1, level.dtype), level)[jnp.searchsorted(value, at, side="right")]


def sliced_wasserstein(
    rng_key: jax.Array,
    x: ArrayLike,
    y: ArrayLike,
    *,
    num_projections: int = 128,
    x_log_weight: ArrayLike | None = None,
    y_log_weight: ArrayLike | None = None,
) -> jax.Array:
    r"""Sliced 2-Wasserstein distance along random directions.

    .. math:: \Big(\frac1L \sum_{l=1}^L W_2^2(\theta_l^\top x, \theta_l^\top y)\Big)^{1/2},
        \quad \theta_l \sim U(S^{d-1})

    Each one-dimensional distance is exact, also for weights and unequal numbers of draws. Compare
    values of one ``rng_key`` only: the directions are random. A shift by s has the distance
    ``s / sqrt(dim)``, so do not compare across dimensions.

    Args:
        rng_key: Key of the directions.
        x: Draws, shape ``(num_samples, dim)``.
        y: Draws, shape ``(num_reference, dim)``.
        num_projections: Number of directions L.
        x_log_weight: Unnormalised log weights, shape ``(num_samples,)``; equal when omitted.
        y_log_weight: The same for ``y``.

    Returns:
        A scalar in the unit of ``x``.

    Raises:
        ValueError: If the shapes do not fit.

    >>> import jax, jax.numpy as jnp
    >>> from rdmc_jax import metrics
    >>> x = jnp.arange(3.0)[:, None]
    >>> round(float(metrics.sliced_wasserstein(jax.random.key(0), x, x + 2.0)), 4)
    2.0

    Reference: Bonneel, Rabin, Peyré, Pfister (2015), "Sliced and Radon Wasserstein barycenters of
    measures", definition 4.
    """
    x, y, x_weight, y_weight = clouds(x, y, x_log_weight, y_log_weight)
    directions = random_directions(rng_key, num_projections, x.shape[1]).astype(x.dtype)
    return _sliced_wasserstein(directions, x, y, x_weight, y_weight)


@jax.jit
def _sliced_wasserstein(
    directions: jax.Array, x: jax.Array, y: jax.Array, x_weight: jax.Array, y_weight: jax.Array
) -> jax.Array:
    def squared_distance(direction: jax.Array) -> jax.Array:
        x_value, x_level = sorted_distribution(project(x, direction), x_weight)
        y_value, y_level = sorted_distribution(project(y, direction), y_weight)
        # Between two neighbouring levels both quantile functions are constant.
        level = jnp.sort(jnp.concatenate([jnp.zeros(1, x_level.dtype), x_level, y_level]))
        middle = 0.5 * (level[1:] + level[:-1])
        x_quantile = x_value[jnp.minimum(jnp.searchsorted(x_level, middle), len(x_level) - 1)]
        y_quantile = y_value[jnp.minimum(jnp.searchsorted(y_level, middle), len(y_level) - 1)]
        return jnp.sum(jnp.diff(level) * (x_quantile - y_quantile) ** 2)

    return jnp.sqrt(jnp.mean(jax.lax.map(squared_distance, directions, batch_size=16)))


ROWS = 64
"""Rows of a kernel matrix that exist at one time."""


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


def mode_weight_error(
    modes: ArrayLike, mode_weights: ArrayLike, *, log_weight: ArrayLike | None = None
) -> jax.Array:
    r"""Absolute total variation between the estimated and the true mode weights.

    .. math:: \tfrac12 \sum_k |\hat w_k - w_k|

    It says nothing about the shape within a mode, and with fewer draws than modes it is near one
    even for exact draws.

    Args:
        modes: Mode of every draw, integers in ``0..num_modes-1``, shape ``(num_samples,)``. Draws
            with any other number count as lost.
        mode_weights: Exact weights, shape ``(num_modes,)``.
        log_weight: Unnormalised log weights, shape ``(num_samples,)``; equal when omitted.

    Returns:
        A scalar between 0 and 1.

    >>> import jax.numpy as jnp
    >>> from rdmc_jax import metrics
    >>> float(metrics.mode_weight_error(jnp.array([0, 0, 0, 1]), jnp.array([0.5, 0.5])))
    0.25
    """
    modes, truth = jnp.asarray(modes), jnp.asarray(mode_weights)
    weight = normalised("log_weight", log_weight, modes.shape[0], truth.dtype)
    known = (modes >= 0) & (modes < truth.shape[0])
    slot = jnp.where(known, modes, truth.shape[0])
    estimate = jnp.zeros(truth.shape[0] + 1, truth.dtype).at[slot].add(weight)
    return 0.5 * (jnp.sum(jnp.abs(estimate[:-1] - truth)) + estimate[-1])
