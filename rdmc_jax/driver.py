"""`sample`: what the user calls. Checks the input, makes the plan, has it run."""

from typing import Any

from .border import dimension
from .checks import check_method, checked_target, typed_key, whole
from .compose import Method
from .devices import automatic_chunk, check_mesh
from .draws import Draws
from .execution import run_plan
from .planning import default_pilot, make_plan
from .requests import check_tolerance, refiner
from .types import ArrayTree, LogDensityFn, PRNGKey


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
    num_replicates: int | None = None,
    chunk_size: int | None = None,
    mesh: Any = None,
    progress: bool = False,
    checkpoint: Any = None,
) -> Draws:
    """Draw weighted samples of an unnormalised density by reverse diffusion Monte Carlo.

    A pilot finds location and scale; then ensembles of particles run the composed method in
    standardised coordinates. Replicates have pilots and pools of their own, so that their
    disagreement is evidence; a pool that lacks what another one saw gets that too, before any draw
    is made (finding R116). The automatic method is tried on one ensemble that is thrown away:
    if the effective sample size of its weights is below half of its draws, the run has 2, 4 or 8
    times as many temperatures. Densities that JAX cannot differentiate are sampled by random walks.

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
            (0, 1): pools and temperatures grow until the upper 95 % limit of ``tv_bound`` of a
            discarded pilot meets it or ``max_evals`` is reached; see ``draws.plan.accuracy``.
        method: explicit ``rdmc(...)`` composition; None for the automatic choice.
        known_positions: points that you know (modes, old draws), with a leading axis; they join
            the pool, and are starts of the pilot.
        max_evals: cap on evaluations per output draw, pilot included, for the automatic choice and
            for what a tolerance adds to the pilot and first sizes of a method of your own.
        num_replicates: independent runs, for honest errors; 4 by default, 2 below 4,000 draws.
        chunk_size: particles that run side by side; changes memory and speed only. By default one
            ensemble on CPUs, as many as a quarter of the memory holds on accelerators.
        mesh: devices, as a ``jax.sharding.Mesh`` with an axis ``"replicates"`` (independent
            ensembles) or ``"particles"`` or both; for clusters see `rdmc_jax.devices`.
        progress: show a line or bar per chunk, and a line for each size that a tolerance makes
            the run try.
        checkpoint: path of a folder for what is finished. The same call resumes there, and gives
            the draws of a run that was never stopped; a call for another run is refused.

    Returns:
        `Draws`.

    Raises:
        TypeError: for a density, position or key of a wrong type or shape.
        ValueError: for options out of range.

    Not for unimodal, well-scaled posteriors in many dimensions: NUTS is cheaper there. Modes that
    neither the pilot nor a pool generator meets are missed, and nothing inside can tell.

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
    check_tolerance(tolerance, method)
    num_samples = whole(num_samples)
    key = typed_key(rng_key)
    position, known, can_climb = checked_target(logdensity_fn, position, data, known_positions)
    plan = make_plan(
        dim=dimension(position),
        num_samples=num_samples,
        num_replicates=num_replicates,
        method=method,
        max_evals=max_evals,
        pilot=default_pilot(can_climb),
        has_gradient=can_climb,
        has_tolerance=tolerance is not None,
    )
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
        refined=refiner(plan, tolerance, method, dimension(position), num_samples, can_climb),
        chunk_size=chunk_size,
        mesh=mesh,
        progress=progress,
        checkpoint=checkpoint,
    )
