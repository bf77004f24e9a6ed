"""Run a plan on the host: replicates, their ensembles in chunks, and the record of them."""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from .assembly import assemble
from .budget import chosen_method
from .checkpoint import nowhere, open_checkpoint
from .compose import Method
from .core import Plan, Prepared, Result
from .draws import Draws
from .generations import Refined, RunFn
from .progress import reporter
from .sharing import shared
from .stages import stages
from .types import ArrayTree, LogDensityFn, PRNGKey


class Refiner(NamedTuple):
    """Makes better pools and a method out of the first ones, by ensembles that are thrown away."""

    tolerance: float
    refine: Callable[[list[Prepared], RunFn, Callable[[str], None]], Refined]


DISCARDED = 2**32 - 1
"""Folded into the key of the first replicate for the ensemble that decides the budget."""


def check_prepared(prepared: Prepared) -> None:
    """Check what a pilot found.

    Raises:
        ValueError: if the density was finite nowhere.
    """
    low, high = prepared.logdensity_range
    if low > high:
        raise ValueError(
            "logdensity_fn is not finite anywhere the pilot looked around the example position "
            f"({int(prepared.pool.num_nonfinite)} values were nan, infinite or -inf). Pass a "
            "position, or known_positions, where the density is positive."
        )


def pilot_shape(plan: Plan) -> Plan:
    """A plan without what is no part of the pilot's program, so that it compiles once."""
    return plan._replace(num_replicates=0, num_ensembles=0, reason="", max_evals=None, richer=())


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
    mesh: Mesh | None = None,
    progress: bool = False,
    checkpoint: Any = None,
) -> Draws:
    """Run a plan on the host: replicates, their ensembles in chunks, and the record.

    Given the method, draws of ensemble e of replicate r depend on its pool, of key
    ``fold_in(fold_in(key, r), 0)``, and on ``fold_in(fold_in(key, r), e + 1)`` only: the first
    ensembles stay the same when more are asked for. All pools are made before any draw, so that a
    replicate whose pool lacks what another one's saw can have that too (`sharing`). Ctrl-C returns
    what is finished. With a checkpoint every preparation and ensemble is looked up there before it
    is run.
    """
    begin = time.perf_counter()
    side = _chunks(plan.num_ensembles, plan.num_particles, chunk_size)
    parts: list[tuple[int, Result]] = []
    prepares: list[Prepared] = []
    discarded: list[Result] = []
    shape = pilot_shape(plan)
    complete = True
    store = nowhere
    if checkpoint is not None:
        config = {"num_samples": num_samples, "known_positions": known, "plan": plan}
        config["tolerance"] = None if refined is None else refined.tolerance
        store = open_checkpoint(checkpoint, key, logdensity_fn, position, data, config)
    programs = stages(logdensity_fn, position, data, known, mesh=mesh, store=store)

    def prepare(replicate: int) -> None:
        own = jax.random.fold_in(jax.random.fold_in(key, replicate), 0)
        prepares.append(programs.prepare(f"replicate{replicate}", own, shape))
        check_prepared(prepares[-1])

    def thrown_away(replicate: int, number: int, prepared: Prepared, method: Method) -> Result:
        replicate_key = jax.random.fold_in(key, replicate)
        own = jax.random.fold_in(jax.random.fold_in(replicate_key, DISCARDED), number)[None]
        name = f"replicate{replicate}-pilot{number}"
        return programs.ensembles([name], own, prepared, method)[0]

    def results() -> Iterator[tuple[int, Result]]:
        nonlocal plan
        for replicate in range(plan.num_replicates):
            prepare(replicate)
        if plan.generator is not None:
            prepares[:], lacking = shared(prepares)
            plan = plan._replace(lacking=lacking)
        used = prepares
        if refined is not None:
            found = refined.refine(prepares, thrown_away, report.generation)
            used = found.prepares
            discarded.extend(found.discarded)
            plan = plan._replace(method=found.method, accuracy=found.accuracy)
        for replicate, prepared in enumerate(used):
            replicate_key = jax.random.fold_in(key, replicate)
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
                names = [f"replicate{replicate}-ensemble{number}" for number in numbers]
                for part in programs.ensembles(names, keys, prepared, plan.method):
                    yield replicate, part

    total = plan.num_replicates * plan.num_ensembles
    with reporter(progress, total) as report:
        try:
            for part in results():
                parts.append(part)
                report.ensembles(parts)
        except KeyboardInterrupt:
            if not parts:
                raise
            complete = False
    seconds = time.perf_counter() - begin
    return assemble(parts, prepares, discarded, num_samples, plan, complete, seconds)
