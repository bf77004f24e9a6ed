"""Judge log weights: log Z and its error, bounds with confidence limits, and the tail index.

The bounds are about the law of one *unweighted* draw (of a replicate chosen at random), given its
pool. The particles' weights are ratios on the space of whole paths. By data processing,
``½ E|w/Z - 1|`` therefore bounds the total variation between this law and the target. No bound here
is about weighted draws: these are consistent, and their error falls with their number.

Both bounds are plug-in estimates, in which Ẑ stands for Z. To first order the plug-in changes the
error and not the mean: with ``tv = E(1 - w/Z)₊`` the influence of one draw is
``(1 - w/Z)₊ - tv + q (w/Z - 1)``, ``q = E[(w/Z) 1(w < Z)]``, and for the Kullback-Leibler bound it
is ``(w/Z - 1) - (log w - E log w)``. What is left is a bias of the order of one over the number of
draws.
"""

from typing import NamedTuple

import numpy as np


def log_mean_exp(log_weight: np.ndarray) -> float:
    """``log mean exp``, in double precision; -inf where all weights are zero.

    >>> round(log_mean_exp(np.log(np.array([1.0, 3.0]))), 6)  # log 2
    0.693147
    """
    log_weight = np.asarray(log_weight, np.float64)
    top = np.max(log_weight)
    if not np.isfinite(top):
        return float(top)
    return float(top + np.log(np.mean(np.exp(log_weight - top))))


def has_weight(log_weight: np.ndarray) -> bool:
    """Whether any draw has a weight that is not zero."""
    return bool(np.any(np.asarray(log_weight) > -np.inf))


def relative_weights(log_weight: np.ndarray) -> np.ndarray:
    """Weights over their mean, ``w/Ẑ``; all equal where all are zero."""
    log_weight = np.asarray(log_weight, np.float64)
    log_z = log_mean_exp(log_weight)
    if not np.isfinite(log_z):
        return np.ones_like(log_weight)
    return np.exp(log_weight - log_z)


def weight_ess(log_weight: np.ndarray) -> float:
    """Effective sample size ``(Σw)²/Σw²``; 0 where all weights are zero.

    >>> float(weight_ess(np.log(np.array([1.0, 1.0, 1e-30]))))
    2.0
    """
    if not has_weight(log_weight):
        return 0.0
    w = relative_weights(log_weight)
    return float(np.sum(w) ** 2 / np.sum(w**2))


def log_normalizer_error(log_weight: np.ndarray, replicate: np.ndarray) -> float:
    """One standard error of log Ẑ: the larger of two estimates.

    The first is from the replicates, ``sd(Ẑ_r)/(Ẑ √R)``: right whatever the particles share, but
    with R - 1 degrees of freedom only. The second takes the weights as independent,
    ``sd(w)/(Ẑ √n)``. Few replicates can agree by luck; the second then keeps the error from being
    too small.

    Args:
        log_weight: shape (num_samples,).
        replicate: shape (num_samples,).

    Returns:
        The error; nan if there is one draw only, or no weight at all.
    """
    w = relative_weights(log_weight)
    if w.size < 2 or not has_weight(log_weight):
        return float("nan")
    within = float(np.std(w, ddof=1) / np.sqrt(w.size))
    labels = np.unique(replicate)
    if labels.size < 2:
        return within
    means = np.array([np.mean(w[replicate == label]) for label in labels])
    between = float(np.std(means, ddof=1) / np.sqrt(labels.size))
    return max(within, between)


def tv_bound(log_weight: np.ndarray) -> float:
    """``½ mean|w/Ẑ - 1|``: bounds the total variation of the law of the unweighted draws.

    It is an estimate from what the particles saw: a mode that none of them met makes both Ẑ and
    the bound too small. Unlike `kl_bound` it is finite where some weights are zero. It is 1 where
    all are, because then nothing is known.
    """
    if not has_weight(log_weight):
        return 1.0
    return float(0.5 * np.mean(np.abs(relative_weights(log_weight) - 1)))


def kl_bound(log_weight: np.ndarray) -> float:
    """``log Ẑ - mean log w ≥ KL(law of the unweighted draws ‖ target)``, by data processing.

    Infinite as soon as one draw has weight zero; the same caveat as for `tv_bound`.
    """
    log_weight = np.asarray(log_weight, np.float64)
    if np.any(log_weight == -np.inf):
        return float("inf")
    return float(log_mean_exp(log_weight) - np.mean(log_weight))


class Tail(NamedTuple):
    """Generalised Pareto law of the excess over a threshold, fitted to the largest weights."""

    k: float  # shape: nan where there are too few draws, -inf where the weights have no tail
    scale: float
    threshold: float  # in units of the mean weight
    size: int  # number of weights above it


