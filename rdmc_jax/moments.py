"""Weighted moments in log space that merge, so that batches can be added until they suffice."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .types import Array


class WeightedSums(NamedTuple):
    """Sufficient statistics of weighted points; `merge` of two equals those of all points.

    Means and variances are kept instead of raw sums: raw second sums cancel in single precision
    when the points lie far from the origin.
    """

    log_weight_sum: Array  # ()      log Σ w
    log_square_sum: Array  # ()      log Σ w²
    mean: Array  # (dim,)            under w
    variance: Array  # (dim,)        under w
    square_mean: Array  # (dim,)     under w²
    square_variance: Array  # (dim,) under w²
    num_samples: Array  # ()


def _weighted(positions: Array, log_weight: Array) -> tuple[Array, Array, Array]:
    log_sum = jax.nn.logsumexp(log_weight)
    # all weights zero: fall back to equal ones, so that moments stay finite; the ess says 0
    share = jnp.where(
        jnp.isfinite(log_sum), jnp.exp(log_weight - log_sum), 1 / log_weight.shape[0]
    )[:, None]
    mean = jnp.sum(share * positions, axis=0)
    return log_sum, mean, jnp.sum(share * (positions - mean[None, :]) ** 2, axis=0)


def deviation_of(points: Array) -> Array:
    """Standard deviation of each coordinate, exactly zero for equal points.

    Differences to the first point are taken before anything else: the mean of equal numbers is
    not exactly that number, and rounding is no spread.

    Args:
        points: shape (num_points, dim).

    Returns:
        Shape (dim,).

    >>> float(deviation_of(jnp.full((256, 1), 300.1))[0])
    0.0
    """
    return jnp.std(points - points[:1], axis=0)


def from_samples(positions: Array, log_weight: Array) -> WeightedSums:
    """Statistics of weighted points.

    Args:
        positions: shape (num_samples, dim).
        log_weight: shape (num_samples,); -inf is a weight of zero.

    Returns:
        `WeightedSums`.

    >>> sums = from_samples(jnp.array([[0.0], [2.0]]), jnp.zeros(2))
    >>> float(sums.mean[0]), float(sums.variance[0]), float(ess(sums))
    (1.0, 1.0, 2.0)
    """
    log_weight_sum, mean, variance = _weighted(positions, log_weight)
    log_square_sum, square_mean, square_variance = _weighted(positions, 2 * log_weight)
    num_samples = jnp.asarray(positions.shape[0])
    return WeightedSums(
        log_weight_sum, log_square_sum, mean, variance, square_mean, square_variance, num_samples
    )


def _mix(
    log_a: Array,
    mean_a: Array,
    variance_a: Array,
    log_b: Array,
    mean_b: Array,
    variance_b: Array,
    share_without_weight: Array,
) -> tuple[Array, Array, Array]:
    log_sum = jnp.logaddexp(log_a, log_b)
    share = jnp.where(jnp.isfinite(log_sum), jnp.exp(log_b - log_sum), share_without_weight)
    shift = mean_b - mean_a
    mean = mean_a + share * shift
    variance = (1 - share) * variance_a + share * variance_b + share * (1 - share) * shift**2
    return log_sum, mean, variance


def merge(a: WeightedSums, b: WeightedSums) -> WeightedSums:
    """Statistics of the union of two sets of weighted points; associative and commutative.

    Reference: Chan, Golub, LeVeque (1983), The American Statistician 37, Eq. (2.1).
    """
    share = b.num_samples / (a.num_samples + b.num_samples)
    log_sum, mean, variance = _mix(
        a.log_weight_sum, a.mean, a.variance, b.log_weight_sum, b.mean, b.variance, share
    )
    log_square, square_mean, square_variance = _mix(
        a.log_square_sum,
        a.square_mean,
        a.square_variance,
        b.log_square_sum,
        b.square_mean,
        b.square_variance,
        share,
    )
    return WeightedSums(
        log_sum,
        log_square,
        mean,
        variance,
        square_mean,
        square_variance,
        a.num_samples + b.num_samples,
    )


def ess(sums: WeightedSums) -> Array:
    """Effective sample size ``(Σw)²/Σw²``; 0 when every weight is zero."""
    return jnp.where(
        jnp.isfinite(sums.log_weight_sum),
        jnp.exp(2 * sums.log_weight_sum - sums.log_square_sum),
        0.0,
    )


def standard_error(sums: WeightedSums) -> Array:
    """Standard error of the self-normalised mean, ``√Σw²(y - m)² / Σw`` (delta method).

    Returns:
        Shape (dim,).

    Reference: Owen (2013), Monte Carlo theory, methods and examples, Chapter 9.
    """
    spread = sums.square_variance + (sums.square_mean - sums.mean) ** 2
    return jnp.sqrt(spread / jnp.maximum(ess(sums), 1))
