"""Upper confidence limits of the bounds, and the interval of log Z.

Which law a bound is about: given its pool, a draw has some law, and the particles' weights are
ratios on the space of whole paths, so ``½ E|w/Z - 1|`` bounds the total variation between the law
of one *unweighted* draw (of a replicate chosen at random) and the target, by data processing.
Weighted draws are consistent: their error falls with their number, and no bound here is theirs.

Both bounds are plug-in estimates, in which Ẑ stands for Z. To first order the plug-in changes the
error and not the mean: with ``tv = E(1 - w/Z)₊`` the influence of one draw is
``(1 - w/Z)₊ - tv + q (w/Z - 1)``, ``q = E[(w/Z) 1(w < Z)]``, and for the Kullback-Leibler bound it
is ``(w/Z - 1) - (log w - E log w)``. What is left is a bias of one over the number of draws.
"""

from typing import NamedTuple

import numpy as np

from .diagnostics import has_weight, kl_bound, relative_weights, tv_bound

LEVEL = 0.95


class Limit(NamedTuple):
    """A bound's estimate and what it is below with the stated confidence."""

    estimate: float
    standard_error: float
    upper: float


def t_quantile(num_replicates: int, level: float) -> float:
    """Quantile of Student's t with one degree of freedom fewer than replicates.

    >>> round(t_quantile(4, 0.95), 3)
    2.353
    """
    from scipy.special import stdtrit  # of scipy, which jax needs too; half the time of an import

    return float(stdtrit(num_replicates - 1, level))


def tv_limit(
    log_weight: np.ndarray,
    replicate: np.ndarray,
    level: float = LEVEL,
    pair: np.ndarray | None = None,
) -> Limit:
    """One-sided upper confidence limit of `tv_bound`; see `limit` for its two errors.

    Args:
        log_weight: shape (num_samples,).
        replicate: shape (num_samples,).
        level: confidence.
        pair: number of the pair that each draw belongs to, two of each, shape (num_samples,):
            draws of a pair are not independent. None where all are.

    Returns:
        `Limit`, its upper end at most 1, and 1 without any weight.
    """
    if not has_weight(log_weight):
        return Limit(1.0, float("inf"), 1.0)
    w = relative_weights(log_weight)
    below = np.maximum(1 - w, 0.0)
    q = np.mean(np.where(w < 1, w, 0.0))
    influence = below + q * w
    if pair is not None:
        _, first, numbers = np.unique(pair, return_index=True, return_inverse=True)
        influence, replicate = np.bincount(numbers, influence) / 2, replicate[first]
    found = limit(tv_bound(log_weight), influence, replicate, level)
    return found._replace(upper=min(found.upper, 1.0))


def kl_limit(log_weight: np.ndarray, replicate: np.ndarray, level: float = LEVEL) -> Limit:
    """One-sided upper confidence limit of `kl_bound`; infinite where that is.

    Too low where rare draws of nearly no weight make most of the divergence: those that a run did
    not meet are not in its scatter. `tv_limit` counts them by their share, and decides.
    """
    value = kl_bound(log_weight)
    if not np.isfinite(value):
        return Limit(value, float("inf"), float("inf"))
    influence = relative_weights(log_weight) - np.asarray(log_weight, np.float64)
    return limit(value, influence, replicate, level)


def limit(
    estimate: float, influence: np.ndarray, replicate: np.ndarray, level: float = LEVEL
) -> Limit:
    """``estimate + max(z · within, t · between)``.

    Given the pools, draws are independent but for step sizes that they share and places that are
    spread evenly over the pool, so the scatter of the draws within replicates (normal quantile,
    many degrees of freedom) is the error about the pools of this run, or more. The scatter
    between replicates (t quantile, one degree fewer than there are) is also about pools that
    might have been made. Few replicates agree by luck, and many draws do not know of pools: the
    larger of both is taken, which can only be too wide.

    Args:
        estimate: the plug-in value.
        influence: of each draw on it, up to a constant, shape (num_samples,).
        replicate: shape (num_samples,).
        level: confidence.

    Returns:
        `Limit`; infinite for one draw.
    """
    from scipy.special import ndtri

    if influence.size < 2:
        return Limit(estimate, float("inf"), float("inf"))
    labels, numbers = np.unique(replicate, return_inverse=True)
    counts = np.bincount(numbers)
    means = np.bincount(numbers, influence) / counts
    freedom = max(influence.size - labels.size, 1)
    within = float(np.sqrt(np.sum((influence - means[numbers]) ** 2) / freedom / influence.size))
    error, above = within, float(ndtri(level)) * within
    if labels.size > 1:
        between = float(np.std(means, ddof=1) / np.sqrt(labels.size))
        error = max(within, between)
        above = max(above, t_quantile(labels.size, level) * between)
    return Limit(estimate, error, estimate + above)
