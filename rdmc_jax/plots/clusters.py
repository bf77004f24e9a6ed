"""Clusters of draws: the cells of finding R112, merged where no valley lies between them."""

import itertools

import numpy as np

from ..draws.coverage import NUM_CELLS, cells
from ..montecarlo.weights import relative_weights, weight_ess

NUM_BINS = 12
"""Bins along the line between two cells."""
MAX_VALLEY_SHARE = 0.5
"""Height of a valley over the lower of the hills beside it, at most."""
MIN_STANDARD_ERRORS = 3.0
"""Difference of hill and valley in its standard errors, at least."""


def find_clusters(position: np.ndarray, log_weight: np.ndarray) -> np.ndarray:
    """Number the clusters that weighted draws fall into, the heaviest first.

    K-means makes at most eight cells of comparable mass. Two cells are merged unless the draws,
    projected on the line between the cells' centers, have a significant valley there.

    Clusters are for pictures: narrow modes beside wide ones and more than eight modes are merged,
    and curved ones may be cut. If modes are known, count them by a function of the position.

    Args:
        position: draws, shape (num_draws, dim).
        log_weight: shape (num_draws,).

    Returns:
        Number of the cluster of each draw, shape (num_draws,).

    >>> x = np.random.default_rng(0).normal(size=(600, 1)) + 9.0 * (np.arange(600) % 3 > 0)[:, None]
    >>> find_clusters(x, np.zeros(600))[:4].tolist()
    [1, 0, 0, 1]
    """
    weight = relative_weights(log_weight)
    weight = weight / np.sum(weight)
    cell = cells(position, weight, max(NUM_CELLS))
    spread = np.std(position, axis=0, dtype=np.float64)
    x = position / np.where(spread > 0, spread, 1.0)
    size = weight_ess(log_weight)
    merged = {int(k): int(k) for k in np.unique(cell)}
    for a, b in itertools.combinations(list(merged), 2):
        is_pair = (cell == a) | (cell == b)
        if not _has_valley(x[is_pair], size * weight[is_pair], cell[is_pair] == b):
            old, new = merged[b], merged[a]
            merged = {k: new if one == old else one for k, one in merged.items()}
    label = np.array([merged[int(k)] for k in cell])
    names = np.unique(label)
    order = np.argsort([-np.sum(weight[label == name]) for name in names], kind="stable")
    rank = np.argsort(order)
    return rank[np.searchsorted(names, label)]


def _has_valley(x: np.ndarray, count: np.ndarray, is_second: np.ndarray) -> bool:
    """Whether fewer draws are somewhere between the centers of two cells than on both sides."""
    totals = np.sum(count[~is_second]), np.sum(count[is_second])
    if min(totals) <= 0:
        return False
    first = count[~is_second] @ x[~is_second] / totals[0]
    line = count[is_second] @ x[is_second] / totals[1] - first
    along = (x - first) @ line / max(float(line @ line), 1e-300)
    # smoothed over neighbouring bins: the histogram's own noise is no valley
    counts = np.histogram(along, NUM_BINS, (-0.25, 1.25), weights=count)[0]
    counts = np.convolve(counts, [0.25, 0.5, 0.25], "same")
    hill = np.minimum(np.maximum.accumulate(counts), np.maximum.accumulate(counts[::-1])[::-1])
    drop = hill - counts
    is_deep = (counts < MAX_VALLEY_SHARE * hill) & (
        drop > MIN_STANDARD_ERRORS * np.sqrt(hill + counts)
    )
    return bool(np.any(is_deep))


def checked_clusters(clusters: object, position: np.ndarray, log_weight: np.ndarray) -> np.ndarray:
    """Check the given labels, or find them if None; labels count from 0.

    Raises:
        ValueError: if there is not one whole number for each draw.
    """
    if clusters is None:
        return find_clusters(position, log_weight)
    label = np.asarray(clusters)
    if label.shape != log_weight.shape or not np.issubdtype(label.dtype, np.integer):
        raise ValueError(
            f"clusters must be one whole number for each draw, shape {log_weight.shape}, but got "
            f"shape {label.shape} and dtype {label.dtype}. Pass "
            "jax.vmap(mode_fn)(draws.position), or None to have them found."
        )
    return np.unique(label, return_inverse=True)[1]
