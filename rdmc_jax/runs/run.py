"""Run a plan on the host: two compiled programs, replicates in chunks, and the record."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..draws.coverage import Coverage, coverage
from ..draws.detection import Detection
from ..draws.draws import Draws
from ..draws.drift import Density
from ..draws.plan import Plan
from ..montecarlo.weights import (
    kl_bound,
    kl_limit,
    log_mean_exp,
    log_normalizer_error,
    relative_weights,
    tv_bound,
    tv_limit,
)
from ..planning.defaults import at_least, most_evals, pilot_evals, preparation_evals
from ..planning.tolerance import Ladder, PrepareFn, RunFn, search_sizes, with_trials
from ..samplers.core import (
    FIT_KEY,
    EnsembleResult,
    Preparation,
    Recipe,
    ensemble,
    fit,
    prepare,
)
from ..samplers.methods import NUM_PARTICLES
from ..target.flat import ravel_ensemble, to_standard
from ..target.programs import compiled
from ..types import ArrayTree, Evaluations, FittedStart, LogDensityFn, Method, PRNGKey, Runaway
from .checkpoint import Checkpoint, nowhere, open_checkpoint
from .devices import collected, dealt, replicated, spread, vmapped_over
from .exchange import exchange_pools, seen_once, shared_pools
from .progress import reporter

_prepare = compiled(prepare, ("pilot", "method"))
_fit = compiled(fit, ("method",))


@functools.partial(compiled, static=("method", "mesh"))
def _ensembles(
    rng_keys: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    prepared: Preparation,
    *,
    method: Method,
    mesh: Mesh | None = None,
) -> EnsembleResult:
    """Run several ensembles of one replicate side by side."""
    placed = spread(method, mesh)
    results = vmapped_over(mesh)(
        lambda key: ensemble(key, logdensity_fn, position, data, prepared, method=placed)
    )(rng_keys)
    return collected(results, mesh)


class Programs(NamedTuple):
    """The programs of a run, bound to its density; results are on the host."""

    prepare: Callable[[str, PRNGKey, Recipe], Preparation]
    """``(name, rng_key, recipe)``: pilot and pool of one replicate."""
    fit: Callable[[str, PRNGKey, Preparation, Method], Preparation]
    """``(name, rng_key, prepared, method)``: what the start fits to the pool."""
    ensembles: Callable[[list[str], PRNGKey, Preparation, Method], list[EnsembleResult]]
    """``(names, rng_keys, prepared, method)``: one ensemble for each name and key."""


def bound_programs(
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    known: ArrayTree | None,
    *,
    mesh: Mesh | None,
    store: Checkpoint,
) -> Programs:
    """Bind the programs to a density.

    Args:
        logdensity_fn: the user's density.
        position: example position.
        data: passed to the density if not None.
        known: points that the user passed, or None.
        mesh: devices, or None for the default one.
        store: where finished parts are looked up and kept, by name.

    Returns:
        `Programs`. A part that is loaded equals the computed one bit by bit: programs get arrays of
        the host in both cases.
    """
    own, dataset, points = replicated((position, data, known), mesh)

    def prepare_one(name: str, rng_key: PRNGKey, recipe: Recipe) -> Preparation:
        arguments = (replicated(rng_key, mesh), logdensity_fn, own, dataset, points)
        static: dict[str, Any] = {"pilot": recipe.pilot, "method": recipe.method}
        origin = (recipe.pilot, recipe.method)
        found = store.load(name, origin, lambda: _prepare.eval_shape(*arguments, **static))
        if found is None:
            found = jax.device_get(_prepare(*arguments, **static))
            store.save(name, origin, found)
        return found

    def fit_one(name: str, rng_key: PRNGKey, prepared: Preparation, method: Method) -> Preparation:
        placed = replicated((rng_key, prepared), mesh)
        arguments = (placed[0], logdensity_fn, own, dataset, placed[1])
        origin = (method, prepared)
        found = store.load(name, origin, lambda: _fit.eval_shape(*arguments, method=method))
        if found is None:
            found = jax.device_get(_fit(*arguments, method=method))
            store.save(name, origin, found)
        return found

    def several(
        names: list[str], rng_keys: PRNGKey, prepared: Preparation, method: Method
    ) -> list[EnsembleResult]:
        keys = dealt(rng_keys, mesh)
        arguments = (keys, logdensity_fn, own, dataset, replicated(prepared, mesh))

        def shapes() -> EnsembleResult:
            found = _ensembles.eval_shape(*arguments, method=method, mesh=mesh)
            return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), found)

        # enlarged pools and chosen methods follow from other parts, and these may be computed again
        origin = (method, prepared)
        found = [store.load(name, origin, shapes) for name in names]
        have = [part for part in found if part is not None]
        if len(have) == len(names):
            return have
        # all of them, even if some are there: another number would compile another program
        made = jax.device_get(_ensembles(*arguments, method=method, mesh=mesh))
        results = [jax.tree.map(lambda leaf, k=k: leaf[k], made) for k in range(len(names))]
        for name, result in zip(names, results, strict=True):
            store.save(name, origin, result)
        return results

    return Programs(prepare_one, fit_one, several)


def shares_of(num_samples: int, plan: Plan) -> list[int]:
    """Divide the draws among replicates: equally, and the last takes the rest of the division.

    If its ensembles have too few draws for that, the last replicates take one more each.
    """
    each, rest = divmod(num_samples, plan.num_replicates)
    shares = [each] * plan.num_replicates
    if each + rest <= plan.recipe.num_ensembles * plan.num_particles:
        shares[-1] += rest
        return shares
    return shares[:-rest] + [each + 1] * rest


def _coverage(
    position: ArrayTree, log_weight: np.ndarray, replicate: np.ndarray, prepares: list[Preparation]
) -> Coverage:
    """Compute the coverage by the sources of the pools, averaged over replicates with draws."""
    x = ravel_ensemble(position)
    found = []
    for label in np.unique(replicate):
        one, is_own = prepares[label], replicate == label
        u = np.asarray(to_standard(one.location, one.scale, x[is_own]))
        w = relative_weights(log_weight[is_own])
        pool = one.pool
        found.append(coverage(u, w / np.sum(w), pool.position, pool.log_weight, pool.source))
    return Coverage(
        np.mean([one.missed_by_source for one in found], axis=0),
        float(np.mean([one.seen_by_one_source for one in found])),
    )


def assemble(
    parts: list[tuple[int, EnsembleResult]],
    prepares: list[Preparation],
    used: list[Preparation],
    again: list[Preparation],
    discarded: list[EnsembleResult],
    num_samples: int,
    plan: Plan,
    complete: bool,
    seconds: float,
) -> Draws:
    """Join the results of the ensembles to the record of the run."""
    shares = shares_of(num_samples, plan)
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

    pools = [one.pool for one in (*prepares, *again)]
    seen = _coverage(position, log_weight, labels, used) if weighted else None
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
    certified = tv_limit(log_weight, labels).upper if weighted else nan
    injected = [one.injected for one in (*prepares, *again) if one.injected is not None]
    detection = Detection.of(injected) if injected else None
    if plan.accuracy is not None:
        met = plan.accuracy._replace(certified=certified, spent=max(evals))
        plan = plan._replace(accuracy=met)
    return Draws(
        position=position,
        log_weight=jnp.asarray(log_weight),
        replicate=jnp.asarray(labels),
        info=mean,
        log_normalizer=log_mean_exp(log_weight) if weighted else nan,
        log_normalizer_error=(log_normalizer_error(log_weight, labels) if weighted else nan),
        tv_bound=tv_bound(log_weight) if weighted else nan,
        kl_bound=kl_bound(log_weight) if weighted else nan,
        tv_limit=certified,
        kl_limit=kl_limit(log_weight, labels).upper if weighted else nan,
        num_evals=evals,
        num_nonfinite=bad,
        plan=plan,
        complete=complete,
        weighted=weighted,
        seconds=seconds,
        largest_logdensity=largest,
        coverage=seen,
        num_nan_weights=int(np.sum(broken)),
        detection=detection,
        runaway=_runaway([one.runaway for one in (*prepares, *again) if one.runaway is not None]),
    )


def _runaway(found: list[Runaway]) -> Runaway | None:
    """The highest of all searches, with the count of all."""
    if not found:
        return None
    highest = max(found, key=lambda one: float(one.logdensity))
    return highest._replace(number=np.sum([one.number for one in found]))


LadderFn = Callable[[list[Preparation], RunFn, PrepareFn], Ladder]
"""``(prepares, run, prepare) -> ladder``: sizes that grow for a tolerance."""


class SizeSearch(NamedTuple):
    """Sizes that are tried on discarded ensembles, for a tolerance or without one."""

    tolerance: float | None  # None: what the ladder asks without one
    ladder: LadderFn


LARGER_KEY, SEARCH_KEY = 200, 300
"""Numbers folded into the key of a replicate's pilot and pool for larger and further ones, like
`core.FIT_KEY`."""
DISCARDED = 2**32 - 1
"""Number folded into a replicate's key for its discarded ensembles."""


