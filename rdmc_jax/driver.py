"""`sample`: what the user calls. Checks the input, makes the plan, has it run."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .border import check_position, dimension, value_at
from .compose import Method
from .devices import automatic_chunk, check_mesh
from .draws import Draws
from .execution import run_plan
from .gradient_free import gradient_free_pilot
from .pilot import climbing_pilot
from .planning import make_plan
from .requests import check_tolerance, refiner
from .slopes import has_gradient
from .types import ArrayTree, LogDensityFn, PRNGKey


def typed_key(rng_key: PRNGKey) -> PRNGKey:
    """A typed key; raw uint32 keys are accepted.

    Raises:
        TypeError: if it is neither, for instance a bare seed.
    """
    if isinstance(rng_key, jax.Array) and jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key):
        if rng_key.shape == ():
            return rng_key
    elif hasattr(rng_key, "dtype") and rng_key.dtype == jnp.uint32 and rng_key.ndim == 1:
        return jax.random.wrap_key_data(jnp.asarray(rng_key))
    raise TypeError(
        f"rng_key must be one key, but got {rng_key!r}. Make one with jax.random.key(0)."
    )


def whole(num_samples: int) -> int:
    """The number of draws as a Python int.

    Raises:
        TypeError: if it is not a whole number.
    """
    try:
        return operator.index(num_samples)
    except TypeError:
        raise TypeError(
            f"num_samples must be a whole number of draws, but got {num_samples!r}."
        ) from None


def checked_example(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any) -> ArrayTree:
    """The example position as arrays, after all checks of it and of the density there.

    The density is called under jit, so that a second run with the same function traces nothing.

    Raises:
        TypeError: for leaves or a density of a wrong type or shape.
        ValueError: for an empty position, or values that are not numbers.
    """
    check_position(position)
    try:
        hash(logdensity_fn)
    except TypeError:
        raise TypeError(
            f"logdensity_fn must be hashable, for its compiled program is found by it, but "
            f"{type(logdensity_fn).__name__} is not. Pass a function, or a frozen dataclass."
        ) from None
    # explicit dtypes: a Python float is weakly typed, and that would be another program
    position = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), position)
    for path, leaf in jax.tree_util.tree_leaves_with_path(position):
        bad = np.asarray(leaf)[~np.isfinite(np.asarray(leaf))]
        if bad.size:
            raise ValueError(
                f"position leaf {jax.tree_util.keystr(path) or 'position'} holds {bad.flat[0]}: "
                "the example position must be finite. Zeros will do if nothing is known."
            )
    value = float(value_at(logdensity_fn, position, data))
    if np.isnan(value) or value == np.inf:
        raise ValueError(
            f"logdensity_fn returned {value} at the example position {position!r}. It must be a "
            "number, or -inf for zero density: check it there, or pass another position."
        )
    return position


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
    disagreement is evidence. The automatic method is tried on one ensemble that is thrown away:
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
        max_evals: cap on evaluations per output draw, pilot included, for the automatic choice.
        num_replicates: independent runs, for honest errors; 4 by default, 2 below 4,000 draws.
        chunk_size: particles that run side by side; changes memory and speed only. By default one
            ensemble on CPUs, as many as a quarter of the memory holds on accelerators.
        mesh: devices, as a ``jax.sharding.Mesh`` with an axis ``"replicates"`` (independent
            ensembles) or ``"particles"`` or both; for clusters see `rdmc_jax.devices`.
        progress: show a line or bar per chunk.
        checkpoint: path of a folder for what is finished. The same call resumes there, and gives
            the draws of a run that was never stopped; a call for another run is refused.

    Returns:
        `Draws`.

    Raises:
        TypeError: for a density, position or key of a wrong type or shape.
        ValueError: for options out of range.

    Not for unimodal, well-scaled posteriors in many dimensions: NUTS is cheaper there. Modes that
    neither the pilot nor a pool generator meets are missed, and nothing inside can tell.

    >>> draws = sample(jax.random.key(0), lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(1), 2000)
    >>> abs(draws.log_normalizer - 0.919) < 0.05  # log √(2π)
    True
    >>> mean, error = draws.expectation(lambda x: x[0])
    >>> bool(abs(mean) < 4 * error)
    True

    Reference: Huang et al. (2024), arXiv 2307.02037.
    """
    if method is not None and not isinstance(method, Method):
        raise TypeError(f"method must be made by rdmc(start, levels, finish), but got {method!r}.")
    if method is not None and max_evals is not None and tolerance is None:
        raise ValueError(
            f"max_evals={max_evals} scales the automatic choice and what a tolerance makes grow; "
            "a method of your own costs what its parts say. Leave one of the two out."
        )
    check_tolerance(tolerance, method)
    num_samples = whole(num_samples)
    key = typed_key(rng_key)
    position = checked_example(logdensity_fn, position, data)
    known = checked_known(known_positions, position)
    where = position if known is None else jax.tree.map(lambda leaf: leaf[0], known)
    can_climb = has_gradient(logdensity_fn, where, data)
    plan = make_plan(
        dim=dimension(position),
        num_samples=num_samples,
        num_replicates=num_replicates,
        method=method,
        max_evals=max_evals,
        pilot=climbing_pilot() if can_climb else gradient_free_pilot(),
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


def checked_known(known: ArrayTree | None, position: ArrayTree) -> ArrayTree | None:
    """The points that the user knows as arrays like the position, or None.

    Raises:
        ValueError: for leaves of another shape, or values that are not finite.
    """
    if known is None:
        return None
    shapes = jax.tree.map(lambda leaf: jnp.shape(leaf)[1:], known)
    wanted = jax.tree.map(jnp.shape, position)
    counts = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(known)}
    if shapes != wanted or len(counts) != 1 or counts == {0}:
        got = jax.tree.map(jnp.shape, known)
        raise ValueError(
            f"known_positions must be like position with one leading axis: expected leaves "
            f"(num_known, ...) over {wanted}, but got {got}."
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(known):
        if not np.all(np.isfinite(np.asarray(leaf))):
            raise ValueError(
                f"known_positions leaf {jax.tree_util.keystr(path) or 'known_positions'} holds nan "
                "or infinite values: all points must be finite. Leave the others out."
            )
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), known, position)
