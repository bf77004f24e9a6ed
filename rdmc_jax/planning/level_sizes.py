"""Sizes of a level-by-level method, and how they grow until a pilot meets a tolerance.

The path divergence has two parts. The first is the noise of the estimates, which is measured at
each level (`noise_kl`). The noise of level k is ``A_k/b_k`` for b_k batches; for a given sum the
fewest batches are ``b_k ∝ √A_k`` (Lagrange).

The rest has two kinds of causes. Posteriors that are not Gaussian, the start and the finish: their
errors fall with shorter levels, further ends of the grid, and more temperatures. Errors that chains
carry from level to level, and modes that they cannot leave: these fall with more chains at once,
and longer chains do not help.

As for the restart, ensembles that decide something are discarded. The reported run has the sizes
found and fresh keys.
"""

import dataclasses
import itertools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ..diffusion.estimators import chains, importance
from ..diffusion.estimators.batches import repeated
from ..draws.plan import LevelTrial
from ..montecarlo.weights import kl_bound, tv_limit
from ..samplers.core import EnsembleResult, Preparation
from ..samplers.finishes import annealed_finish
from ..samplers.sampler import levels, rdmc
from ..types import Estimator, Method, Process
from .tolerance import MARGIN, ErrorTerm, RunFn, cheapest_factors, growth, spent_on

WIDENED = 0.5
"""Distance in log-SNR by which both ends of the grid move out when its levels double."""
MAX_BATCHES = 1024
"""Batches of one level."""


class LevelSizes(NamedTuple):
    """Sizes of a level-by-level method."""

    times: tuple[float, ...]
    num_batches: tuple[int, ...]  # of each level, and of the finish
    wider: int  # factor on the inner samples of one batch
    finer: int  # factor on the finish's steps

    @property
    def num_levels(self) -> int:
        """Number of transitions between the times."""
        return max(len(self.times) - 1, 0)


def first_sizes(method: Method) -> LevelSizes:
    """Read the sizes of the method itself."""
    times = () if method.levels is None else method.levels.times
    return LevelSizes(times, (1,) * max(len(times), 1), 1, 1)


def has_width(estimator: Estimator) -> bool:
    """Whether `widened` can enlarge the estimator."""
    return isinstance(estimator, importance | chains)


def widened(estimator: Estimator, factor: int) -> Estimator:
    """Give the estimator ``factor`` times its inner samples at once, if they are a setting.

    >>> widened(importance(num_samples=16), 4)
    importance()
    >>> widened(chains(num_chains=4), 2)
    chains(num_chains=8, num_candidates=128)
    """
    if isinstance(estimator, importance):
        return dataclasses.replace(estimator, num_samples=factor * estimator.num_samples)
    if isinstance(estimator, chains):
        return dataclasses.replace(
            estimator,
            num_chains=factor * estimator.num_chains,
            num_candidates=factor * estimator.num_candidates,
        )
    return estimator


def resized(method: Method, sizes: LevelSizes) -> Method:
    """Give the method other sizes."""
    finish, middle = method.finish, method.levels
    if sizes.finer > 1 and isinstance(finish, annealed_finish):
        count = sizes.finer * finish.num_temperatures
        finish = dataclasses.replace(finish, num_temperatures=count)
    if middle is not None:
        estimator = widened(middle.estimator, sizes.wider)
        if max(sizes.num_batches) > 1:
            estimator = repeated(estimator, sizes.num_batches)
        middle = levels(sizes.times, estimator, middle.transition, process=middle.process)
    return rdmc(method.start, middle, finish, pool=method.pool)


def allocate_batches(cost: np.ndarray, allowed: float) -> tuple[int, ...]:
    """Find the fewest batches of allowed noise: ``b_k = √A_k Σ_j √A_j / allowed``, rounded up.

    Args:
        cost: noise A_k that one batch leaves at each level, shape (num_levels,).
        allowed: sum of A_k/b_k.

    Returns:
        Batches of each level, and as many for the finish as for the last one.

    >>> allocate_batches(np.array([0.04, 0.01]), 0.03)
    (2, 1, 1)
    """
    root = np.sqrt(np.maximum(np.asarray(cost, np.float64), 0.0))
    wanted = np.ceil(root * np.sum(root) / max(allowed, 1e-12) - 1e-9)
    batches = np.clip(wanted, 1, MAX_BATCHES).astype(int).tolist()
    return (*batches, batches[-1])


def with_more_levels(method: Method, now: LevelSizes, factor: int) -> LevelSizes:
    """Multiply the levels, and the steps of the finish, by ``factor``."""
    if factor == 1:
        return now
    finer = factor * now.finer if isinstance(method.finish, annealed_finish) else now.finer
    if method.levels is None or now.num_levels < 1:
        return now._replace(finer=finer)
    widened = WIDENED * np.log2(factor)
    times = refined_grid(now.times, method.levels.process, factor, widened)
    return now._replace(times=times, finer=finer)


