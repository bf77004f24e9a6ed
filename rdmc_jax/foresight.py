"""`plan`: what a run would need, by theory and by measurement, without the run."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .border import bind, dimension, inward, ravel_ensemble, standardised
from .checkpoint import nowhere
from .checks import checked_example, checked_known, typed_key, whole
from .core import Plan
from .diagnostics import relative_weights, weight_ess
from .execution import DISCARDED, check_prepared, pilot_shape
from .forecast import Forecast, Measurement, forecast
from .generations import measured
from .gradient_free import gradient_free_pilot
from .grown import paired_method
from .pilot import climbing_pilot
from .planning import choose_rung, make_plan
from .requests import check_tolerance
from .slopes import has_gradient
from .smoothness import NUM_COARSE, NUM_FINE, Spectrum, products_of_spectrum, spectrum, valleys
from .stages import stages
from .theory import TheoryPlan, check_probability, theory_plan
from .types import Array, ArrayTree, LogDensityFn, PRNGKey

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


@functools.partial(jax.jit, static_argnames="logdensity_fn")
def _spectrum(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    points: Array,
    location: Array,
    scale: Array,
) -> Spectrum:
    density = bind(logdensity_fn, position, data).logdensity_fn
    pair_key, vector_key = jax.random.split(rng_key)
    between = valleys(density, points, jax.random.permutation(pair_key, points))
    points = inward(location, scale, jnp.concatenate([points, between]))
    return spectrum(vector_key, standardised(density, location, scale), points)


def plan(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    *,
    data: Any = None,
    tolerance: float = 0.1,
    num_samples: int = 1000,
    known_positions: ArrayTree | None = None,
    max_evals: float | None = None,
    num_replicates: int | None = None,
    failure: float = 0.1,
) -> Foresight:
    """What a run of `sample` would need, by theory and by a pilot, without the run.

    One pilot, one pool and one paired ensemble are made and thrown away: those that
    ``sample(rng_key, ..., tolerance=...)`` would begin with. Its weighted draws measure second
    moment and curvature, which go into the theorem; the variances of their log weights are
    extrapolated to the tolerance.

    Args:
        rng_key: ``jax.random.key(0)``.
        logdensity_fn: as in `sample`.
        position: as in `sample`.
        data: passed to the density if not None.
        tolerance: total variation that the law of an unweighted draw may have from the target.
        num_samples: output draws of the run that is planned.
        known_positions: as in `sample`.
        max_evals: cap on evaluations per output draw of the run.
        num_replicates: of the run, as in `sample`.
        failure: probability that the inner draws of the theory may fail with.

    Returns:
        `Foresight`: ``theory`` beside ``pilot``, and ``static``, that `sample` starts with.

    Raises:
        TypeError: for a density, position or key of a wrong type or shape.
        ValueError: for options out of range.

    Not a certificate. The pilot's numbers hold for what it saw; one ensemble cannot show how pools
    differ, which is what replicates of a run are for.

    >>> plan(jax.random.key(0), lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(1), tolerance=2.0)
    Traceback (most recent call last):
    ValueError: tolerance=2.0 must lie between 0 and 1: it is a total variation distance. ...

    Reference: Huang et al. (2024), arXiv 2307.02037, Theorem 1, with constants of our own.
    """
    if tolerance is None:
        raise TypeError("tolerance must be a number in (0, 1), but got None. 0.1 is usual.")
    check_tolerance(tolerance, None)
    check_probability("failure", failure)
    num_samples = whole(num_samples)
    key = typed_key(rng_key)
    position = checked_example(logdensity_fn, position, data)
    known = checked_known(known_positions, position)
    where = position if known is None else jax.tree.map(lambda leaf: leaf[0], known)
    can_climb = has_gradient(logdensity_fn, where, data)
    dim = dimension(position)
    static = make_plan(
        dim=dim,
        num_samples=num_samples,
        num_replicates=num_replicates,
        max_evals=max_evals,
        pilot=climbing_pilot() if can_climb else gradient_free_pilot(),
        has_gradient=can_climb,
        has_tolerance=True,
    )
    rung, _ = choose_rung(
        dim,
        num_samples,
        static.num_replicates,
        max_evals,
        can_climb,
        num_discarded=static.num_replicates,
    )
    # keys as of the first replicate of a run
    replicate_key = jax.random.fold_in(key, 0)
    prepare_key = jax.random.fold_in(replicate_key, 0)
    run_key = jax.random.fold_in(jax.random.fold_in(replicate_key, DISCARDED), 0)
    programs = stages(logdensity_fn, position, data, known, mesh=None, store=nowhere)
    prepared = programs.prepare("", prepare_key, pilot_shape(static))
    check_prepared(prepared)
    method = paired_method(rung, 1, rung.num_temperatures)
    result = programs.ensembles([""], run_key[None], prepared, method)[0]
    log_weight = np.where(np.isnan(result.log_weight), -np.inf, result.log_weight)
    x = np.asarray(ravel_ensemble(result.position))
    w = relative_weights(log_weight)
    location, scale, moment, moment_error = _moments(x, w)
    made = result.info.num_evals
    prepared_evals = int(max(prepared.pool.num_evals))
    num_evals = prepared_evals + max(int(np.sum(made.logdensity)), int(np.sum(made.gradient)))
    smooth = [(float("nan"), float("nan"))] * 2
    if can_climb:
        points = jnp.asarray(x[_systematic(w)])
        frames = [(np.zeros(dim), np.ones(dim)), (location, scale)]
        smooth = [
            _ends(
                _spectrum(
                    jax.random.fold_in(run_key, 1),
                    logdensity_fn,
                    position,
                    data,
                    points,
                    *(jnp.asarray(a, points.dtype) for a in frame),
                )
            )
            for frame in frames
        ]
        num_evals += 2 * NUM_POINTS * (2 * products_of_spectrum() + NUM_COARSE + NUM_FINE)
    num_pool = int(prepared.pool.position.shape[0])
    measurement = Measurement(*measured([log_weight]))
    ahead = forecast(
        measurement,
        rung,
        tolerance=tolerance,
        num_pool=num_pool,
        num_prepared=prepared_evals,
        num_replicates=static.num_replicates,
        num_ensembles=static.num_ensembles,
        num_samples=num_samples,
        max_evals=max_evals,
    )
    theories = [
        theory_plan(
            tolerance,
            dim=dim,
            smoothness=largest,
            second_moment=second_moment,
            failure=failure,
            convexity=None if np.isnan(lowest) else lowest,
        )
        for (largest, lowest), second_moment in zip(smooth, (moment, float(dim)), strict=True)
    ]
    pilot = PilotMeasured(
        dim,
        location,
        scale,
        moment,
        moment_error,
        *smooth[0],
        *smooth[1],
        num_pool,
        rung.num_temperatures,
        weight_ess(log_weight),
        measurement,
        num_evals,
        ahead,
    )
    return Foresight(float(tolerance), num_samples, theories[0], theories[1], pilot, static)


def _ends(found: Spectrum) -> tuple[float, float]:
    largest = float(np.max(np.asarray(found.largest)))
    return largest, max(float(np.min(np.asarray(found.lowest))), -largest)


def _moments(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Mean, deviation, second moment and its standard error of weighted pairs."""
    x, share = x.astype(np.float64), w[:, None] / np.sum(w)
    location = np.sum(share * x, axis=0)
    scale = np.sqrt(np.sum(share * (x - location) ** 2, axis=0))
    squares = np.sum(x**2, axis=1)
    moment = float(np.sum(share[:, 0] * squares))
    # pairs lie half an array apart; a pair shares its noisy point, so it errs together
    pairs = np.sum(np.reshape(share[:, 0] * (squares - moment), (2, -1)), axis=0)
    return location, np.where(scale > 0, scale, 1.0), moment, float(np.sqrt(np.sum(pairs**2)))


def _systematic(w: np.ndarray) -> np.ndarray:
    """Indices of draws at equal steps of the weight."""
    steps = (np.arange(NUM_POINTS) + 0.5) / NUM_POINTS
    cumulative = np.cumsum(w) / np.sum(w)
    return np.minimum(np.searchsorted(cumulative, steps), w.size - 1)