def check_prepared(prepared: Preparation) -> None:
    """Check that a pilot found points of positive density.

    Raises:
        ValueError: if the density was finite nowhere.
    """
    low, high = prepared.logdensity_range
    if low > high:
        raise ValueError(
            "logdensity_fn is not finite anywhere the pilot looked around the example position "
            f"({int(prepared.pool.num_nonfinite)} values were nan, inf or -inf). Pass a "
            "position, or known_positions, where the density is positive."
        )


def replicate_key(key: PRNGKey, replicate: int) -> PRNGKey:
    """The key from which all randomness of a replicate comes."""
    return jax.random.fold_in(key, replicate)


def prepare_key(key: PRNGKey, replicate: int) -> PRNGKey:
    """The key of a replicate's pilot and pool."""
    return jax.random.fold_in(replicate_key(key, replicate), 0)


def trial_key(key: PRNGKey, replicate: int, number: int) -> PRNGKey:
    """The key of one of a replicate's discarded ensembles."""
    return jax.random.fold_in(jax.random.fold_in(replicate_key(key, replicate), DISCARDED), number)


MOST_FURTHER_SEARCHES = 2
"""Searches of each replicate beyond the first, as long as each sees what none has seen."""


def has_room(plan: Plan, searches: list[list[Preparation]]) -> bool:
    """Whether each replicate may search once more, for the method and budgets of a plan.

    All searches together may cost what one may that goes on for something new, or
    `MOST_FURTHER_SEARCHES` more that do not.
    """
    if plan.sizes is None or len(searches) > MOST_FURTHER_SEARCHES:
        return False
    spent = [sum(int(max(one.pool.num_evals)) for one in some) for some in searches]
    ahead = sum(spent) + spent[-1]
    dim, num_replicates = searches[0][0].location.size, plan.num_replicates
    allowed = plan.search_evals
    if allowed is None:
        several = (1 + MOST_FURTHER_SEARCHES) * pilot_evals(at_least(plan.sizes).pilot, dim)
        allowed = num_replicates * max(several, pilot_evals(plan.sizes.pilot, dim))
    if plan.max_evals is None:
        return ahead <= allowed
    num_samples = num_replicates * plan.recipe.num_ensembles * NUM_PARTICLES
    most = most_evals(plan.sizes, dim, num_samples, num_replicates)
    most += len(searches) * num_replicates * preparation_evals(plan.sizes, dim)
    return ahead <= allowed and most <= plan.max_evals


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
    search: SizeSearch | None = None,
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
    progress: bool = False,
    checkpoint: Any = None,
) -> Draws:
    """Run a plan on the host: replicates, their ensembles in chunks, and the record.

    Given the method, the draws of ensemble e of replicate r depend only on its pool, of key
    ``fold_in(fold_in(key, r), 0)``, and on ``fold_in(fold_in(key, r), e + 1)``. So the first
    ensembles stay the same when more are asked for. All pools are made before any draw, so that
    replicates can share their points (`exchange`). Ctrl-C returns the ensembles that are finished.
    With a checkpoint every preparation and ensemble is looked up there before it is run.
    """
    begin = time.perf_counter()
    side = _chunks(plan.recipe.num_ensembles, plan.num_particles, chunk_size)
    parts: list[tuple[int, EnsembleResult]] = []
    prepares: list[Preparation] = []
    used: list[Preparation] = []
    again: list[Preparation] = []
    discarded: list[EnsembleResult] = []
    recipe = plan.recipe
    complete = True
    store = nowhere
    if checkpoint is not None:
        config = {
            "num_samples": num_samples,
            "num_replicates": plan.num_replicates,
            "known_positions": known,
            "method": (recipe.pilot, recipe.method),
            "max_evals": plan.max_evals,
            "search_evals": plan.search_evals,
            "tolerance": None if search is None else search.tolerance,
        }
        store = open_checkpoint(checkpoint, key, logdensity_fn, position, data, config)
    programs = bound_programs(logdensity_fn, position, data, known, mesh=mesh, store=store)

    def prepare(replicate: int) -> None:
        own = prepare_key(key, replicate)
        prepares.append(programs.prepare(f"replicate{replicate}", own, recipe))
        check_prepared(prepares[-1])

    def trial(replicate: int, number: int, prepared: Preparation, method: Method) -> EnsembleResult:
        own = trial_key(key, replicate, number)[None]
        name = f"replicate{replicate}-pilot{number}"
        return programs.ensembles([name], own, prepared, method)[0]

    def search_again(replicate: int, number: int) -> Preparation:
        own = jax.random.fold_in(prepare_key(key, replicate), SEARCH_KEY + number)
        return programs.prepare(f"replicate{replicate}-search{number}", own, recipe)

    def prepare_again(recipe: Recipe) -> list[Preparation]:
        found = []
        for replicate in range(plan.num_replicates):
            own = jax.random.fold_in(prepare_key(key, replicate), LARGER_KEY)
            found.append(programs.prepare(f"replicate{replicate}-larger", own, recipe))
            check_prepared(found[-1])
        again.extend(found)
        return shared_pools([found])

    def results() -> Iterator[tuple[int, EnsembleResult]]:
        nonlocal plan
        for replicate in range(plan.num_replicates):
            prepare(replicate)
        is_fitted = isinstance(recipe.method.start, FittedStart)
        if is_fitted:
            searches = [list(prepares)]
            while (differing := seen_once(searches)) and has_room(plan, searches):
                number = len(searches)
                searches.append([search_again(k, number) for k in range(len(prepares))])
            prepares[:] = shared_pools(searches)
            again.extend(one for further in searches[1:] for one in further)
            plan = plan._replace(exchanged_pools=differing)
            if len(searches) > 1:
                said = f"searches differed, so each replicate has made {len(searches)}"
                plan = plan._replace(reason=f"{plan.reason}; {said}")
        elif recipe.method.pool is not None:
            prepares[:], exchanged = exchange_pools(prepares)
            plan = plan._replace(exchanged_pools=exchanged)
        if is_fitted:
            for replicate, prepared in enumerate(prepares):
                own = jax.random.fold_in(prepare_key(key, replicate), FIT_KEY)
                name = f"replicate{replicate}-fit"
                prepares[replicate] = programs.fit(name, own, prepared, recipe.method)
        used[:], method = prepares, recipe.method
        if search is not None:
            cap = math.inf if plan.max_evals is None else plan.max_evals
            cap -= sum(int(max(one.pool.num_evals)) for one in again)
            found = search_sizes(
                search.ladder(prepares, trial, prepare_again),
                tolerance=search.tolerance,
                max_total=cap,
                tell=report.trial,
            )
            used[:], method = found.prepares, found.method
            discarded.extend(found.discarded)
            plan = with_trials(plan, found, search.tolerance)
        plan = plan._replace(recipe=dataclasses.replace(recipe, method=method))
        for replicate, prepared in enumerate(used):
            for first in range(0, recipe.num_ensembles, side):
                # the last chunk may be smaller, and is then a program of its own, so that none of
                # it is discarded
                numbers = range(first, min(first + side, recipe.num_ensembles))
                fold_in = functools.partial(jax.random.fold_in, replicate_key(key, replicate))
                keys = jax.vmap(fold_in)(jnp.asarray(numbers) + 1)
                names = [f"replicate{replicate}-ensemble{number}" for number in numbers]
                for part in programs.ensembles(names, keys, prepared, method):
                    yield replicate, part

    total = plan.num_replicates * recipe.num_ensembles
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
    draws = assemble(parts, prepares, used, again, discarded, num_samples, plan, complete, seconds)
    return dataclasses.replace(draws, density=Density(logdensity_fn, data))
