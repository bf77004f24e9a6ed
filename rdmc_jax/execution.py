"""Run a plan on the host: replicates, their ensembles in chunks, and the record of them."""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import diagnostics
from .border import ravel_ensemble
from .budget import chosen_method
from .compose import Method
from .core import Plan, Prepared, Result, ensemble, prepare
from .coverage import Coverage, coverage
from .draws import Draws
from .generations import Refined
from .limits import kl_limit, tv_limit
from .progress import reporter
from .types import ArrayTree, Evaluations, LogDensityFn, PRNGKey

DISCARDED = 2**32 - 1
"""Folded into the key of the first replicate for the ensemble that decides the budget."""

RunFn = Callable[[int, int, Prepared, Method], Result]
Refiner = Callable[[list[Prepared], RunFn], Refined]
"""Makes better pools and a method out of the first ones, by ensembles that are thrown away."""

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
    refined: Refiner | None = None,
    chunk_size: int | None = None,
    progress: bool = False,
) -> Draws:
    """Run a plan on the host: replicates, their ensembles in chunks, and the record.

    Given the method, draws of ensemble e of replicate r depend on its pool, of key
    ``fold_in(fold_in(key, r), 0)``, and on ``fold_in(fold_in(key, r), e + 1)`` only: the first
    ensembles stay the same when more are asked for. Ctrl-C returns what is finished.
    """
    begin = time.perf_counter()
    side = _chunks(plan.num_ensembles, plan.num_particles, chunk_size)
    parts: list[tuple[int, Result]] = []
    prepares: list[Prepared] = []
    discarded: list[Result] = []
    # counts of draws are not part of the pilot's program
    shape = plan._replace(num_replicates=0, num_ensembles=0, reason="", max_evals=None, richer=())
    complete = True

    def prepared_of(replicate_key: PRNGKey) -> Prepared:
        pilot_key = jax.random.fold_in(replicate_key, 0)
        prepared = _prepare(pilot_key, logdensity_fn, position, data, known, plan=shape)
        prepares.append(jax.device_get(prepared))
        _check_prepared(prepares[-1])
        return prepared

    def thrown_away(replicate: int, number: int, prepared: Prepared, method: Method) -> Result:
        replicate_key = jax.random.fold_in(key, replicate)
        own = jax.random.fold_in(jax.random.fold_in(replicate_key, DISCARDED), number)[None]
        trial = _ensembles(own, logdensity_fn, position, data, prepared, method=method)
        return jax.device_get(jax.tree.map(lambda leaf: leaf[0], trial))

    def results() -> Iterator[tuple[int, Result]]:
        nonlocal plan
        better: list[Prepared] = []
        if refined is not None:
            made = [prepared_of(jax.random.fold_in(key, k)) for k in range(plan.num_replicates)]
            found = refined(made, thrown_away)
            better = found.prepares
            discarded.extend(found.discarded)
            plan = plan._replace(method=found.method, accuracy=found.accuracy)
        for replicate in range(plan.num_replicates):
            replicate_key = jax.random.fold_in(key, replicate)
            prepared = better[replicate] if better else prepared_of(replicate_key)
            if plan.richer and not discarded and not better:
                keys = jax.random.fold_in(replicate_key, DISCARDED)[None]
                trial = _ensembles(
                    keys, logdensity_fn, position, data, prepared, method=plan.method
                )
                discarded.append(jax.device_get(jax.tree.map(lambda leaf: leaf[0], trial)))
                method, measured = chosen_method(plan, discarded[0])
                plan = plan._replace(method=method, reason=f"{plan.reason}; {measured}")
            for first in range(0, plan.num_ensembles, side):
                # the last chunk may be smaller, and is then a program of its own: none of it is
                # thrown away
                last = min(first + side, plan.num_ensembles)
                numbers = jnp.arange(first, last) + 1
                keys = jax.vmap(functools.partial(jax.random.fold_in, replicate_key))(numbers)
                chunk = jax.device_get(
                    _ensembles(keys, logdensity_fn, position, data, prepared, method=plan.method)
                )
                for k in range(last - first):
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
    seconds = time.perf_counter() - begin
    return assemble(parts, prepares, discarded, num_samples, plan, complete, seconds)


def _shares(num_samples: int, plan: Plan) -> list[int]:
    """Draws of each replicate: equal, the last takes the rest of the division."""
    each = num_samples // plan.num_replicates
    return [each] * (plan.num_replicates - 1) + [num_samples - each * (plan.num_replicates - 1)]


def _coverage(
    position: ArrayTree, log_weight: np.ndarray, replicate: np.ndarray, prepares: list[Prepared]
) -> Coverage:
    """Of the generators of the pools, averaged over the replicates that have draws."""
    x = np.asarray(ravel_ensemble(position))
    found = []
    for label in np.unique(replicate):
        one, is_own = prepares[label], replicate == label
        u = (x[is_own] - one.location[None, :]) / one.scale[None, :]
        w = diagnostics.relative_weights(log_weight[is_own])
        pool = one.pool
        found.append(coverage(u, w / np.sum(w), pool.position, pool.log_weight, pool.origin))
    return Coverage(
        np.mean([one.unseen for one in found], axis=0), float(np.mean([one.alone for one in found]))
    )


def assemble(
    parts: list[tuple[int, Result]],
    prepares: list[Prepared],
    discarded: list[Result],
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
    broken = np.isnan(log_weight) & weighted
    log_weight = np.where(broken, -np.inf, log_weight) if weighted else np.zeros_like(log_weight)
    infos = [result.info for _, result in parts]

    def total(counts: list[Any]) -> int:
        return int(sum(int(np.sum(np.asarray(c, np.int64))) for c in counts))

    pools = [one.pool for one in prepares]
    seen = _coverage(position, log_weight, labels, prepares) if weighted else None
    spent = infos + [result.info for result in discarded]
    counts = [i.num_evals for i in spent] + [p.num_evals for p in pools]
    evals = Evaluations(
        total([count.logdensity for count in counts]), total([count.gradient for count in counts])
    )
    bad = total([i.num_nonfinite for i in spent] + [p.num_nonfinite for p in pools])
    mean = jax.tree.map(lambda *leaves: np.mean(np.stack(leaves), axis=0), *infos)
    counts_of = [(info.num_evals, info.num_nonfinite) for info in infos]
    evaluated, nonfinite = jax.tree.map(
        lambda *leaves: np.sum(np.stack(leaves), axis=0, dtype=np.int64), *counts_of
    )
    mean = mean._replace(num_evals=evaluated, num_nonfinite=nonfinite)
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
        tv_limit=tv_limit(log_weight, labels).upper if weighted else nan,
        kl_limit=kl_limit(log_weight, labels).upper if weighted else nan,
        num_evals=evals,
        num_nonfinite=bad,
        plan=plan,
        complete=complete,
        weighted=weighted,
        seconds=seconds,
        largest_logdensity=largest,
        coverage=seen,
        num_broken=int(np.sum(broken)),
    )
