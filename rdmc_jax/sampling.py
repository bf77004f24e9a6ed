"""`sample` and `paper`, which the user calls: check the input, make the plan, run it."""

import functools
from typing import Any

from .draws.draws import Draws
from .draws.plan import Plan
from .planning import defaults
from .planning.defaults import default_pilot
from .planning.level_sizes import LevelLadder
from .planning.mixture_sizes import MixtureLadder
from .planning.tolerance import check_tolerance
from .runs.devices import automatic_chunk, check_mesh
from .runs.run import LadderFn, SizeSearch, run_plan
from .samplers.methods import Schedule, published
from .samplers.sampler import check_method
from .target.checks import as_count, checked_example, checked_target, typed_key
from .target.flat import dimension
from .types import ArrayTree, LogDensityFn, Method, PRNGKey


def sample(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    num_samples: int,
    *,
    data: Any = None,
    tolerance: float | None = None,
    method: Method | None = None,
    known_positions: ArrayTree | None = None,
    max_evals: float | None = None,
    search_evals: float | None = None,
    num_replicates: int | None = None,
    chunk_size: int | None = None,
    mesh: Any = None,
    progress: bool = False,
    checkpoint: Any = None,
) -> Draws:
    """Draw weighted samples of an unnormalised density by reverse diffusion Monte Carlo.

    A pilot finds location and scale, and with tempered SMC a pool of points. The noised pool's
    denoising posteriors are a mixture of Gaussians, which discarded rounds fit to the target. Draws
    of the mixture get exact weights, at one evaluation each. Each replicate searches on its own and
    fits a mixture of its own, so that disagreement between replicates shows errors. Their pools are
    joined, and as long as one search has a tenth of its points where no other has any, there are
    further ones, two for each replicate at most (finding R116 if that is not enough).

    Discarded draws of the mixture show how unequal its weights are. Where fewer than a third of the
    draws would be effective, each draw has more candidates, or temperatures from the mixture to the
    target. Where the weights have a heavy tail, particles of a larger noised pool are annealed to
    the target. Densities that JAX cannot differentiate are sampled in the same way, without
    gradients.

    Args:
        rng_key: ``jax.random.key(0)``; raw uint32 keys are accepted.
        logdensity_fn: ``logdensity_fn(position)`` or ``logdensity_fn(position, data)``, the log
            density of one point up to a constant. Pass the same function object again to reuse
            the compiled program.
        position: example position, a PyTree of float arrays or scalars: it gives structure,
            shapes, dtype and the pilot's first guess.
        num_samples: output draws in total.
        data: dynamic PyTree passed to the density; new values never recompile.
        tolerance: total variation that the law of an unweighted draw may have from the target, in
            (0, 1). Trial runs with more candidates and temperatures are discarded until the upper
            95 % limit of their ``tv_bound`` meets it, or ``max_evals`` is reached; see
            ``draws.plan.accuracy``.
        method: explicit ``rdmc(...)`` composition; None for the automatic choice.
        known_positions: points that you know (modes, old draws), with a leading axis; they are
            added to the pool, and the pilot starts from them, too.
        max_evals: cap on all evaluations of the run, for the automatic choice and for what a
            tolerance adds to the pilot and first sizes of a method of your own. A value with its
            gradient counts as one.
        search_evals: evaluations that are spent on looking for modes, by all pilots together, from
            about a thousand on; for the automatic choice. By default the number depends on the
            dimension, and grows as long as something new is met. More find narrower modes: see
            ``draws.detection_limit``.
        num_replicates: independent runs, whose scatter checks the errors; 4 by default, 2 below
            4,000 draws.
        chunk_size: particles that run side by side; changes memory and speed only. By default one
            ensemble on CPUs, and on accelerators the ensembles that a quarter of the memory holds.
        mesh: devices, as a ``jax.sharding.Mesh`` with an axis ``"replicates"`` (independent
            ensembles) or ``"particles"`` or both; for clusters see `rdmc_jax.runs.devices`.
        progress: whether to show a line or bar per chunk, and a line for each trial of a tolerance.
        checkpoint: path of a folder for finished parts. The same call resumes there, and gives
            the draws of a run that was never stopped; a call for another run is refused. A density
            is the same if it returns the same, up to rounding, at fixed points around ``position``
            and at up to 256 points of each replicate's pool; these evaluations are not counted.
            A change only where the run has no point goes unnoticed. Methods are compared by their
            `repr`, where functions are named only: two lambdas look alike.

    Returns:
        `Draws`.

    Raises:
        TypeError: for a density, position or key of a wrong type or shape.
        ValueError: for options out of range.

    Not for unimodal, well-scaled posteriors in many dimensions: NUTS is cheaper there. Modes that
    neither the pilot nor any source of the pool finds are missed, and no number of the run shows
    that.

    >>> import jax, jax.numpy as jnp
    >>> draws = sample(jax.random.key(0), lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(1), 2000)
    >>> abs(draws.log_normalizer - 0.919) < 0.05  # log √(2π)
    True
    >>> mean, error = draws.expectation(lambda x: x[0])
    >>> bool(abs(mean) < 4 * error)
    True

    Reference: Huang et al. (2024), arXiv 2307.02037.
    """
    check_method(method, max_evals, tolerance)
    if method is not None and search_evals is not None:
        raise ValueError(
            f"search_evals={search_evals} is for the automatic choice, but a method was given. "
            "Leave one of the two out."
        )
    check_tolerance(tolerance, method)
    num_samples = as_count(num_samples)
    key = typed_key(rng_key)
    position, known, can_climb = checked_target(logdensity_fn, position, data, known_positions)
    plan = defaults.plan(
        dim=dimension(position),
        num_samples=num_samples,
        num_replicates=num_replicates,
        method=method,
        max_evals=max_evals,
        pilot=default_pilot(can_climb),
        has_gradient=can_climb,
        search_evals=search_evals,
    )
    search = None
    if method is None or tolerance is not None:
        search = SizeSearch(tolerance, _ladder(plan, method, dimension(position)))
    if mesh is not None:
        check_mesh(mesh, plan.num_particles)
    if chunk_size is None:
        chunk_size = automatic_chunk(
            logdensity_fn,
            position,
            data,
            num_particles=plan.num_particles,
            has_gradient=can_climb,
            mesh=mesh,
        )
    return run_plan(
        key,
        logdensity_fn,
        position,
        num_samples,
        plan,
        data=data,
        known=known,
        search=search,
        chunk_size=chunk_size,
        mesh=mesh,
        progress=progress,
        checkpoint=checkpoint,
    )