def pareto_tail(log_weight: np.ndarray) -> Tail:
    """Generalised Pareto law fitted to the largest weights over their mean.

    Args:
        log_weight: shape (num_samples,).

    Returns:
        `Tail`; its scale is nan where there is nothing to fit.

    Reference: Zhang and Stephens (2009), Technometrics 51, Section 3; with the prior of
    Vehtari et al. (2024), arXiv 1507.02646.
    """
    w = np.sort(relative_weights(log_weight))
    if w.size < 25:
        return Tail(float("nan"), float("nan"), float("nan"), 0)
    tail = min(int(np.ceil(3 * np.sqrt(w.size))), w.size // 5)
    threshold = w[-tail - 1]
    excess = w[-tail:] - threshold
    if excess[-1] <= 1e-12 * w[-1] or excess[0] < 0:
        # no tail at all: weights are equal
        return Tail(float("-inf"), float("nan"), float(threshold), tail)
    excess = np.maximum(excess, 1e-12 * excess[-1])
    num_grid = 30 + int(np.sqrt(tail))
    quartile = excess[int(tail / 4 + 0.5) - 1]
    grid = 1 / excess[-1] + (1 - np.sqrt(num_grid / (np.arange(1, num_grid + 1) - 0.5))) / (
        3 * quartile
    )
    shape = np.mean(np.log1p(-grid[:, None] * excess), axis=1)
    likelihood = tail * (np.log(-grid / shape) - shape - 1)
    weight = 1 / np.sum(np.exp(np.clip(likelihood - likelihood[:, None], -700, 700)), axis=1)
    best = np.sum(grid * weight) / np.sum(weight)
    k = np.mean(np.log1p(-best * excess))
    return Tail(float((tail * k + 5) / (tail + 10)), float(-k / best), float(threshold), tail)


def pareto_k(log_weight: np.ndarray) -> float:
    """Shape of a generalised Pareto law fitted to the largest weights; see `pareto_tail`.

    Below 0.5 the weights have finite variance; above 0.7 estimates with them are unreliable.

    Args:
        log_weight: shape (num_samples,).

    Returns:
        k, or nan with fewer than 25 draws.
    """
    return pareto_tail(log_weight).k


LEVEL = 0.95
"""Confidence of the upper limits."""


class Limit(NamedTuple):
    """Estimate of a bound, its standard error, and its upper limit at the stated confidence."""

    estimate: float
    standard_error: float
    upper: float


def t_quantile(num_replicates: int, level: float) -> float:
    """Quantile of Student's t with one degree of freedom fewer than replicates.

    >>> round(t_quantile(4, 0.95), 3)
    2.353
    """
    from scipy.special import stdtrit  # here: half the time of an import; jax needs scipy too

    return float(stdtrit(num_replicates - 1, level))


def tv_limit(log_weight: np.ndarray, replicate: np.ndarray, level: float = LEVEL) -> Limit:
    """One-sided upper confidence limit of `tv_bound`; see `limit` for its two errors.

    Args:
        log_weight: shape (num_samples,).
        replicate: shape (num_samples,).
        level: confidence.

    Returns:
        `Limit`, its upper end at most 1, and 1 without any weight.
    """
    if not has_weight(log_weight):
        return Limit(1.0, float("inf"), 1.0)
    w = relative_weights(log_weight)
    below = np.maximum(1 - w, 0.0)
    q = np.mean(np.where(w < 1, w, 0.0))
    influence = below + q * w
    found = limit(tv_bound(log_weight), influence, replicate, level)
    return found._replace(upper=min(found.upper, 1.0))


def kl_limit(log_weight: np.ndarray, replicate: np.ndarray, level: float = LEVEL) -> Limit:
    """One-sided upper confidence limit of `kl_bound`; infinite where that is.

    It is too low where rare draws with almost no weight make most of the divergence: those that a
    run did not meet are not in its scatter. `tv_limit` counts them by their share, and decides.
    """
    value = kl_bound(log_weight)
    if not np.isfinite(value):
        return Limit(value, float("inf"), float("inf"))
    influence = relative_weights(log_weight) - np.asarray(log_weight, np.float64)
    return limit(value, influence, replicate, level)


def limit(
    estimate: float, influence: np.ndarray, replicate: np.ndarray, level: float = LEVEL
) -> Limit:
    """Upper confidence limit ``estimate + max(z · within, t · between)``.

    The scatter of the draws within replicates (normal quantile, many degrees of freedom) is the
    error for the pools of this run, or more: given the pools, draws are independent but for step
    sizes that they share and places that are spread evenly over the pool. The scatter between
    replicates (t quantile, one degree of freedom fewer than replicates) also covers pools that
    might have been made. Few replicates can agree by luck, and the scatter within them does not
    show how pools differ. The larger of both is taken, which can only be too wide.

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