def with_batches(
    now: LevelSizes, noise: np.ndarray, target: LevelSizes, allowed: float
) -> LevelSizes:
    """Set the batches of new sizes so that the noise is as large as allowed.

    Args:
        now: sizes of the trial that was measured.
        noise: its `noise_kl` at each level, shape (num_levels,).
        target: new sizes, whose batches are still to be set; ``k`` levels for each level now.
        allowed: noise that all levels may have together.

    Returns:
        ``target`` with batches.
    """
    if now.num_levels < 1:
        return target
    factor = target.num_levels // now.num_levels
    cost = noise * np.asarray(now.num_batches[:-1]) * (now.wider / target.wider)
    # half the step has about half the noise, with the same number of samples
    return target._replace(num_batches=allocate_batches(np.repeat(cost, factor) / factor, allowed))


def refined_grid(
    times: tuple[float, ...], process: Process, factor: int, widened: float = 0.0
) -> tuple[float, ...]:
    """Divide each level of a grid into ``factor`` levels, and move its ends out.

    Args:
        times: decreasing; new ones lie between them, equally spaced in log-SNR (in time if the end
            is time 0, whose log-SNR is infinite).
        process: the noising process.
        factor: new levels for each old one.
        widened: distance in log-SNR by which both ends move out (an end at time 0 cannot); the
            times between them move in proportion.

    Returns:
        ``factor * (len(times) - 1) + 1`` decreasing times.

    >>> from rdmc_jax.diffusion import log_snr_grid, ornstein_uhlenbeck
    >>> grid = log_snr_grid(2, low=-2.0, high=2.0)
    >>> finer = refined_grid(grid, ornstein_uhlenbeck(), 2, widened=1.0)
    >>> wanted = log_snr_grid(4, low=-3.0, high=3.0)
    >>> max(abs(a - b) for a, b in zip(finer, wanted)) < 1e-6
    True
    """
    finite = [t for t in times if t > 0]
    values = np.array([float(process.log_snr(jnp.asarray(t))) for t in finite])
    middle, half = 0.5 * (values[0] + values[-1]), 0.5 * (values[-1] - values[0])
    stretch = 1 + widened / half if half > 0 else 1.0
    places = np.arange((len(finite) - 1) * factor + 1) / factor
    wanted = np.interp(places, np.arange(len(finite)), middle + stretch * (values - middle))
    made = [float(process.time(float(value))) for value in wanted]
    if len(finite) < len(times):
        made += [made[-1] * (factor - k) / factor for k in range(1, factor + 1)]
    if not all(math.isfinite(t) for t in made):
        raise ValueError(f"no finer grid can be made of times {times}.")
    return tuple(made)


MAX_GROWTH = 256
"""Largest factor on the evaluations of the first ensemble."""
WORKING_POWER = 0.4
"""Power of its factor by which a change of sizes must lower the rest to be repeated."""
MIN_REST_SHARE = 0.05
"""Smallest share of the divergence that is taken for the rest: the noise is only an estimate."""


def measured_trial(sizes: LevelSizes, results: list[EnsembleResult], evals: int) -> LevelTrial:
    """Measure errors and costs from one ensemble of each replicate.

    Args:
        sizes: sizes with which they ran.
        results: one ensemble of each replicate.
        evals: evaluations that they cost, the larger of densities and gradients.

    Returns:
        The record.

    Raises:
        ValueError: if the method has no path weights.
    """
    weights = [np.asarray(one.log_weight, np.float64) for one in results]
    log_weight = np.concatenate(weights)
    if np.all(np.isnan(log_weight)):
        raise ValueError(
            "tolerance is judged by the weights, and this method has none. Take a start of known "
            "density (gaussian_start) and a transition with one (moment_matched), or leave "
            "tolerance out."
        )
    log_weight = np.where(np.isnan(log_weight), -np.inf, log_weight)
    bound = tv_limit(log_weight, np.repeat(np.arange(len(weights)), [w.size for w in weights]))
    total = kl_bound(log_weight)
    if not math.isfinite(total):
        finite = log_weight[np.isfinite(log_weight)]
        total = 0.5 * float(np.var(finite)) if 2 * finite.size > log_weight.size else math.inf
    noise = np.mean([np.asarray(one.info.noise_kl, np.float64) for one in results], axis=0)
    noise = np.nan_to_num(noise[: sizes.num_levels])
    infos = [one.info.num_evals for one in results]
    each = np.sum([np.maximum(i.logdensity, i.gradient) for i in infos], axis=0)
    by_noise = float(np.sum(noise))
    return LevelTrial(
        num_levels=sizes.num_levels,
        num_batches=sizes.num_batches,
        wider=sizes.wider,
        finer=sizes.finer,
        tv_bound=bound.estimate,
        tv_limit=bound.upper,
        kl_bound=total,
        noise_kl=tuple(noise.tolist()),
        rest=max(total - by_noise, MIN_REST_SHARE * total),
        level_evals=tuple(int(count) for count in each),
        evals=evals,
    )


Tried = list[tuple[LevelTrial, LevelSizes]]


