"""Wasserstein distances, sliced and exact."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rdmc_jax.metrics.clouds import clouds, project, random_directions, sorted_distribution


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
    values of one ``rng_key`` only: the directions are random. A shift by s reads ``s / sqrt(dim)``,
    so do not compare across dimensions.

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


def wasserstein(
    x: ArrayLike,
    y: ArrayLike,
    *,
    x_log_weight: ArrayLike | None = None,
    y_log_weight: ArrayLike | None = None,
) -> float:
    r"""Exact 2-Wasserstein distance of two clouds by the network simplex, on the host.

    .. math:: W_2 = \Big(\min_\gamma \sum_{ij} \gamma_{ij} \|x_i - y_j\|^2\Big)^{1/2}

    Its floor falls only like ``num_samples^(-1/dim)`` and its cost grows like the cube of
    num_samples: above a few thousand draws use `sliced_wasserstein`.

    Args:
        x: Draws, shape ``(num_samples, dim)``.
        y: Draws, shape ``(num_reference, dim)``.
        x_log_weight: Unnormalised log weights, shape ``(num_samples,)``; equal when omitted.
        y_log_weight: The same for ``y``.

    Returns:
        A float in the unit of ``x``.

    Raises:
        ImportError: If POT is not installed.
        ValueError: If the shapes do not fit.

    >>> import jax.numpy as jnp
    >>> from rdmc_jax import metrics
    >>> metrics.wasserstein(jnp.zeros((2, 2)), jnp.tile(jnp.array([3.0, 4.0]), (3, 1)))
    5.0

    Reference: Flamary et al. (2021), "POT: Python optimal transport".
    """
    try:
        import ot
    except ImportError as error:
        raise ImportError(
            "wasserstein needs the package POT: pip install 'rdmc_jax[bench]'. "
            "sliced_wasserstein needs nothing."
        ) from error
    x, y, x_weight, y_weight = clouds(x, y, x_log_weight, y_log_weight)
    x_host, y_host, x_mass, y_mass = (np.asarray(a, float) for a in (x, y, x_weight, y_weight))
    # The simplex wants the two totals equal to the last digit.
    x_mass, y_mass = x_mass / x_mass.sum(), y_mass / y_mass.sum()
    cost = ot.dist(x_host, y_host, metric="sqeuclidean")
    return float(np.sqrt(max(ot.emd2(x_mass, y_mass, cost, numItermax=10_000_000), 0.0)))
