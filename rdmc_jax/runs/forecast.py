"""`forecast`: predict what a run will need, from discarded draws."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..montecarlo.resampling import comb
from ..montecarlo.weights import relative_weights
from ..planning.defaults import default_pilot
from ..planning.defaults import plan as make_plan
from ..planning.forecast import Forecast, predicted
from ..planning.mixture_sizes import Sizes, measured
from ..planning.tolerance import check_tolerance, spent_on
from ..samplers.core import FIT_KEY
from ..target.checks import as_count, checked_target, typed_key
from ..target.flat import bind, dimension, ravel_ensemble
from ..target.programs import compiled
from ..types import Array, ArrayTree, LogDensityFn, PRNGKey
from .checkpoint import nowhere
from .run import bound_programs, check_prepared, prepare_key, trial_key

NUM_POINTS = 64
"""Number of draws at which curvature is measured, and of segments between them."""
NUM_FRACTIONS = 65
"""Points of a segment; curvature is measured at the one of lowest density."""
MAX_DIM = 128
"""Largest dimension in which Hessians are computed."""


@compiled
def curvatures(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any, points: Array) -> Array:
    """Compute the eigenvalues of ``-∇² log π`` at points and in the valleys between them.

    The log density of a mixture may be concave in its modes and convex between them. So eigenvalues
    are computed at the points, and at the point of lowest positive density on each segment from one
    to the next. They are not a bound: elsewhere the density may be more curved.

    Args:
        logdensity_fn: the user's density.
        position: example position.
        data: passed to the density if not None.
        points: flat, shape (num_points, dim).

    Returns:
        Shape (2 num_points, dim), ascending in each row; Hessian entries that are not finite count
        as zero.
    """
    density = bind(logdensity_fn, position, data).logdensity_fn
    fractions = jnp.linspace(0.0, 1.0, NUM_FRACTIONS, dtype=points.dtype)[:, None]

    def valley(a: Array, b: Array) -> Array:
        along = a[None, :] + fractions * (b - a)[None, :]
        value = jax.vmap(density)(along)
        return along[jnp.argmin(jnp.where(jnp.isfinite(value), value, jnp.inf))]

    def spectrum(x: Array) -> Array:
        # reverse mode twice: densities with a custom derivative may have no other mode
        hessian = jax.jacrev(jax.grad(density))(x)
        return jnp.linalg.eigvalsh(-jnp.where(jnp.isfinite(hessian), hessian, 0.0))

    between = jax.vmap(valley)(points, jnp.roll(points, 1, axis=0))
    return jax.lax.map(spectrum, jnp.concatenate([points, between]))


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
) -> Forecast:
    """Predict what a run of `sample` will need for a tolerance, without the run.

    One pilot, one pool, one fit and one ensemble are made and discarded. They are like those of one
    replicate with which ``sample(rng_key, ..., tolerance=...)`` would begin. The relative variance
    of the weights is extrapolated to the tolerance.

    Their weighted draws also measure the constants of a theorem on the published algorithm, which
    gives sufficient sizes by ``theory_plan(found.tolerance, dim=found.dim,
    smoothness=found.smoothness, second_moment=found.second_moment, convexity=found.convexity)`` of
    `rdmc_jax.planning.theory`. The notebook on theory and forecast compares both.

    Args:
        rng_key: ``jax.random.key(0)``.
        logdensity_fn: as in `sample`.
        position: as in `sample`.
        data: passed to the density if not None.
        tolerance: total variation that the law of an unweighted draw may have from the target.
        num_samples: output draws of the run.
        known_positions: as in `sample`.
        max_evals: cap on all evaluations of the run.
        num_replicates: replicates of the run, as in `sample`.

    Returns:
        `Forecast`. Its curvature is nan without gradients and above 128 dimensions.

    Raises:
        TypeError: for a density, position or key of a wrong type or shape.
        ValueError: for options out of range.

    Not a certificate. The numbers hold for what the pilot saw. One ensemble cannot show how pools
    differ; the replicates of a run can.

    >>> forecast(jax.random.key(0), lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(1), tolerance=2.0)
    Traceback (most recent call last):
    ValueError: tolerance=2.0 must lie between 0 and 1: it is a total variation distance. ...
    """
    if tolerance is None:
        raise TypeError("tolerance must be a number in (0, 1), but got None. 0.1 is usual.")
    check_tolerance(tolerance, None)
    num_samples = as_count(num_samples)
    key = typed_key(rng_key)
    position, known, can_climb = checked_target(logdensity_fn, position, data, known_positions)
    dim = dimension(position)
    plan = make_plan(
        dim=dim,
        num_samples=num_samples,
        num_replicates=num_replicates,
        max_evals=max_evals,
        pilot=default_pilot(can_climb),
        has_gradient=can_climb,
    )
    # the keys are those of the first replicate of a run
    programs = bound_programs(logdensity_fn, position, data, known, mesh=None, store=nowhere)
    prepared = programs.prepare("", prepare_key(key, 0), plan.recipe)
    check_prepared(prepared)
    fit_key = jax.random.fold_in(prepare_key(key, 0), FIT_KEY)
    method = plan.recipe.method
    prepared = programs.fit("", fit_key, prepared, method)
    result = programs.ensembles([""], trial_key(key, 0, 0)[None], prepared, method)[0]
    log_weight = np.where(np.isnan(result.log_weight), -np.inf, result.log_weight)
    x, w = np.asarray(ravel_ensemble(result.position)), relative_weights(log_weight)
    num_prepared = int(max(prepared.pool.num_evals))
    num_evals = num_prepared + spent_on(result)
    smoothness = convexity = float("nan")
    if can_climb and dim <= MAX_DIM:
        # in random order, so that segments lead from mode to mode
        chosen = np.random.default_rng(0).permutation(comb(w, NUM_POINTS))
        found = np.asarray(curvatures(logdensity_fn, position, data, jnp.asarray(x[chosen])))
        smoothness, convexity = float(np.max(np.abs(found))), float(np.min(found))
        num_evals += NUM_POINTS * (NUM_FRACTIONS + 2 * dim)
    one = measured([log_weight], Sizes(1, 0), spent_on(result))
    ahead = predicted(
        one,
        tolerance=tolerance,
        num_prepared=num_prepared,
        num_replicates=plan.num_replicates,
        num_ensembles=plan.recipe.num_ensembles,
        num_samples=num_samples,
        max_evals=max_evals,
    )
    return Forecast(
        float(tolerance),
        num_samples,
        dim,
        *_moments(x, w),
        smoothness,
        convexity,
        prepared.pool.position.shape[0],
        one,
        ahead,
        num_evals,
        plan,
    )


def _moments(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Estimate mean, standard deviation, second moment and its error from weighted draws."""
    x, share = x.astype(np.float64), w[:, None] / np.sum(w)
    location = np.sum(share * x, axis=0)
    scale = np.sqrt(np.sum(share * (x - location) ** 2, axis=0))
    squares = np.sum(x**2, axis=1)
    moment = float(np.sum(share[:, 0] * squares))
    error = float(np.sqrt(np.sum((share[:, 0] * (squares - moment)) ** 2)))
    return location, np.where(scale > 0, scale, 1.0), moment, error
