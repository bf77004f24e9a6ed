"""Predict what a run of `sample` will need, from discarded draws."""

import math
from typing import NamedTuple

import numpy as np

from ..draws.plan import Plan, Trial
from ..samplers.methods import NUM_PARTICLES
from .mixture_sizes import Sizes, ensemble_evals, next_sizes, predicted_variance
from .tolerance import MARGIN


class Prediction(NamedTuple):
    """Sizes that should meet a tolerance."""

    num_candidates: int  # of each draw
    num_temperatures: int  # of each candidate
    is_restart: bool  # from the noised pool; its larger pool and its limit are not predicted
    tv_limit: float
    evals_per_sample: float  # pilots, pools and discarded draws included
    is_met: bool  # whether tv_limit is below the tolerance, with the margin that `sample` keeps


class Forecast(NamedTuple):
    """What discarded draws of a fitted mixture measured, and what they predict of a run."""

    tolerance: float
    num_samples: int
    dim: int
    location: np.ndarray  # (dim,) mean of the target
    scale: np.ndarray  # (dim,) its standard deviation
    second_moment: float  # E‖x‖² about the origin
    second_moment_error: float  # one standard error
    smoothness: float  # L, largest |eigenvalue| of ∇² log π that was found; nan if not measured
    convexity: float  # lowest eigenvalue of -∇² log π that was found
    num_pool: int  # points of the pool
    measured: Trial
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
                f"{ahead.num_candidates} candidates for each draw, {ahead.num_temperatures} "
                f"temperatures{' from the noised pool' if ahead.is_restart else ''}, "
                f"{ahead.evals_per_sample:,.0f} evaluations per draw",
            ),
            (
                "TV limit",
                f"{ahead.tv_limit:.3f} predicted (95 % confidence){verdict}; "
                f"{now.tv_limit:.3f} with one candidate",
            ),
            (
                "weights",
                f"relative variance {now.relative_variance:.3g}, Pareto k {now.pareto_k:.2f}, ESS "
                f"{now.ess:.0f} of {NUM_PARTICLES}, with one candidate",
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


def predicted(
    measured: Trial,
    *,
    tolerance: float,
    num_prepared: int,
    num_replicates: int,
    num_ensembles: int,
    num_samples: int,
    max_evals: float | None,
) -> Prediction:
    """Predict the cheapest sizes whose limit meets a tolerance, in one step.

    The limit is about proportional to the square root of the relative variance of the weights.

    Args:
        measured: weights of draws with one candidate.
        tolerance: total variation.
        num_prepared: evaluations of one pilot, pool and fit.
        num_replicates: replicates of the run.
        num_ensembles: ensembles of each replicate.
        num_samples: output draws.
        max_evals: cap on all evaluations, or None.

    Returns:
        `Prediction`; its limit is the measured one if nothing larger is affordable.

    >>> one = Trial(1, 0, 0.5, 667.0, 0.1, 0.2, 0.25, 0)
    >>> found = predicted(one, tolerance=0.1, num_prepared=9000, num_replicates=2, num_ensembles=1,
    ...                   num_samples=2000, max_evals=None)
    >>> found.num_candidates, round(found.tv_limit, 3)  # 0.25 / √8
    (8, 0.088)
    """

    def spent(sizes: Sizes) -> int:
        runs = num_ensembles + (sizes != Sizes(1, 0))
        return num_replicates * (num_prepared + runs * ensemble_evals(sizes))

    sizes, target = Sizes(1, 0), MARGIN * tolerance
    if measured.tv_limit > target:
        affordable = math.inf if max_evals is None else max_evals
        sizes = next_sizes([measured], tolerance, spent, affordable) or sizes
    limit, before = measured.tv_limit, measured.relative_variance
    if sizes != Sizes(1, 0) and math.isfinite(before) and not sizes.is_restart:
        limit *= math.sqrt(predicted_variance([measured], sizes) / before)
    return Prediction(*sizes, limit, spent(sizes) / num_samples, limit <= target)
