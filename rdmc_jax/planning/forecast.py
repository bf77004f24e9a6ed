"""What a tolerance will need, extrapolated from one ensemble; beside it, what theory asks."""

import math
from typing import NamedTuple

import numpy as np

from ..draws.plan import Plan
from ..samplers.methods import NUM_PARTICLES, RestartSizes
from .defaults import ensemble_evals
from .restart_sizes import MAX_SIZE, MAX_TEMPERATURES
from .theory import TheoryPlan
from .tolerance import MARGIN, ErrorTerm, cheapest_factors


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


def extrapolated(
    measured: Measurement,
    rung: RestartSizes,
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

    >>> from rdmc_jax.planning.defaults import RUNGS
    >>> one = Measurement(0.1, 0.2, 0.02, 0.06)
    >>> sizes = dict(num_pool=500, num_prepared=0, num_replicates=2, num_ensembles=1,
    ...              num_samples=2000, max_evals=None)
    >>> found = extrapolated(one, RUNGS[0], tolerance=0.1, **sizes)
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
            ErrorTerm(
                measured.pool_variance, 1.0, tuple(k for k in _powers(1, MAX_SIZE) if k != 2)
            ),
            ErrorTerm(
                measured.finish_variance, 1.0, _powers(rung.num_temperatures, MAX_TEMPERATURES)
            ),
        )
        affordable = math.inf if max_evals is None else max_evals * num_samples
        chosen = cheapest_factors(
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


NUM_POINTS = 64
"""Draws at which curvature is measured, and segments between them."""


class PilotMeasured(NamedTuple):
    """What one pilot, its pool and one ensemble of weighted draws tell, all thrown away."""

    dim: int
    location: np.ndarray  # (dim,) mean of the target
    scale: np.ndarray  # (dim,) its deviation
    second_moment: float  # E‖x‖² about the origin
    second_moment_error: float  # one standard error
    smoothness: float  # largest |eigenvalue| of ∇² log π that was met; nan without gradient
    convexity: float  # lowest eigenvalue of -∇² log π there
    smoothness_standardised: float  # the same where each coordinate has mean 0 and deviation 1
    convexity_standardised: float
    num_pool: int  # points of the pool
    num_temperatures: int  # of the ensemble
    ess: float  # effective draws of its `rungs.NUM_PARTICLES`
    measurement: Measurement  # bound, limit and variances of log w
    num_evals: int  # all of this, a Hessian product counted as a gradient
    forecast: Forecast  # what the tolerance will need


class Foresight(NamedTuple):
    """Theory beside pilot; of neither is anything run that is reported as draws."""

    tolerance: float
    num_samples: int
    theory: TheoryPlan  # for `paper`, in the user's own coordinates
    theory_standardised: TheoryPlan  # the same after division by the target's own deviations
    pilot: PilotMeasured
    static: Plan  # that `sample` would start with

    def summary(self) -> str:
        """A table of what theory asks for and what the pilot measured, and what both assume."""
        own, unit, pilot = self.theory, self.theory_standardised, self.pilot
        ahead, now = pilot.forecast, pilot.measurement
        sides = (own, unit)
        rows = [
            ("", "theory, your coordinates", "theory, standardised", "pilot, and this library"),
            ("L", *(f"{t.smoothness:.3g}" for t in sides), "not used"),
            ("E‖x‖²", *(f"{t.second_moment:.3g}" for t in sides), self._moment_text()),
            ("horizon", *(f"{t.horizon:.3g}" for t in sides), "each particle its own"),
            ("steps", *map(_steps_text, sides), f"{ahead.num_temperatures} temperatures"),
            ("inner draws", *map(_inner_text, sides), f"pool of {ahead.num_pool:,} points"),
            ("inner KL", *map(_accuracy_text, sides), "any: weights are exact"),
            ("evaluations", *map(_evals_text, sides), f"{ahead.evals_per_sample:,.0f} per draw"),
            ("TV", *map(_tv_text, sides), self._limit_text()),
        ]
        widths = [max(len(row[k]) for row in rows) + 2 for k in range(3)]
        asked = f"total variation {self.tolerance:g}, {self.num_samples:,} draws"
        lines = [f"{asked}, dimension {pilot.dim}"]
        lines += [
            "".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)) + row[3]
            for row in rows
        ]
        lines += [
            f"pilot        {pilot.num_evals:,} evaluations; TV now {now.tv_bound:.3f} (limit "
            f"{now.tv_limit:.3f}), variance of log w {now.finish_variance:.3g} by the finish and "
            f"{now.pool_variance:.3g} by the pool, ESS {pilot.ess:.0f}",
            f"sample       would start with: {self.static.reason}",
        ]
        lines += [f"assumed      {text}" for text in own.assumptions]
        lines.append(f"measured     {_measured_text(pilot)}")
        return "\n".join(lines)

    def _moment_text(self) -> str:
        return f"{self.pilot.second_moment:.3g} ± {self.pilot.second_moment_error:.2g}"

    def _limit_text(self) -> str:
        ahead = self.pilot.forecast
        tail = "predicted" if ahead.is_met else "predicted: more than asked for"
        return f"limit {ahead.tv_limit:.3f} {tail}"


def _steps_text(one: TheoryPlan) -> str:
    if not one.num_levels:
        return "not known"
    return f"{one.num_levels:.3g} levels of {one.step_size:.2g}"


def _inner_text(one: TheoryPlan) -> str:
    if not one.num_levels:
        return "not known"
    return f"{np.min(one.num_inner):.2g} to {np.max(one.num_inner):.2g} a level"


def _accuracy_text(one: TheoryPlan) -> str:
    known = one.log_sobolev > 0
    if not np.any(known):
        return "not known"
    share = float(np.sum(one.num_same[known])) / one.num_levels
    return f"{np.min(one.inner_accuracy[known]):.0e} and up, {100 * share:.2g}% of levels"


def _evals_text(one: TheoryPlan) -> str:
    if not one.num_levels:
        return "not known"
    if np.isinf(one.log10_evals):
        return f"no bound (inner draws 10^{one.log10_inner:.1f})"
    return f"10^{one.log10_evals:.1f} per draw"


def _tv_text(one: TheoryPlan) -> str:
    if not one.num_levels:
        return "not known"
    given = "" if np.isfinite(one.log10_evals) else ", given inner draws"
    return f"{one.tolerance:g} by theorem{given}"


def _measured_text(pilot: PilotMeasured) -> str:
    if np.isnan(pilot.smoothness):
        return "no L: the density has no gradient in JAX, or one that is zero"
    return (
        f"L and the lowest curvature, {pilot.smoothness:.4g} and {pilot.convexity:.4g}, at "
        f"{NUM_POINTS} draws and in the valleys between them: elsewhere there may be more"
    )