def _mends_by_width(method: Method, tried: Tried) -> bool:
    """Whether more chains at once, not more levels, should lower the rest.

    More levels come first. What grew last grows again as long as it works, that is, while the rest
    falls by more than its factor to the power `WORKING_POWER`.
    """
    if method.levels is None or tried[-1][1].num_levels < 1:
        return False
    if not has_width(method.levels.estimator):
        return False
    is_width = False
    for (old, before), (new, after) in itertools.pairwise(tried):
        was_width = after.wider > before.wider
        factor = max(after.wider / before.wider, after.num_levels / before.num_levels)
        if factor > 1:
            works = new.rest <= old.rest * factor**-WORKING_POWER
            is_width = was_width if works else not was_width
    return is_width


def next_level_sizes(
    method: Method, tried: Tried, tolerance: float, ahead: float, affordable: float = math.inf
) -> LevelSizes | None:
    """Choose the cheapest larger sizes that should meet the tolerance.

    The bound is about proportional to the square root of the path's divergence. The part from noise
    falls with the inner samples. The rest is assumed to halve when the levels (and steps of the
    finish) double, or when the chains of each level double, whichever worked last.

    Args:
        method: the user's method.
        tried: trials so far; the sizes of the last one grow.
        tolerance: total variation that was asked for.
        ahead: ensembles to run with the new sizes, for each one measured.
        affordable: evaluations that are left.

    Returns:
        Sizes, or None if no larger ones exist or fit the budget.
    """
    one, now = tried[-1]
    noise = float(np.sum(one.noise_kl))
    allowed = (noise + one.rest) * (MARGIN * tolerance / one.tv_limit) ** 2
    is_width = _mends_by_width(method, tried)
    parts = (
        ErrorTerm(noise, 1.0, (1, 2, 4) if now.num_levels > 0 else (1,)),
        ErrorTerm(one.rest, 1.0, (1, 2, 4)),
    )
    evals = np.asarray(one.level_evals, np.float64)

    def larger(factors: tuple[int, ...]) -> LevelSizes:
        if is_width:
            new = now._replace(wider=factors[1] * now.wider)
        else:
            new = with_more_levels(method, now, factors[1])
        return with_batches(now, np.asarray(one.noise_kl), new, noise / factors[0])

    def cost(factors: tuple[int, ...]) -> float:
        new = larger(factors)
        more = sum(new.num_batches[:-1]) * new.wider / max(sum(now.num_batches[:-1]), 1) / now.wider
        of_levels = float(np.sum(evals[:-1])) * more if now.num_levels > 0 else 0.0
        return ahead * (of_levels + float(evals[-1]) * new.finer / now.finer)

    first = sum(tried[0][0].level_evals)
    most = min(affordable, ahead * MAX_GROWTH * first)
    chosen = cheapest_factors(parts, allowed, cost, most)
    new = None if chosen is None else larger(chosen)
    return None if new == now else new


class LevelLadder:
    """Grow levels, batches, inner samples and temperatures; see `tolerance.Ladder`.

    Args:
        prepares: preparations of the replicates.
        run: runs one ensemble.
        method: the user's composition, with the sizes of the first trial.
        num_ensembles: ensembles of each replicate in the reported run.
    """

    exhausted = f"{MAX_GROWTH} times the evaluations of the first trial are not enough"

    def __init__(
        self, prepares: list[Preparation], run: RunFn, *, method: Method, num_ensembles: int
    ) -> None:
        self.prepares, self._run = list(prepares), run
        self._method, self._num_ensembles = method, num_ensembles
        self._tried: Tried = []
        self.discarded: list[EnsembleResult] = []

    @property
    def first(self) -> LevelSizes:
        """Sizes of the method itself."""
        return first_sizes(self._method)

    def trial(self, sizes: LevelSizes, tolerance: float | None) -> LevelTrial:
        """Run one ensemble of each replicate, and measure it."""
        own, number = self.method(sizes), len(self._tried)
        results = [self._run(k, number, one, own) for k, one in enumerate(self.prepares)]
        self.discarded += results
        one = measured_trial(sizes, results, sum(map(spent_on, results)))
        self._tried.append((one, sizes))
        return one

    def is_enough(self, one: LevelTrial, tolerance: float | None) -> bool:
        """Whether the reported run may have the sizes of a trial."""
        return tolerance is None or one.tv_limit <= MARGIN * tolerance

    def larger(self, tolerance: float | None, affordable: float) -> LevelSizes | None:
        """See `next_level_sizes`."""
        assert tolerance is not None
        ahead = 1 + self._num_ensembles
        return next_level_sizes(self._method, self._tried, tolerance, ahead, affordable)

    def growth(self, now: LevelSizes, new: LevelSizes) -> str:
        """Say in words what grows."""
        return growth(
            ("levels", now.num_levels, new.num_levels),
            ("batches", sum(now.num_batches), sum(new.num_batches)),
            ("factor on the samples of a batch", now.wider, new.wider),
            ("factor on the steps of the finish", now.finer, new.finer),
        )

    def method(self, sizes: LevelSizes) -> Method:
        """Give the user's method other sizes."""
        return resized(self._method, sizes)
