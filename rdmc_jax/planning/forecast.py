"""Predict what a run of `sample` will need, from one discarded ensemble."""

import math
from typing import NamedTuple

import numpy as np

from ..draws.plan import Plan
from ..samplers.methods import NUM_PARTICLES, RestartSizes
from .defaults import ensemble_evals
from .restart_sizes import MAX_SIZE, MAX_TEMPERATURES
from .tolerance import MARGIN, ErrorTerm, cheapest_factors


class Measurement(NamedTuple):
    """What one paired ensemble shows; see `restart_sizes.measured`."""

    tv_bound: float
    tv_limit: float
    finish_variance: float  # part of Var log w from the finish; falls like 1/temperatures
    pool_variance: float  # part of Var log w from the pool; falls like 1/size of the pool


class Prediction(NamedTuple):
    """Sizes that should meet a tolerance."""

    num_pool: int  # points of each replicate's pool
    num_temperatures: int
    tv_limit: float
    evals_per_sample: float  # pilots, pools and discarded ensembles included
    is_met: bool  # whether tv_limit is below the tolerance, with the margin that `sample` keeps


class Forecast(NamedTuple):
    """What a pilot and one discarded ensemble measured, and what they predict of a run."""

    tolerance: float
    num_samples: int
    dim: int
    location: np.ndarray  # (dim,) mean of the target
    scale: np.ndarray  # (dim,) its standard deviation
    second_moment: float  # E‖x‖² about the origin
    second_moment_error: float  # one standard error
    smoothness: float  # L, largest |eigenvalue| of ∇² log π that was found; nan if not measured
    convexity: float  # lowest eigenvalue of -∇² log π that was found
    num_pool: int  # points of the first pool
    ess: float  # effective draws of the ensemble's 1,000
    measured: Measurement
    predicted: Prediction
    num_evals: int  # spent on all of this; a Hessian counts as one gradient per coordinate
    plan: Plan  # the one that `sample` would start with

    def summary(self) -> str:
        """Describe the prediction, the measurement, and what `sample` would start with."""
        now, ahead = self.measured, self.predicted
        verdict = "" if ahead.is_met else ", more than asked for"
        curvature = f"-∇² log π between {self.convexity:.3g} and L = {self.smoothness:.3g}"
        if math.isnan(self.smoothness):
            curvature = "curvature not measured (no gradient, or too many dimensions)"
        rows = [
            ("asked for", f"total variation {self.tolerance:g}, {self.num_samples:,} draws"),
            (
                "will need",
                f"pool of {ahead.num_pool:,} points, {ahead.num_temperatures} temperatures, "
                f"{ahead.evals_per_sample:,.0f} evaluations per draw",
            ),
            (
                "TV limit",
                f"{ahead.tv_limit:.3f} predicted (95 % confidence){verdict}; "
                f"{now.tv_limit:.3f} at the first sizes",
            ),
            (
                "log w",
                f"variance {now.finish_variance:.3g} from the finish and {now.pool_variance:.3g} "
                f"from the pool, ESS {self.ess:.0f} of {NUM_PARTICLES}, at the first sizes",
            ),
            (
                "target",
                f"dimension {self.dim}, E‖x‖² = {self.second_moment:.3g} ± "
                f"{self.second_moment_error:.2g}, {curvature}",
            ),
            ("spent", f"{self.num_evals:,} evaluations"),
            ("sample", f"would start with: {self.plan.reason}"),
        ]
        return "\n".join(f"{name:<12} {text}" for name, text in rows)


def _powers(first: int, largest: int) -> tuple[int, ...]:
    return tuple(2**k for k in range(12) if first * 2**k <= largest)


def predicted(
    measured: Measurement,
    sizes: RestartSizes,
    *,
    tolerance: float,
    num_pool: int,
    num_prepared: int,
    num_replicates: int,
    num_ensembles: int,
    num_samples: int,
    max_evals: float | None,
) -> Prediction:
    """Predict the cheapest sizes whose limit meets a tolerance, in one step.

    The limit is about proportional to the standard deviation of log w. The variance of log w is
    ``pool/factor + finish/factor'`` with the factors by which pool and temperatures grow. Factors
    are powers of two, as in a run.

    Args:
        measured: what was measured at the first sizes.
        sizes: the first sizes, with which `sample` would begin.
        tolerance: total variation.
        num_pool: points of the first pool.
        num_prepared: evaluations of one pilot and pool.
        num_replicates: replicates of the run.
        num_ensembles: ensembles of each replicate.
        num_samples: output draws.
        max_evals: cap per output draw, or None.

    Returns:
        `Prediction`; its limit is the measured one if nothing larger is affordable, and nan if too
        few pairs have weights to tell finish and pool apart.

    >>> from rdmc_jax.planning.defaults import DEFAULT_SIZES
    >>> one = Measurement(0.1, 0.2, 0.02, 0.06)
    >>> options = dict(num_pool=500, num_prepared=0, num_replicates=2, num_ensembles=1,
    ...              num_samples=2000, max_evals=None)
    >>> found = predicted(one, DEFAULT_SIZES[0], tolerance=0.1, **options)
    >>> found.num_pool, found.num_temperatures, round(found.tv_limit, 3)  # √(.06/8 + .02/4)
    (8500, 32, 0.079)
    """

    def spent(size: int, num_temperatures: int) -> float:
        first = ensemble_evals(sizes, sizes.num_temperatures)
        last = ensemble_evals(sizes, num_temperatures)
        total = num_prepared + first + num_ensembles * last
        if size > 1 or num_temperatures > sizes.num_temperatures:
            total += (size - 1) * first + last
        return num_replicates * total

    variance = measured.finish_variance + measured.pool_variance
    size = factor = 1
    target = MARGIN * tolerance
    if measured.tv_limit > target and variance > 0:
        parts = (
            # a pool of two ensembles is hardly larger than the first pool with one
            ErrorTerm(
                measured.pool_variance, 1.0, tuple(k for k in _powers(1, MAX_SIZE) if k != 2)
            ),
            ErrorTerm(
                measured.finish_variance, 1.0, _powers(sizes.num_temperatures, MAX_TEMPERATURES)
            ),
        )
        affordable = math.inf if max_evals is None else max_evals * num_samples
        chosen = cheapest_factors(
            parts,
            variance * (target / measured.tv_limit) ** 2,
            lambda factors: spent(factors[0], factors[1] * sizes.num_temperatures),
            affordable,
        )
        size, factor = (1, 1) if chosen is None else chosen
    left = measured.pool_variance / size + measured.finish_variance / factor
    limit = measured.tv_limit
    if (size, factor) != (1, 1):
        limit *= math.sqrt(left / variance) if math.isfinite(variance) else math.nan
    return Prediction(
        num_pool + (size * NUM_PARTICLES if size > 1 else 0),
        factor * sizes.num_temperatures,
        limit,
        spent(size, factor * sizes.num_temperatures) / num_samples,
        limit <= target,
    )
