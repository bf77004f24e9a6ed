"""What a tolerance will need, extrapolated from one ensemble."""

import math
from typing import NamedTuple

from .contributions import Part, cheapest
from .generations import MARGIN, MAX_SIZE, MAX_TEMPERATURES
from .rungs import NUM_PARTICLES, Rung, ensemble_evals


class Forecast(NamedTuple):
    """Sizes that should meet a tolerance."""

    num_pool: int  # points of each replicate's pool
    num_temperatures: int
    tv_limit: float
    evals_per_sample: float  # pilots, pools and thrown-away ensembles included
    is_met: bool  # the limit, with the margin that `sample` keeps


class Measurement(NamedTuple):
    """Of one paired ensemble; see `generations.measured`."""

    tv_bound: float
    tv_limit: float
    finish_variance: float  # of log w: of the finish, falls like 1/temperatures
    pool_variance: float  # of log w: the rest, falls like 1/size of the pool


def _powers(first: int, largest: int) -> tuple[int, ...]:
    return tuple(2**k for k in range(12) if first * 2**k <= largest)


def forecast(
    measured: Measurement,
    rung: Rung,
    *,
    tolerance: float,
    num_pool: int,
    num_prepared: int,
    num_replicates: int,
    num_ensembles: int,
    num_samples: int,
    max_evals: float | None,
) -> Forecast:
    """The cheapest sizes of the ladder whose predicted limit meets a tolerance, in one step.

    The limit is about proportional to the deviation of log w, whose variance is
    ``pool/factor + finish/factor'`` with the factors by which pool and temperatures grow.

    Args:
        measured: at the sizes of the rung.
        rung: that `sample` would begin with.
        tolerance: total variation.
        num_pool: points of the first pool.
        num_prepared: evaluations of one pilot and pool.
        num_replicates: of the run.
        num_ensembles: per replicate.
        num_samples: output draws.
        max_evals: cap per output draw, or None.

    Returns:
        `Forecast`; its limit is the measured one where nothing larger is affordable, and nan where
        too few pairs had weights to tell finish and pool apart.

    >>> from .rungs import RUNGS
    >>> one = Measurement(0.1, 0.2, 0.02, 0.06)
    >>> sizes = dict(num_pool=500, num_prepared=0, num_replicates=2, num_ensembles=1,
    ...              num_samples=2000, max_evals=None)
    >>> found = forecast(one, RUNGS[0], tolerance=0.1, **sizes)
    >>> found.num_pool, found.num_temperatures, round(found.tv_limit, 3)  # √(.06/8 + .02/4)
    (8500, 32, 0.079)
    """

    def spent(size: int, num_temperatures: int) -> float:
        first = ensemble_evals(rung, rung.num_temperatures)
        last = ensemble_evals(rung, num_temperatures)
        total = num_prepared + first + num_ensembles * last
        if size > 1 or num_temperatures > rung.num_temperatures:
            total += (size - 1) * first + last
        return num_replicates * total

    variance = measured.finish_variance + measured.pool_variance
    size = factor = 1
    target = MARGIN * tolerance
    if measured.tv_limit > target and variance > 0:
        parts = (
            # a pool of two ensembles would hardly be larger than the first pool and one
            Part(measured.pool_variance, 1.0, tuple(k for k in _powers(1, MAX_SIZE) if k != 2)),
            Part(measured.finish_variance, 1.0, _powers(rung.num_temperatures, MAX_TEMPERATURES)),
        )
        affordable = math.inf if max_evals is None else max_evals * num_samples
        chosen = cheapest(
            parts,
            variance * (target / measured.tv_limit) ** 2,
            lambda factors: spent(factors[0], factors[1] * rung.num_temperatures),
            affordable,
        )
        size, factor = (1, 1) if chosen is None else chosen
    left = measured.pool_variance / size + measured.finish_variance / factor
    limit = measured.tv_limit
    if (size, factor) != (1, 1):
        limit *= math.sqrt(left / variance) if math.isfinite(variance) else math.nan
    return Forecast(
        num_pool + (size * NUM_PARTICLES if size > 1 else 0),
        factor * rung.num_temperatures,
        limit,
        spent(size, factor * rung.num_temperatures) / num_samples,
        limit <= target,
    )
