"""Sizes of a level-by-level method, and how a planner enlarges them.

Path divergence: what the noise of the estimates adds is measured at each level (`noise_kl`); the
rest falls with shorter levels between further ends and more temperatures (posteriors that are not
Gaussian, the start, the finish), or with more chains at once (errors that chains carry from level
to level, modes that they cannot change, which longer chains do not mend). The noise of level k is
``A_k/b_k`` for b_k batches; for a given sum the fewest batches are ``b_k ∝ √A_k`` (Lagrange).
"""

from typing import NamedTuple

import numpy as np

from .compose import Method, levels, rdmc
from .estimators.repeated import repeated
from .grids import refined_grid

WIDENED = 0.5
"""Log-SNR by which both ends of the grid move out when its levels double."""
MAX_BATCHES = 1024


class LevelSizes(NamedTuple):
    """What a planner chooses."""

    times: tuple[float, ...]
    num_batches: tuple[int, ...]  # of each level, and of the finish
    wider: int  # factor of the inner samples of one batch
    finer: int  # factor of the finish's steps

    @property
    def num_levels(self) -> int:
        """Transitions between the times."""
        return max(len(self.times) - 1, 0)


def first_sizes(method: Method) -> LevelSizes:
    """Those of the method itself."""
    times = method.levels.times if method.levels.transition is not None else ()
    return LevelSizes(times, (1,) * max(len(times), 1), 1, 1)


def sized(method: Method, sizes: LevelSizes) -> Method:
    """The method with other sizes."""
    start, middle, finish = method
    if sizes.finer > 1 and finish.finer is not None:
        finish = finish.finer(sizes.finer)
    if middle.transition is not None:
        estimator = middle.estimator
        if sizes.wider > 1 and estimator.wider is not None:
            estimator = estimator.wider(sizes.wider)
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


def longer(method: Method, now: LevelSizes, factor: int) -> LevelSizes:
    """Levels, and steps of the finish, ``factor`` for each one now."""
    if factor == 1:
        return now
    finer = now.finer if method.finish.finer is None else factor * now.finer
    if now.num_levels < 1:
        return now._replace(finer=finer)
    widened = WIDENED * np.log2(factor)
    times = refined_grid(now.times, method.levels.process, factor, widened)
    return now._replace(times=times, finer=finer)


def quieter(now: LevelSizes, noise: np.ndarray, target: LevelSizes, allowed: float) -> LevelSizes:
    """Batches for new sizes, so that their noise is what is allowed.

    Args:
        now: sizes of the run that was measured.
        noise: its `noise_kl` at each level, shape (num_levels,).
        target: new sizes, whose batches are still to be set; ``k`` levels for each one now.
        allowed: sum of the noise.

    Returns:
        ``target`` with batches.
    """
    if now.num_levels < 1:
        return target
    factor = target.num_levels // now.num_levels
    cost = noise * np.asarray(now.num_batches[:-1]) * (now.wider / target.wider)
    # half the step has about half the noise for the same number of samples
    return target._replace(num_batches=allotted(np.repeat(cost, factor) / factor, allowed))
