"""Sizes of the automatic method: by dimension and budget, then by one discarded ensemble."""

import math

import numpy as np

from ..draws.plan import Plan
from ..montecarlo.weights import weight_ess
from ..pools.pilot import PilotFn, climbing_pilot, gradient_free_pilot
from ..samplers.core import EnsembleResult, Recipe
from ..samplers.finishes import annealed_finish
from ..samplers.methods import NUM_PARTICLES, RestartSizes, pool_sources, restart
from ..types import Method

DEFAULT_SIZES: tuple[RestartSizes, ...] = (
    RestartSizes(
        climbing_pilot(
            num_rounds=2,
            num_starts=32,
            num_iterations=16,
            num_candidates=16,
            num_chains=256,
            num_steps=24,
        ),
        num_pool=128,
        num_steps=16,
        num_temperatures=8,
        num_reweighted=0,
    ),
    RestartSizes(
        climbing_pilot(
            num_rounds=4,
            num_starts=128,
            num_iterations=12,
            num_candidates=16,
            num_chains=1024,
            num_steps=12,
        ),
        num_pool=256,
        num_steps=32,
        num_temperatures=16,
        num_reweighted=512,
    ),
    RestartSizes(
        climbing_pilot(
            num_rounds=3,
            num_starts=128,
            num_iterations=24,
            num_candidates=512,
            num_chains=1024,
            num_steps=48,
        ),
        num_pool=512,
        num_steps=64,
        num_temperatures=64,
        num_reweighted=512,
    ),
    RestartSizes(
        climbing_pilot(
            num_rounds=3,
            num_starts=128,
            num_iterations=24,
            num_candidates=512,
            num_chains=2048,
            num_steps=64,
        ),
        num_pool=1024,
        num_steps=64,
        num_temperatures=128,
        num_reweighted=512,
    ),
)
"""Sizes with a gradient, from small to large; each costs two to four times the one before."""
GRADIENT_FREE_SIZES: tuple[RestartSizes, ...] = (
    RestartSizes(
        gradient_free_pilot(num_particles=256, num_steps=4),
        num_pool=256,
        num_steps=4,
        num_temperatures=16,
        num_reweighted=0,
    ),
    RestartSizes(
        gradient_free_pilot(num_particles=512, num_steps=6),
        num_pool=512,
        num_steps=6,
        num_temperatures=32,
        num_reweighted=256,
    ),
    RestartSizes(
        gradient_free_pilot(num_particles=1024, num_steps=8),
        num_pool=1024,
        num_steps=8,
        num_temperatures=128,
        num_reweighted=512,
    ),
)
"""Sizes without a gradient, from small to large: the same restart with random walks."""
MORE_TEMPERATURES = (2, 4, 8)
"""Factors on the number of temperatures, if the measured weight ESS is too low."""
ENOUGH_ESS = 0.5
"""Weight ESS over draws above which the number of temperatures stays."""
AIMED_ESS = 0.6
"""Weight ESS over draws that more temperatures should reach. It is higher than `ENOUGH_ESS` because
the measured one is noisy."""


def ensemble_evals(
    sizes: RestartSizes, num_temperatures: int, num_particles: int = NUM_PARTICLES
) -> int:
    """Count the evaluations of one ensemble's `annealed_finish`."""
    looks = num_particles if sizes.has_gradient else 0
    return (num_temperatures + 1) * (num_particles + annealed_finish().num_pilot) + looks


