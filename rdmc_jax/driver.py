"""The host's side of a run: checks, keys, the loop over ensembles, and the record."""

import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import diagnostics
from .border import check_position, checked_value, dimension
from .core import PilotSize, Plan, Prepared, Result, ensemble, prepare
from .draws import Draws
from .planning import make_plan
from .progress import reporter
from .sampler import Method
from .types import ArrayTree, Evaluations, LogDensityFn, PRNGKey

_value = jax.jit(checked_value, static_argnames="logdensity_fn")
_prepare = jax.jit(prepare, static_argnames=("logdensity_fn", "plan"))


@functools.partial(jax.jit, static_argnames=("logdensity_fn", "method"))
def _ensembles(
    rng_keys: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    prepared: Prepared,
    *,
    method: Method,
) -> Result:
    """Several ensembles of one replicate side by side."""
    return jax.vmap(
        lambda key: ensemble(key, logdensity_fn, position, data, prepared, method=method)
    )(rng_keys)


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


def checked_example(logdensity_fn: LogDensityFn, position: ArrayTree, data: Any) -> ArrayTree:
    """The example position as arrays, after all checks of it and of the density there.

    The density is called under jit, so that a second run with the same function traces nothing.

    Raises:
        TypeError: for leaves or a density of a wrong type or shape.
        ValueError: for an empty position, or values that are not numbers.
    """
    check_position(position)
    position = jax.tree.map(jnp.asarray, position)
    for path, leaf in jax.tree_util.tree_leaves_with_path(position):
        bad = np.asarray(leaf)[~np.isfinite(np.asarray(leaf))]
        if bad.size:
            raise ValueError(
                f"position leaf {jax.tree_util.keystr(path) or 'position'} holds {bad.flat[0]}: "
                "the example position must be finite. Zeros will do if nothing is known."
            )
    value = float(_value(logdensity_fn, position, data))
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
    disagreement is evidence.

    Args:
        rng_key: ``jax.random.key(0)``; raw uint32 keys are accepted.
        logdensity_fn: ``logdensity_fn(position)`` or ``logdensity_fn(position, data)``, the log
            density of one point up to a constant. Pass the same function object again to reuse
            the compiled program.
        position: example position, a PyTree of float arrays or scalars: it gives structure,
            shapes, dtype and the pilot's first guess.
        num_samples: output draws in total.
        data: dynamic PyTree passed to the density; new values never recompile.
        tolerance: not yet.
        method: explicit ``rdmc(...)`` composition; None for the automatic choice.
        known_positions: points that you know (modes, old draws), with a leading axis; they join
            the pool, and are starts of the pilot.
        max_evals: cap on evaluations per output draw, pilot included, for the automatic choice.
        num_replicates: independent runs, for honest errors; 4 by default, 2 below 4,000 draws.
        chunk_size: particles that run side by side; changes memory and speed only.
        mesh: not yet.
        progress: show a line or bar per chunk.
        checkpoint: not yet.

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
    for name, value in (("tolerance", tolerance), ("mesh", mesh), ("checkpoint", checkpoint)):
        if value is not None:
            raise ValueError(f"{name}={value!r} is not supported yet. Leave it out.")
    key = typed_key(rng_key)
    position = checked_example(logdensity_fn, position, data)
    plan = make_plan(
        dim=dimension(position),
        num_samples=int(num_samples),
        num_replicates=num_replicates,
        method=method,
        max_evals=max_evals,
        pilot_size=PilotSize(),
    )
    known = _known(known_positions, position)
    return run_plan(
        key,
        logdensity_fn,
        position,
        int(num_samples),
        plan,
        data=data,
        known=known,
        chunk_size=chunk_size,
        progress=progress,
    )


def _known(known: ArrayTree | None, position: ArrayTree) -> ArrayTree | None:
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
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), known, position)


def _check_prepared(prepared: Prepared) -> None:
    low, high = prepared.logdensity_range
    if low > high:
        raise ValueError(
            "logdensity_fn is not finite anywhere the pilot looked around the example position "
            f"({int(prepared.pool.num_nonfinite)} values were nan, infinite or -inf). Pass a "
            "position, or known_positions, where the density is positive."
        )


