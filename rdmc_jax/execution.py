"""Run a plan on the host: replicates, their ensembles in chunks, and the record of them."""

import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from . import diagnostics
from .border import inward, ravel_ensemble
from .budget import chosen_method
from .checkpoint import nowhere, open_checkpoint
from .core import Plan, Prepared, Result
from .coverage import Coverage, coverage
from .draws import Draws
from .progress import reporter
from .stages import stages
from .types import ArrayTree, Evaluations, LogDensityFn, PRNGKey

DISCARDED = 2**32 - 1
"""Folded into the key of the first replicate for the ensemble that decides the budget."""


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
    mesh: Mesh | None = None,
    progress: bool = False,
    checkpoint: Any = None,
) -> Draws:
    """Run a plan on the host: replicates, their ensembles in chunks, and the record.

    Given the method, draws of ensemble e of replicate r depend on its pool, of key
    ``fold_in(fold_in(key, r), 0)``, and on ``fold_in(fold_in(key, r), e + 1)`` only: the first
    ensembles stay the same when more are asked for. Ctrl-C returns what is finished. With a
    checkpoint every preparation and ensemble is looked up there before it is run.
    """
    begin = time.perf_counter()
    side = _chunks(plan.num_ensembles, plan.num_particles, chunk_size)
    parts: list[tuple[int, Result]] = []
    prepares: list[Prepared] = []
    discarded: list[Result] = []
    # counts of draws are not part of the pilot's program
    shape = plan._replace(num_replicates=0, num_ensembles=0, reason="", max_evals=None, richer=())
    complete = True
    store = nowhere
    if checkpoint is not None:
        config = {"num_samples": num_samples, "known_positions": known, "plan": plan}
        store = open_checkpoint(checkpoint, key, logdensity_fn, position, data, config)
    programs = stages(logdensity_fn, position, data, known, mesh=mesh, store=store)

    def results() -> Iterator[tuple[int, Result]]:
        nonlocal plan
        for replicate in range(plan.num_replicates):
            replicate_key, name = jax.random.fold_in(key, replicate), f"replicate{replicate}"
            prepared = programs.prepare(name, jax.random.fold_in(replicate_key, 0), shape)
            prepares.append(prepared)
            _check_prepared(prepared)
            if plan.richer and not discarded:
                keys = jax.random.fold_in(replicate_key, DISCARDED)[None]
                discarded.extend(programs.ensembles(["discarded"], keys, prepared, plan.method))
                method, measured = chosen_method(plan, discarded[0])
                plan = plan._replace(method=method, reason=f"{plan.reason}; {measured}")
            for first in range(0, plan.num_ensembles, side):
                # the last chunk may be smaller, and is then a program of its own: none of it is
                # thrown away
                numbers = range(first, min(first + side, plan.num_ensembles))
                fold_in = functools.partial(jax.random.fold_in, replicate_key)
                keys = jax.vmap(fold_in)(jnp.asarray(numbers) + 1)
                names = [f"{name}-ensemble{number}" for number in numbers]
                for part in programs.ensembles(names, keys, prepared, plan.method):
                    yield replicate, part

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
    x = ravel_ensemble(position)
    found = []
    for label in np.unique(replicate):
        one, is_own = prepares[label], replicate == label
        u = np.asarray(inward(one.location, one.scale, x[is_own]))
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
