"""Sizes of a level-by-level method, and how a planner enlarges them.

Path divergence: what the noise of the estimates adds is measured at each level (`noise_kl`); the
rest (posteriors that are not Gaussian, the start, the finish) falls with more and wider levels and
more temperatures. The noise of level k is ``A_k/b_k`` for b_k batches; for a given sum the fewest
batches are ``b_k ∝ √A_k`` (Lagrange).
"""

from typing import NamedTuple

import numpy as np

from .compose import Method, levels, rdmc
from .estimators.repeated import repeated
from .grids import refined_grid

WIDENED = 1.0
"""Log-SNR by which both ends of the grid move out when its levels double."""
MAX_BATCHES = 1024


class LevelSizes(NamedTuple):
    """What a planner chooses."""

    times: tuple[float, ...]
    num_batches: tuple[int, ...]  # of each level, and of the finish
    finer: int  # factor of the finish's steps

    @property
    def num_levels(self) -> int:
        """Transitions between the times."""
        return len(self.times) - 1


def first_sizes(method: Method) -> LevelSizes:
    """Those of the method itself."""
    times = method.levels.times if method.levels.transition is not None else ()
    return LevelSizes(times, (1,) * max(len(times), 1), 1)


def sized(method: Method, sizes: LevelSizes) -> Method:
    """The method with other sizes."""
    start, middle, finish = method
    if sizes.finer > 1 and finish.finer is not None:
        finish = finish.finer(sizes.finer)
    if middle.transition is not None:
        estimator = middle.estimator
        if max(sizes.num_batches) > 1:
            estimator = repeated(estimator, sizes.num_batches)
        middle = levels(sizes.times, estimator, middle.transition, process=middle.process)
    return rdmc(start, middle, finish)


def allotted(cost: np.ndarray, allowed: float) -> tuple[int, ...]:
    """The fewest batches whose noise is allowed: ``b_k = √A_k Σ_j √A_j / allowed``, rounded up.

    Args:
        cost: noise A_k that one batch leaves at each level, shape (num_levels,).
        allowed: sum of A_k/b_k.

    Returns:
        Batches of each level, and as many for the finish as for the last one.

    >>> allotted(np.array([0.04, 0.01]), 0.03)
    (2, 1, 1)
    """
    root = np.sqrt(np.maximum(np.asarray(cost, np.float64), 0.0))
    wanted = np.ceil(root * np.sum(root) / max(allowed, 1e-12) - 1e-9)
    batches = np.clip(wanted, 1, MAX_BATCHES).astype(int).tolist()
    return (*batches, batches[-1])


def enlarged(
    method: Method, now: LevelSizes, noise: np.ndarray, quieter: int, longer: int
) -> LevelSizes:
    """Larger sizes.

    Args:
        method: the user's.
        now: sizes of the run that was measured.
        noise: its noise_kl at each level, shape (num_levels,).
        quieter: factor by which the sum of the noise should fall.
        longer: levels, and steps of the finish, for each one now.

    Returns:
        New sizes; none of them smaller than before but batches that measured too many.
    """
    finer = now.finer * longer if method.finish.finer is not None else now.finer
    if now.num_levels < 1:
        return now._replace(finer=finer)
    cost = noise * np.asarray(now.num_batches[:-1])
    times = now.times
    if longer > 1:
        times = refined_grid(times, method.levels.process, longer, WIDENED)
        # half the step has about half the noise for the same number of samples
        cost = np.repeat(cost, longer) / longer
    return LevelSizes(times, allotted(cost, float(np.sum(noise)) / quieter), finer)