def _ladder(plan: Plan, method: Method | None, dim: int) -> LadderFn:
    """Choose what grows: the composition given, or the mixture draws of the plan."""
    num_ensembles = plan.recipe.num_ensembles
    if method is not None:
        return lambda prepares, run, _: LevelLadder(
            prepares, run, method=method, num_ensembles=num_ensembles
        )
    assert plan.sizes is not None
    return functools.partial(
        MixtureLadder,
        sizes=plan.sizes,
        num_ensembles=num_ensembles,
        larger_evals=defaults.larger_search_evals(plan.sizes, dim),
    )


def paper(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    num_samples: int,
    *,
    horizon: float = 0.357,
    num_levels: int = 32,
    num_chains: int = 16,
    num_steps: int | Schedule = 16,
    step_size: float | Schedule = 0.01,
    num_importance: int = 128,
    num_start_steps: int = 32,
    start_step_size: float = 0.1,
    start_scale: float = 1.0,
    num_replicates: int | None = None,
    data: object = None,
    chunk_size: int | None = None,
    progress: bool = False,
) -> Draws:
    """Draw samples by reverse diffusion Monte Carlo as published, for comparison and teaching.

    Ornstein-Uhlenbeck process on a uniform time grid, exponential integrator ``x ← e^η x +
    2(e^η - 1) score + √(e^{2η} - 1) ξ``. Scores follow from posterior means by Tweedie's formula.
    Posterior means are averages over the ends of unadjusted Langevin chains, which begin at
    importance-resampled proposals. The first points come from Langevin on p_T with estimated
    scores. There is no pilot: all lengths are those of the user's own coordinates, and the target
    should be centred with scale 1 or more.

    Args:
        rng_key: key.
        logdensity_fn: ``logdensity_fn(position)`` or ``logdensity_fn(position, data)``.
        position: example position, for structure and dtype.
        num_samples: number of draws.
        horizon: T; the paper's experiments use ``exp(-T)`` of 0.7 to 0.95.
        num_levels: K, steps of length ``η = T/K``.
        num_chains: inner chains per particle and level, n of the paper.
        num_steps: inner Langevin steps, or a schedule (function of the level).
        step_size: inner step τ, in squared units of the position, or a schedule (of optax, say).
        num_importance: proposals per particle and level from which the chains begin.
        num_start_steps: Langevin steps on p_T.
        start_step_size: step size of these.
        start_scale: standard deviation of the points at which they begin.
        num_replicates: as in `sample`.
        data: passed to the density if not None.
        chunk_size: as in `sample`.
        progress: as in `sample`.

    Two details differ from the paper; neither changes a law that it states. The chains' starting
    points are drawn from the proposals by systematic resampling, and chains do not enter points of
    zero density.

    Returns:
        `Draws` without weights: the start has no known density, so log Z, its error and the
        bounds are nan. For weights and accuracy use `sample`.

    >>> import jax, jax.numpy as jnp
    >>> draws = paper(jax.random.key(0), lambda x: -0.5 * jnp.sum((x - 1) ** 2), jnp.zeros(1), 64,
    ...               num_levels=4, num_steps=4, num_start_steps=4, num_importance=16)
    >>> draws.weighted, draws.position.shape
    (False, (64, 1))

    Reference: Huang et al. (2024), arXiv 2307.02037, Algorithms 1 and 2.
    """
    num_samples = as_count(num_samples)
    key = typed_key(rng_key)
    position = checked_example(logdensity_fn, position, data)
    share = max(1, num_samples // (num_replicates or (4 if num_samples >= 4000 else 2)))
    method = published(
        num_particles=min(1024, 1 << (share - 1).bit_length()),
        horizon=horizon,
        num_levels=num_levels,
        num_chains=num_chains,
        num_steps=num_steps,
        step_size=step_size,
        num_importance=num_importance,
        num_start_steps=num_start_steps,
        start_step_size=start_step_size,
        start_scale=start_scale,
    )
    plan = defaults.plan(
        dim=dimension(position),
        num_samples=num_samples,
        num_replicates=num_replicates,
        method=method,
        pilot=None,
    )._replace(reason=f"the paper's algorithm, horizon {horizon}, {num_levels} levels")
    return run_plan(
        key,
        logdensity_fn,
        position,
        num_samples,
        plan,
        data=data,
        chunk_size=chunk_size,
        progress=progress,
    )
