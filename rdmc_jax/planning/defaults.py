"""Sizes of the automatic method, by dimension and budget."""

import dataclasses
from typing import Any

from ..draws.plan import Plan
from ..pools.pilot import PilotFn, climbing_pilot, gradient_free_pilot
from ..pools.tempering import tempered_smc
from ..samplers.core import Recipe
from ..samplers.finishes import annealed_finish
from ..samplers.methods import (
    NUM_PARTICLES,
    NUM_REWEIGHTED,
    NUM_ROUNDS,
    POOL_SOURCES,
    LargerPool,
    MixtureSizes,
    larger_pilot,
    mixture_draws,
)
from ..samplers.mixture import NUM_WIDE
from ..types import Method

LOW_LARGER = LargerPool(
    num_chains=1024, num_chain_steps=12, num_pool=256, num_steps=32, num_temperatures=16
)
HIGH_LARGER = LargerPool()
FREE_LARGER = LargerPool(
    num_chains=1024, num_chain_steps=8, num_pool=1024, num_steps=8, num_temperatures=128
)
DEFAULT_SIZES: tuple[MixtureSizes, ...] = (
    MixtureSizes(
        climbing_pilot(
            num_rounds=3,
            num_starts=24,
            num_iterations=12,
            num_candidates=16,
            num_chains=96,
            num_steps=4,
            most_evals=6_000,
        ),
        num_pool=64,
        num_steps=2,
        max_rounds=12,
        num_components=64,
        num_drawn=300,
        larger=LOW_LARGER,
    ),
    MixtureSizes(
        climbing_pilot(
            num_rounds=4,
            num_starts=32,
            num_iterations=12,
            num_candidates=32,
            num_chains=256,
            num_steps=6,
            most_evals=8_000,
        ),
        num_pool=128,
        num_steps=2,
        max_rounds=24,
        num_components=100,
        num_drawn=750,
        larger=LOW_LARGER,
    ),
    MixtureSizes(
        climbing_pilot(
            num_rounds=4,
            num_starts=112,
            num_iterations=30,
            num_candidates=40,
            num_chains=384,
            num_steps=6,
            most_evals=80_000,
        ),
        num_pool=128,
        num_steps=2,
        max_rounds=32,
        num_components=100,
        num_drawn=1000,
        larger=HIGH_LARGER,
    ),
    MixtureSizes(
        climbing_pilot(
            num_rounds=3,
            num_starts=64,
            num_iterations=24,
            num_candidates=64,
            num_chains=384,
            num_steps=8,
            least_evals=24_000,
            most_evals=85_000,
        ),
        num_pool=256,
        num_steps=3,
        max_rounds=48,
        num_components=100,
        num_drawn=1000,
        larger=HIGH_LARGER,
    ),
    MixtureSizes(
        climbing_pilot(
            num_rounds=3,
            num_starts=64,
            num_iterations=24,
            num_candidates=192,
            num_chains=384,
            num_steps=8,
            least_evals=40_000,
            most_evals=200_000,
        ),
        num_pool=256,
        num_steps=3,
        max_rounds=48,
        num_components=100,
        num_drawn=1000,
        larger=HIGH_LARGER,
    ),
    MixtureSizes(
        climbing_pilot(
            num_rounds=3,
            num_starts=96,
            num_iterations=32,
            num_candidates=256,
            num_chains=768,
            num_steps=24,
            least_evals=90_000,
            most_evals=240_000,
        ),
        num_pool=384,
        num_steps=4,
        max_rounds=64,
        num_components=100,
        num_drawn=1500,
        larger=HIGH_LARGER,
    ),
)
"""Sizes with a gradient, from small to large: for small budgets, for dimensions up to those of
`HIGHEST_DIMS`, and above. A replicate's search has ``least_evals`` in any case, and goes on
to ``most_evals`` as long as it meets something new."""
HIGHEST_DIMS = (3, 6, 10, 16)
GRADIENT_FREE_SIZES: tuple[MixtureSizes, ...] = (
    MixtureSizes(
        gradient_free_pilot(num_particles=128, num_steps=3),
        num_pool=64,
        num_steps=3,
        max_rounds=16,
        num_components=64,
        num_drawn=500,
        larger=FREE_LARGER,
    ),
    MixtureSizes(
        gradient_free_pilot(num_particles=512, num_steps=6),
        num_pool=256,
        num_steps=4,
        max_rounds=32,
        num_components=100,
        num_drawn=1000,
        larger=FREE_LARGER,
    ),
    MixtureSizes(
        gradient_free_pilot(num_particles=1024, num_steps=8),
        num_pool=1024,
        num_steps=8,
        max_rounds=64,
        num_components=100,
        num_drawn=1000,
        larger=FREE_LARGER,
    ),
)
"""Sizes without a gradient, from small to large: the same with random walks."""


def pilot_evals(pilot: climbing_pilot | gradient_free_pilot, dim: int) -> int:
    """Most evaluations of a pilot.

    The number of temperatures of tempering is known only afterwards; its largest one is taken.
    """
    if isinstance(pilot, climbing_pilot):
        return max(pilot.evaluations(dim), pilot.least_evals, pilot.most_evals)
    return pilot.num_particles * (1 + pilot.num_steps * pilot.max_rounds)


