"""The two compiled programs of a run, on its devices, and not run for what a checkpoint has."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from .checkpoint import Checkpoint
from .compose import Method
from .core import Plan, Prepared, Result, ensemble, prepare
from .devices import collected, dealt, replicated, spread, vmapped_over
from .types import ArrayTree, LogDensityFn, PRNGKey

_prepare = jax.jit(prepare, static_argnames=("logdensity_fn", "plan"))


@functools.partial(jax.jit, static_argnames=("logdensity_fn", "method", "mesh"))
def _ensembles(
    rng_keys: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    prepared: Prepared,
    *,
    method: Method,
    mesh: Mesh | None = None,
) -> Result:
    """Several ensembles of one replicate side by side."""
    placed = spread(method, mesh)
    results = vmapped_over(mesh)(
        lambda key: ensemble(key, logdensity_fn, position, data, prepared, method=placed)
    )(rng_keys)
    return collected(results, mesh)


class Stages(NamedTuple):
    """The programs of a run, bound to its density; results are on the host."""

    prepare: Callable[[str, PRNGKey, Plan], Prepared]
    """``(name, rng_key, plan)``"""
    ensembles: Callable[[list[str], PRNGKey, Prepared, Method], list[Result]]
    """``(names, rng_keys, prepared, method)``: one for each name and key"""


def stages(
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    known: ArrayTree | None,
    *,
    mesh: Mesh | None,
    store: Checkpoint,
) -> Stages:
    """Bind the programs to a density.

    Args:
        logdensity_fn: the user's density.
        position: example position.
        data: passed to the density if not None.
        known: points that the user knows, or None.
        mesh: devices, or None for the default one.
        store: where finished parts are looked up and kept, by name.

    Returns:
        `Stages`. A part that is loaded has the bits of the one that was made; so the programs are
        given arrays of the host in both cases.
    """
    own, dataset, points = replicated((position, data, known), mesh)

    def prepare_one(name: str, rng_key: PRNGKey, plan: Plan) -> Prepared:
        arguments = (replicated(rng_key, mesh), logdensity_fn, own, dataset, points)
        origin = store.origin(plan)
        found = store.load(name, origin, lambda: _prepare.eval_shape(*arguments, plan=plan))
        if found is None:
            found = jax.device_get(_prepare(*arguments, plan=plan))
            store.save(name, origin, found)
        return found

    def several(
        names: list[str], rng_keys: PRNGKey, prepared: Prepared, method: Method
    ) -> list[Result]:
        keys = dealt(rng_keys, mesh)
        arguments = (keys, logdensity_fn, own, dataset, replicated(prepared, mesh))

        def shapes() -> Result:
            found = _ensembles.eval_shape(*arguments, method=method, mesh=mesh)
            return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), found)

        # grown pools and chosen methods follow from other parts, one of which may be made again
        origin = store.origin(method, prepared)
        found = [store.load(name, origin, shapes) for name in names]
        have = [part for part in found if part is not None]
        if len(have) == len(names):
            return have
        # all of them, though some may be there: other sizes would be other programs
        made = jax.device_get(_ensembles(*arguments, method=method, mesh=mesh))
        results = [jax.tree.map(lambda leaf, k=k: leaf[k], made) for k in range(len(names))]
        for name, result in zip(names, results, strict=True):
            store.save(name, origin, result)
        return results

    return Stages(prepare_one, several)