def _chunks(num_ensembles: int, num_particles: int, chunk_size: int | None) -> int:
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1 particle, but got {chunk_size}.")
    return min(num_ensembles, max(1, (chunk_size or num_particles) // num_particles))


def run_plan(
    key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    num_samples: int,
    plan: Plan,
    *,
    data: Any = None,
    known: ArrayTree | None = None,
    chunk_size: int | None = None,
    progress: bool = False,
) -> Draws:
    """Run a plan on the host: replicates, their ensembles in chunks, and the record.

    Draws of ensemble e of replicate r depend on ``fold_in(fold_in(key, r), e + 1)`` only, so the
    first draws stay the same when more are asked for. Ctrl-C returns what is finished.
    """
    begin = time.perf_counter()
    side = _chunks(plan.num_ensembles, plan.num_particles, chunk_size)
    parts: list[tuple[int, Result]] = []
    prepares: list[Prepared] = []
    # counts of draws are not part of the pilot's program
    shape = plan._replace(num_replicates=0, num_ensembles=0, reason="")
    complete = True

    def results() -> Iterator[tuple[int, Result]]:
        for replicate in range(plan.num_replicates):
            replicate_key = jax.random.fold_in(key, replicate)
            pilot_key = jax.random.fold_in(replicate_key, 0)
            prepared = _prepare(pilot_key, logdensity_fn, position, data, known, plan=shape)
            prepares.append(jax.device_get(prepared))
            _check_prepared(prepares[-1])
            for first in range(0, plan.num_ensembles, side):
                # the last chunk is filled up, so that every chunk has the same shape
                numbers = jnp.arange(first, first + side) + 1
                keys = jax.vmap(functools.partial(jax.random.fold_in, replicate_key))(numbers)
                chunk = jax.device_get(
                    _ensembles(keys, logdensity_fn, position, data, prepared, method=plan.method)
                )
                for k in range(min(side, plan.num_ensembles - first)):
                    yield replicate, jax.tree.map(lambda leaf, k=k: leaf[k], chunk)

    total = plan.num_replicates * plan.num_ensembles
    with reporter(progress, total) as report:
        try:
            for part in results():
                parts.append(part)
                report(parts)
        except KeyboardInterrupt:
            if not parts:
                raise
            complete = False
    return assemble(parts, prepares, num_samples, plan, complete, time.perf_counter() - begin)


def _shares(num_samples: int, plan: Plan) -> list[int]:
    """Draws of each replicate: equal, the last takes the rest of the division."""
    each = num_samples // plan.num_replicates
    return [each] * (plan.num_replicates - 1) + [num_samples - each * (plan.num_replicates - 1)]


def assemble(
    parts: list[tuple[int, Result]],
    prepares: list[Prepared],
    num_samples: int,
    plan: Plan,
    complete: bool,
    seconds: float,
) -> Draws:
    """Put the ensembles' results together."""
    shares = _shares(num_samples, plan)
    left = list(shares)
    positions, weights, replicates = [], [], []
    for replicate, result in parts:
        take = min(left[replicate], result.log_weight.shape[0])
        left[replicate] -= take
        positions.append(jax.tree.map(lambda leaf, take=take: leaf[:take], result.position))
        weights.append(result.log_weight[:take])
        replicates.append(np.full(take, replicate, np.int32))
    position = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *positions)
    log_weight, labels = np.concatenate(weights), np.concatenate(replicates)
    weighted = not bool(np.all(np.isnan(log_weight)))
    log_weight = log_weight if weighted else np.zeros_like(log_weight)
    infos = [result.info for _, result in parts]

    def total(counts: list[Any]) -> int:
        return int(sum(int(np.sum(np.asarray(c, np.int64))) for c in counts))

    pools = [one.pool for one in prepares]
    counts = [i.num_evals for i in infos] + [p.num_evals for p in pools]
    evals = Evaluations(
        total([count.logdensity for count in counts]), total([count.gradient for count in counts])
    )
    bad = total([i.num_nonfinite for i in infos] + [p.num_nonfinite for p in pools])
    mean = jax.tree.map(lambda *leaves: np.mean(np.stack(leaves), axis=0), *infos)
    ranges = np.abs(np.stack([one.logdensity_range for one in prepares]))
    largest = float(np.max(np.where(np.isfinite(ranges), ranges, 0.0)))
    nan = float("nan")
    return Draws(
        position=position,
        log_weight=jnp.asarray(log_weight),
        replicate=jnp.asarray(labels),
        info=mean,
        log_normalizer=diagnostics.log_mean_exp(log_weight) if weighted else nan,
        log_normalizer_error=(
            diagnostics.log_normalizer_error(log_weight, labels) if weighted else nan
        ),
        tv_bound=diagnostics.tv_bound(log_weight) if weighted else nan,
        kl_bound=diagnostics.kl_bound(log_weight) if weighted else nan,
        num_evals=evals,
        num_nonfinite=bad,
        plan=plan,
        complete=complete,
        weighted=weighted,
        seconds=seconds,
        largest_logdensity=largest,
    )