def preparation_evals(sizes: MixtureSizes, dim: int) -> int:
    """Most evaluations of a replicate's pilot, pool and fit."""
    tempered = sizes.num_pool * (1 + sizes.num_steps * sizes.max_rounds)
    return pilot_evals(sizes.pilot, dim) + tempered + (NUM_ROUNDS + 1) * sizes.num_drawn


def larger_search_evals(sizes: MixtureSizes, dim: int) -> int:
    """Most evaluations of a replicate's pilot and pool for `restarted`."""
    larger, pilot = sizes.larger, larger_pilot(sizes)
    found, num_steps = pilot_evals(pilot, dim), larger.num_steps
    if sizes.has_gradient:
        found += larger.num_pool * (larger.num_steps + 1)
        num_steps = tempered_smc(num_particles=1).num_steps
    found += larger.num_pool * (1 + num_steps * tempered_smc(num_particles=1).max_rounds)
    num_reweighted = min(larger.num_pool, NUM_REWEIGHTED)
    num_pilot = min(annealed_finish().num_pilot, num_reweighted)
    reweighted = (larger.num_temperatures + 1) * (num_reweighted + num_pilot) + num_reweighted
    return found + reweighted


def most_evals(sizes: MixtureSizes, dim: int, num_samples: int, num_replicates: int) -> int:
    """Most evaluations of a run with one candidate for each draw.

    An ensemble counts whole, even if only some of its draws are kept.
    """
    num_ensembles = -(-num_samples // (num_replicates * NUM_PARTICLES))
    return num_replicates * (preparation_evals(sizes, dim) + num_ensembles * NUM_PARTICLES)


def at_least(sizes: MixtureSizes) -> MixtureSizes:
    """The sizes with a search that does not go on for something new."""
    if not isinstance(sizes.pilot, climbing_pilot):
        return sizes
    return _with_pilot(sizes, most_evals=sizes.pilot.least_evals)


def _with_pilot(sizes: MixtureSizes, **changes: Any) -> MixtureSizes:
    pilot: Any = dataclasses.replace(sizes.pilot, **changes)
    return dataclasses.replace(sizes, pilot=pilot)


def searching(sizes: MixtureSizes, dim: int, evals: int) -> MixtureSizes | None:
    """The sizes with a pilot of a number of evaluations, or None where it needs more.

    Args:
        sizes: whose pilot is changed.
        dim: dimension of the target.
        evals: of one replicate's pilot.
    """
    pilot = sizes.pilot
    if isinstance(pilot, climbing_pilot):
        fits = pilot.evaluations(dim) <= evals
        return _with_pilot(sizes, least_evals=evals, most_evals=evals) if fits else None
    num_particles = evals * pilot.num_particles // pilot_evals(pilot, dim)
    fits = num_particles >= LEAST_PARTICLES
    return _with_pilot(sizes, num_particles=num_particles) if fits else None


def smallest(sizes: MixtureSizes) -> MixtureSizes:
    """The sizes with the smallest pilot, for a handful of evaluations."""
    if isinstance(sizes.pilot, climbing_pilot):
        return _with_pilot(sizes, num_rounds=2, num_starts=4, num_candidates=4, num_chains=16)
    return _with_pilot(sizes, num_steps=2, max_rounds=12)


def least_pilot_evals(sizes: MixtureSizes, dim: int) -> int:
    """Evaluations that a search needs at least."""
    pilot = smallest(sizes).pilot
    if isinstance(pilot, climbing_pilot):
        return pilot.evaluations(dim)
    return LEAST_PARTICLES * (1 + pilot.num_steps * pilot.max_rounds)


LEAST_PARTICLES = 16
"""Particles of `gradient_free_pilot`, at least."""


def default_pilot(has_gradient: bool) -> PilotFn:
    """Pilot for a method of the user's own: it climbs to modes if the density has a gradient."""
    return climbing_pilot() if has_gradient else gradient_free_pilot()


def choose_sizes(
    dim: int,
    num_samples: int,
    num_replicates: int,
    max_evals: float | None,
    has_gradient: bool = True,
    search_evals: float | None = None,
) -> tuple[MixtureSizes, str]:
    """Choose the sizes for a dimension, or the largest smaller ones that fit the budgets.

    Args:
        dim: dimension of the target.
        num_samples: output draws in total.
        num_replicates: replicates that share them.
        max_evals: cap on all evaluations of the run, or None.
        has_gradient: whether the density has one.
        search_evals: evaluations of all pilots together, or None for those of the dimension.

    Returns:
        The sizes, and the reason in words.

    Raises:
        ValueError: if even the smallest sizes may exceed ``max_evals``, or the smallest pilots
            ``search_evals``.
    """
    if has_gradient:
        choices = DEFAULT_SIZES
        wanted = next((k for k, most in enumerate(HIGHEST_DIMS, 1) if dim <= most), 5)
    else:
        choices, wanted = GRADIENT_FREE_SIZES, 1 if dim <= 2 else 2
    if search_evals is None:
        fitting = [(k, at_least(choices[k])) for k in range(wanted + 1)]
    else:
        each = int(search_evals / num_replicates)
        tried = [(k, searching(choices[k], dim, each)) for k in range(wanted + 1)]
        if all(sizes is None for _, sizes in tried):
            tried = [(0, searching(smallest(choices[0]), dim, each))]
        fitting = [(k, sizes) for k, sizes in tried if sizes is not None]
        if not fitting:
            need = least_pilot_evals(choices[0], dim)
            raise ValueError(
                f"search_evals={search_evals:g} is too little for {num_replicates} searches: each "
                f"needs {need:,} in {dim} dimensions. Raise search_evals to "
                f"{num_replicates * need:,}, or ask for fewer replicates."
            )
    costs = [most_evals(sizes, dim, num_samples, num_replicates) for _, sizes in fitting]
    affordable = [
        (k, sizes, cost)
        for (k, sizes), cost in zip(fitting, costs, strict=True)
        if max_evals is None or cost <= max_evals
    ]
    if not affordable:
        fewest = most_evals(fitting[0][1], dim, num_samples, 1)
        raise ValueError(
            f"max_evals={max_evals} evaluations are too few for the run: the smallest sizes for "
            f"{num_samples} draws in {dim} dimensions and {num_replicates} replicates may need "
            f"{costs[0]:,}. Raise max_evals to that, ask for fewer replicates (num_replicates=1 "
            f"needs {fewest:,}, and nothing checks its error), or pass a method of your own."
        )
    number, sizes, cost = affordable[-1]
    is_limited = number < fitting[-1][0]
    full = choices[number].pilot
    if search_evals is None and isinstance(full, climbing_pilot):
        most = full.most_evals
        if max_evals is not None:
            left = (max_evals - cost) / num_replicates
            used = pilot_evals(sizes.pilot, dim)
            is_limited |= used + left < most
            most = int(min(most, used + left))
        sizes = _with_pilot(sizes, most_evals=most)
    why = f"max_evals={max_evals:g}" if is_limited else f"dimension {dim}"
    why += "" if search_evals is None else f" and search_evals={search_evals:g}"
    why += "" if has_gradient else " and no gradient"
    pilot = sizes.pilot
    size = pilot.num_chains if isinstance(pilot, climbing_pilot) else pilot.num_particles
    num_components = NUM_ROUNDS * (sizes.num_components + NUM_WIDE)
    return sizes, (
        f"mixture draws with sizes chosen by {why}: a pool of {size} points of the pilot and "
        f"{sizes.num_pool} of tempered SMC, and a mixture of {num_components} local Gaussians"
        f"{' and those at modes' if has_gradient else ''}, fitted with "
        f"{(NUM_ROUNDS + 1) * sizes.num_drawn:,} discarded draws"
    )


def plan(
    *,
    dim: int,
    num_samples: int = NUM_PARTICLES,
    num_replicates: int | None = None,
    method: Method | None = None,
    max_evals: float | None = None,
    pilot: PilotFn | None = None,
    has_gradient: bool = True,
    search_evals: float | None = None,
) -> Plan:
    """Make the static plan of a run.

    Args:
        dim: number of coordinates of the position.
        num_samples: output draws in total.
        num_replicates: independent runs; 4 by default, 2 below 4,000 draws.
        method: explicit composition, or None for the automatic choice.
        max_evals: cap on all evaluations of the run, for the automatic choice.
        pilot: that comes before an explicit method; None to sample in the user's own coordinates.
        has_gradient: whether the automatic choice may take gradients.
        search_evals: evaluations of all pilots together, for the automatic choice; None for those
            of the dimension.

    Returns:
        A `Plan`. `sample` measures discarded draws and may choose more candidates or temperatures;
        `core` always runs ``plan.recipe.method``.

    Raises:
        ValueError: for sizes that are not positive, more replicates than draws, or a budget that
            is too small.

    >>> plan(dim=2, num_samples=10_000).recipe.num_ensembles
    3
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, but got {num_samples}.")
    if num_replicates is None:
        num_replicates = min(num_samples, 4 if num_samples >= 4000 else 2)
    if not 1 <= num_replicates <= num_samples:
        raise ValueError(
            f"num_replicates must lie between 1 and num_samples={num_samples}, "
            f"but got {num_replicates}."
        )
    share = -(-num_samples // num_replicates)
    if method is not None:
        recipe = Recipe(method, pilot, -(-share // method.start.num_particles))
        return Plan(recipe, num_replicates, "method given by the caller", max_evals=max_evals)
    sizes, reason = choose_sizes(
        dim, num_samples, num_replicates, max_evals, has_gradient, search_evals
    )
    recipe = Recipe(mixture_draws(sizes), sizes.pilot, -(-share // NUM_PARTICLES))
    is_limited = "max_evals=" in reason
    return Plan(
        recipe,
        num_replicates,
        reason,
        sizes,
        max_evals,
        POOL_SOURCES,
        is_limited,
        search_evals=search_evals,
    )
