"""Which sources of the pool have points where the mass is, and whether replicates agree."""

import itertools
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..diffusion.kde import squared_distance
from ..montecarlo.resampling import comb
from ..montecarlo.weights import relative_weights, weight_ess
from ..types import Array

NUM_JUDGED = 512
"""Draws at which sources are compared, and from which cells are made."""
KERNEL_SCALE = 2.0
"""Standard deviation of the kernel around a pool's point, in widths of a mode."""
MIN_KERNEL_SHARE = 1e-3
"""A source has points near a draw if it has more than this share of the kernels there."""
NUM_CELLS = (2, 4, 8)
"""Numbers of cells by whose weights replicates are compared."""
MAX_SOURCES = 8
MIN_CELL_DIFFERENCE = 0.02
"""Smaller differences between two replicates' weights of a cell are ignored."""
MIN_REPLICATE_ESS = 25.0
"""Nothing is compared if a replicate has fewer effective draws."""


class Coverage(NamedTuple):
    """Shares of the mass where sources of the pool have no points; averaged over replicates."""

    missed_by_source: np.ndarray  # (num_sources,) share of the mass where a source has no points
    seen_by_one_source: float  # share of the mass where at most one source has points


@jax.jit
def _shares(u: Array, position: Array, log_weight: Array, source: Array) -> Array:
    """Share of each source in the kernels at each draw, shape (num_draws, MAX_SOURCES).

    The shares at a draw sum to one, so they mean the same in all dimensions.
    """
    is_there = jnp.isfinite(log_weight) & (source >= 0)

    def one(x: Array) -> Array:
        log_kernel = -0.5 * squared_distance(x, position, jnp.asarray(KERNEL_SCALE, x.dtype))
        return jax.nn.softmax(jnp.where(is_there, log_kernel, -jnp.inf))

    share = jax.lax.map(one, u, batch_size=64)
    return jax.ops.segment_sum(share.T, source, num_segments=MAX_SOURCES).T


def coverage(
    position: np.ndarray,
    weight: np.ndarray,
    pool_position: np.ndarray,
    pool_log_weight: np.ndarray,
    source: np.ndarray,
) -> Coverage:
    """Share of the mass that each source of a pool missed, and that only one source found.

    Sources are the searches that made the pool's points. If only one of them found a mode, there
    may be others that none of them found.

    Args:
        position: draws in the pool's coordinates, shape (num_draws, dim).
        weight: their normalised weights.
        pool_position: the pool's points, shape (num_points, dim).
        pool_log_weight: log weights of these points; points of weight zero are ignored.
        source: number of the source that made a point, negative for none, shape (num_points,).

    Returns:
        `Coverage`; with one source nothing is compared, and ``seen_by_one_source`` is 0.
    """
    num_sources = int(np.max(source)) + 1
    if num_sources < 2:
        return Coverage(np.zeros(1), 0.0)
    u = jnp.asarray(position[comb(weight, NUM_JUDGED)])
    share = np.asarray(_shares(u, pool_position, pool_log_weight, source))[:, :num_sources]
    is_near = share > MIN_KERNEL_SHARE
    return Coverage(1 - is_near.mean(axis=0), float(np.mean(is_near.sum(axis=1) <= 1)))


def _far_apart(points: np.ndarray, count: int) -> np.ndarray:
    """First centers: each drawn with probability ∝ its squared distance to those before."""
    rng = np.random.default_rng(0)
    centers = [points[rng.integers(len(points))]]
    for _ in range(count - 1):
        distance2 = np.min([np.sum((points - center) ** 2, axis=1) for center in centers], axis=0)
        total = np.sum(distance2)
        share = distance2 / total if total > 0 else None
        centers.append(points[rng.choice(len(points), p=share)])
    return np.stack(centers)