def predicted_evals(
    sizes: RestartSizes,
    dim: int,
    num_samples: int,
    num_replicates: int,
    factor: int = 1,
    num_discarded: int = 1,
) -> float:
    """Predict the evaluations per output sample, pilot and discarded ensembles included.

    An ensemble counts whole, even if only some of its draws are kept. The number of temperatures of
    tempering is not known before: ten plus one per two dimensions (twice that for the pilot without
    gradients) are assumed, as targets of the test set need. `Draws` has the true count.
    """
    num_rounds = 10 + dim / 2
    if not isinstance(sizes.pilot, climbing_pilot):
        prepared = sizes.num_pool * (2 + sizes.num_steps * (3 * num_rounds + 6))
    else:
        prepared = sizes.pilot.evaluations(dim).logdensity
        prepared += sizes.num_pool * (sizes.num_steps + 1 + 13 + 4 * num_rounds)
    if sizes.num_reweighted:
        prepared += ensemble_evals(sizes, sizes.num_temperatures, sizes.num_reweighted)
    num_ensembles = -(-num_samples // (num_replicates * NUM_PARTICLES))
    ensembles = num_ensembles * ensemble_evals(sizes, factor * sizes.num_temperatures)
    discarded = num_discarded * ensemble_evals(sizes, sizes.num_temperatures)
    return (num_replicates * (prepared + ensembles) + discarded) / num_samples


def default_pilot(has_gradient: bool) -> PilotFn:
    """Pilot for a method of the user's own: it climbs to modes if the density has a gradient."""
    return climbing_pilot() if has_gradient else gradient_free_pilot()


def choose_sizes(
    dim: int,
    num_samples: int,
    num_replicates: int,
    max_evals: float | None,
    has_gradient: bool = True,
    num_discarded: int = 1,
) -> tuple[RestartSizes, str]:
    """Choose the sizes for a dimension, or the largest smaller ones that fit the budget.

    Args:
        dim: dimension of the target.
        num_samples: output draws in total.
        num_replicates: replicates that share them.
        max_evals: cap on evaluations per output sample, or None.
        has_gradient: whether the density has one.
        num_discarded: discarded ensembles, which decide the number of temperatures.

    Returns:
        The sizes, and the reason in words.

    Raises:
        ValueError: if even the smallest sizes exceed ``max_evals``.
    """
    if has_gradient:
        choices, wanted = DEFAULT_SIZES, 1 if dim <= 2 else 2 if dim <= 16 else 3
    else:
        choices, wanted = GRADIENT_FREE_SIZES, 1 if dim <= 2 else 2
    costs = [
        predicted_evals(sizes, dim, num_samples, num_replicates, num_discarded=num_discarded)
        for sizes in choices
    ]
    fitting = [k for k in range(wanted + 1) if max_evals is None or costs[k] <= max_evals]
    if not fitting:
        raise ValueError(
            f"max_evals={max_evals} evaluations per output sample are too few: the smallest "
            f"sizes for {num_samples} draws in {dim} dimensions need about "
            f"{math.ceil(costs[0])}. Raise max_evals to that, ask for more draws (an ensemble has "
            f"{NUM_PARTICLES} particles however few are kept), or pass a method of your own."
        )
    sizes = choices[fitting[-1]]
    why = f"dimension {dim}" if fitting[-1] == wanted else f"max_evals={max_evals}"
    why += "" if has_gradient else " and no gradient"
    names = pool_sources(sizes)[1:]
    pilot = sizes.pilot
    size = pilot.num_chains if isinstance(pilot, climbing_pilot) else sizes.num_pool
    points = f"{size} points of the pilot, {sizes.num_pool} " + ("each of " if names[1:] else "of ")
    points += " and ".join(names)
    if sizes.num_reweighted:
        points += f", and {sizes.num_reweighted} draws of a discarded restart from all of these"
    return sizes, (
        f"noised-pool restart with sizes chosen by {why}: {sizes.num_temperatures} temperatures, "
        f"and a pool of {points}"
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
    has_tolerance: bool = False,
) -> Plan:
    """Make the static plan of a run.

    Args:
        dim: number of coordinates of the position.
        num_samples: output draws in total.
        num_replicates: independent runs; 4 by default, 2 below 4,000 draws.
        method: explicit composition, or None for the automatic choice.
        max_evals: cap on evaluations per output sample for the automatic choice.
        pilot: that comes before an explicit method; None to sample in the user's own coordinates.
        has_gradient: whether the automatic choice may take gradients.
        has_tolerance: whether one ensemble of each replicate, not of one only, will be discarded.

    Returns:
        A `Plan`. ``with_more_temperatures`` are the methods that `sample` chooses from if a
        discarded ensemble has too few effective draws; `core` always runs ``plan.recipe.method``.

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
    num_discarded = num_replicates if has_tolerance else 1
    sizes, reason = choose_sizes(
        dim, num_samples, num_replicates, max_evals, has_gradient, num_discarded
    )
    more = []
    for factor in MORE_TEMPERATURES:
        cost = predicted_evals(sizes, dim, num_samples, num_replicates, factor)
        if max_evals is None or cost <= max_evals:
            more.append(restart(sizes, num_temperatures=factor * sizes.num_temperatures))
    recipe = Recipe(restart(sizes), sizes.pilot, -(-share // NUM_PARTICLES))
    return Plan(
        recipe,
        num_replicates,
        reason,
        sizes,
        max_evals,
        pool_sources(sizes),
        tuple(more),
        is_limited="max_evals=" in reason or len(more) < len(MORE_TEMPERATURES),
    )


def more_temperatures(plan: Plan, discarded: EnsembleResult) -> tuple[Method, str]:
    """Choose the number of temperatures from one discarded ensemble.

    The reported draws play no part in the choice, so their weights stay unbiased. If log weights
    are nearly normal, ``log(ESS/N)`` is minus their variance, and the variance falls like one over
    the number of temperatures. The method is the first of ``plan.with_more_temperatures`` that
    should reach `AIMED_ESS`, or the last.

    Args:
        plan: its ``with_more_temperatures`` have 2, 4, 8 times the temperatures of
            ``plan.recipe.method``.
        discarded: an ensemble of ``plan.recipe.method``.

    Returns:
        The method of the reported run, and the reason, which is added to the plan's.
    """
    log_weight = np.asarray(discarded.log_weight)
    log_weight = np.where(np.isnan(log_weight), -np.inf, log_weight)
    share = weight_ess(log_weight) / log_weight.size
    measured = f"weight ESS {share:.2f} of the draws in a discarded ensemble"
    if share >= ENOUGH_ESS or not plan.with_more_temperatures:
        return plan.recipe.method, measured
    wanted = math.log(max(share, 1e-6)) / math.log(AIMED_ESS)
    fitting = [k for k in range(len(plan.with_more_temperatures)) if 2 ** (k + 1) >= wanted]
    k = fitting[0] if fitting else len(plan.with_more_temperatures) - 1
    return plan.with_more_temperatures[
        k
    ], f"{measured}, so the run has {2 ** (k + 1)} times as many temperatures"
