"""`plan`: what a run would need, by theory and by measurement, without the run."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..montecarlo.weights import relative_weights, weight_ess
from ..planning.defaults import default_pilot
from ..planning.defaults import plan as make_plan
from ..planning.forecast import NUM_POINTS, Foresight, Measurement, PilotMeasured, extrapolated
from ..planning.restart_sizes import measured
from ..planning.smoothness import (
    NUM_COARSE,
    NUM_FINE,
    Spectrum,
    products_of_spectrum,
    spectrum,
    valleys,
)
from ..planning.theory import check_probability, theory_plan
from ..planning.tolerance import check_tolerance
from ..samplers.methods import duplicated_restart
from ..target.checks import as_count, checked_target, typed_key
from ..target.flat import bind, dimension, ravel_ensemble, standardised, to_standard
from ..types import Array, ArrayTree, LogDensityFn, PRNGKey
from .checkpoint import nowhere
from .run import bound_programs, check_prepared, prepare_key, trial_key


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
    points = to_standard(location, scale, jnp.concatenate([points, between]))
    return spectrum(vector_key, standardised(density, location, scale), points)


def forecast(
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

    >>> forecast(jax.random.key(0), lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(1), tolerance=2.0)
    Traceback (most recent call last):
    ValueError: tolerance=2.0 must lie between 0 and 1: it is a total variation distance. ...

    Reference: Huang et al. (2024), arXiv 2307.02037, Theorem 1, with constants of our own.
    """
    if tolerance is None:
        raise TypeError("tolerance must be a number in (0, 1), but got None. 0.1 is usual.")
    check_tolerance(tolerance, None)
    check_probability("failure", failure)
    num_samples = as_count(num_samples)
    key = typed_key(rng_key)
    position, known, can_climb = checked_target(logdensity_fn, position, data, known_positions)
    dim = dimension(position)
    static = make_plan(
        dim=dim,
        num_samples=num_samples,
        num_replicates=num_replicates,
        max_evals=max_evals,
        pilot=default_pilot(can_climb),
        has_gradient=can_climb,
        has_tolerance=True,
    )
    rung = static.sizes
    assert rung is not None
    run_key = trial_key(key, 0, 0)
    programs = bound_programs(logdensity_fn, position, data, known, mesh=None, store=nowhere)
    prepared = programs.prepare("", prepare_key(key, 0), static.recipe)
    check_prepared(prepared)
    method = duplicated_restart(rung, 1, rung.num_temperatures)
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
    ahead = extrapolated(
        measurement,
        rung,
        tolerance=tolerance,
        num_pool=num_pool,
        num_prepared=prepared_evals,
        num_replicates=static.num_replicates,
        num_ensembles=static.recipe.num_ensembles,
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