def cells(position: np.ndarray, weight: np.ndarray, num_cells: int) -> np.ndarray:
    """Divide draws into at most ``num_cells`` cells of comparable mass, by k-means.

    Cells are not modes: they are a partition by which replicates are compared.

    Args:
        position: draws, shape (num_draws, dim).
        weight: their normalised weights.
        num_cells: number of cells.

    Returns:
        Number of the cell of each draw.
    """
    from scipy.cluster.vq import kmeans2  # of scipy, which jax itself needs

    points = np.asarray(position, np.float64)[comb(weight, NUM_JUDGED)]
    scale = np.std(points, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cells that stay empty do no harm
        centers, _ = kmeans2(points / scale, _far_apart(points / scale, num_cells), minit="matrix")
    x = position / scale
    distance = np.stack([np.sum((x - center) ** 2, axis=1) for center in centers])
    return np.argmin(distance, axis=0)


def part_weights(
    is_in: np.ndarray, log_weight: np.ndarray, replicate: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the weight of each part of the draws from each replicate alone.

    Args:
        is_in: whether a draw belongs to a part, shape (num_draws, num_parts).
        log_weight: log weights of the draws, shape (num_draws,).
        replicate: number of the replicate of each draw, shape (num_draws,).

    Returns:
        Weights and their standard errors, each (num_replicates, num_parts); nan for a replicate
        without any weight.
    """
    w = relative_weights(log_weight)
    pooled = (w / np.sum(w)) @ is_in
    shares, errors = [], []
    for label in np.unique(replicate):
        is_own = replicate == label
        own = np.where(is_own, w, 0.0)
        if not np.any(own > 0):
            shares.append(np.full(pooled.shape, np.nan))
            errors.append(shares[-1])
            continue
        own = own / np.sum(own)
        shares.append(own @ is_in)
        plain = np.sqrt(own**2 @ (is_in - shares[-1][None, :]) ** 2)
        # a replicate without draws in a cell would estimate an error of zero there, so the error
        # is at least the binomial one of the pooled weight
        size = weight_ess(log_weight[is_own])
        errors.append(np.maximum(plain, np.sqrt(np.maximum(pooled * (1 - pooled), 0.0) / size)))
    return np.stack(shares), np.stack(errors)


class Disagreement(NamedTuple):
    """Where two replicates differ most about the weight of one part of the draws."""

    standard_errors: float
    weights: tuple[float, float]


def disagreement(
    position: np.ndarray, log_weight: np.ndarray, replicate: np.ndarray
) -> Disagreement:
    """Find the largest difference between two replicates' weights of a cell, in standard errors.

    Args:
        position: draws, shape (num_draws, dim).
        log_weight: log weights of the draws, shape (num_draws,).
        replicate: number of the replicate of each draw, shape (num_draws,).

    Returns:
        `Disagreement`. Differences up to `MIN_CELL_DIFFERENCE` are ignored, and nothing is
        compared if a replicate has fewer than `MIN_REPLICATE_ESS` effective draws.
    """
    w = relative_weights(log_weight)
    labels = np.unique(replicate)
    worst = Disagreement(0.0, (0.0, 0.0))
    sizes = [weight_ess(log_weight[replicate == label]) for label in labels]
    if min(sizes) < MIN_REPLICATE_ESS:
        return worst
    is_in = np.concatenate(
        [cells(position, w / np.sum(w), k)[:, None] == np.arange(k)[None, :] for k in NUM_CELLS],
        axis=1,
    )
    shares, errors = part_weights(is_in, log_weight, replicate)
    for (p, error), (q, other) in itertools.combinations(zip(shares, errors, strict=True), 2):
        gap = np.abs(p - q)
        distance = np.where(gap > MIN_CELL_DIFFERENCE, gap / np.hypot(error, other), 0.0)
        k = int(np.argmax(distance))
        if distance[k] > worst.standard_errors:
            worst = Disagreement(float(distance[k]), (float(p[k]), float(q[k])))
    return worst
