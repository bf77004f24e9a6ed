"""What to run when the user names no method: sizes by dimension, budget and one measurement."""

import math

import numpy as np

from ..montecarlo.weights import weight_ess
from ..pools.pilot import PilotFn, climbing_pilot, gradient_free_pilot, pilot_evaluations
from ..samplers.core import EnsembleResult, Plan
from ..samplers.methods import (
    MORE_TEMPERATURES,
    NUM_COPIES,
    NUM_PARTICLES,
    PilotSize,
    RestartSizes,
    pool_sources,
    restart_generator,
    restart_method,
    restart_pilot,
)
from ..samplers.sampler import Method

DEFAULT_SIZES: tuple[RestartSizes, ...] = (
    RestartSizes(PilotSize(2, 32, 12, 16, 256, 24), 128, 16, 8, 0),
    RestartSizes(PilotSize(4, 128, 6, 16, 1024, 12), 256, 32, 16, 512),
    RestartSizes(PilotSize(3, 128, 16, 512, 1024, 48), 512, 64, 64, 512),
    RestartSizes(PilotSize(3, 128, 16, 512, 2048, 64), 1024, 64, 128, 512),
)
"""With a gradient; a step costs two to four times the one before."""


GRADIENT_FREE_SIZES: tuple[RestartSizes, ...] = (
    RestartSizes(None, 256, 4, 16, 0),
    RestartSizes(None, 512, 6, 32, 256),
    RestartSizes(None, 1024, 8, 128, 512),
)
"""Without one: the same restart with random walks."""


def ensemble_evals(
    rung: RestartSizes, num_temperatures: int, num_particles: int = NUM_PARTICLES
) -> int:
    """Evaluations of one ensemble's `annealed` finish."""
    looks = 0 if rung.pilot_size is None else num_particles
    return (num_temperatures + 1) * (num_particles + NUM_COPIES) + looks


def predicted_evals(
    rung: RestartSizes,
    dim: int,
    num_samples: int,
    num_replicates: int,
    factor: int = 1,
    num_discarded: int = 1,
) -> float:
    """Evaluations per output sample, pilot and discarded ensembles included.

    Ensembles count whole. Tempering is counted with ten temperatures plus one per two dimensions
    (twice that for the pilot without gradients), what targets of the test set need; the true count
    is reported with the draws.
    """
    num_rounds = 10 + dim / 2
    if rung.pilot_size is None:
        prepared = rung.num_pool * (2 + rung.num_steps * (3 * num_rounds + 6))
    else:
        prepared = pilot_evaluations(dim, **rung.pilot_size._asdict()).logdensity
        prepared += rung.num_pool * (rung.num_steps + 1 + 13 + 4 * num_rounds)
    if rung.num_reweighted:
        prepared += ensemble_evals(rung, rung.num_temperatures, rung.num_reweighted)
    num_ensembles = -(-num_samples // (num_replicates * NUM_PARTICLES))
    ensembles = num_ensembles * ensemble_evals(rung, factor * rung.num_temperatures)
    discarded = num_discarded * ensemble_evals(rung, rung.num_temperatures)
    return (num_replicates * (prepared + ensembles) + discarded) / num_samples


def default_pilot(has_gradient: bool) -> PilotFn:
    """Before a method of the user's own: it climbs, where there is a slope."""
    return climbing_pilot() if has_gradient else gradient_free_pilot()


def choose_sizes(
    dim: int,
    num_samples: int,
    num_replicates: int,
    max_evals: float | None,
    has_gradient: bool = True,
    num_discarded: int = 1,
) -> tuple[RestartSizes, str]:
    """The rung for a dimension, lowered until it fits the budget.

    Args:
        dim: of the target.
        num_samples: output draws in total.
        num_replicates: replicates that share them.
        max_evals: evaluations per output sample, or None.
        has_gradient: of the density.
        num_discarded: ensembles that are thrown away to decide the budget.

    Returns:
        The rung, and the reason in words.

    Raises:
        ValueError: if even the smallest rung exceeds ``max_evals``.
    """
    if has_gradient:
        ladder, wanted = DEFAULT_SIZES, 1 if dim <= 2 else 2 if dim <= 16 else 3
    else:
        ladder, wanted = GRADIENT_FREE_SIZES, 1 if dim <= 2 else 2
    costs = [
        predicted_evals(rung, dim, num_samples, num_replicates, num_discarded=num_discarded)
        for rung in ladder
    ]
    fitting = [k for k in range(wanted + 1) if max_evals is None or costs[k] <= max_evals]
    if not fitting:
        raise ValueError(
            f"max_evals={max_evals} evaluations per output sample are too few: the smallest "
            f"budget for {num_samples} draws in {dim} dimensions needs about "
            f"{math.ceil(costs[0])}. Raise max_evals to that, ask for more draws (an ensemble has "
            f"{NUM_PARTICLES} particles however few are kept), or pass a method of your own."
        )
    rung = ladder[fitting[-1]]
    why = f"dimension {dim}" if fitting[-1] == wanted else f"max_evals={max_evals}"
    why += "" if has_gradient else ", and no gradient"
    names = ", ".join(pool_sources(rung)[1:])
    size = rung.num_pool if rung.pilot_size is None else rung.pilot_size.num_chains
    draws = (
        f" and {rung.num_reweighted} draws of a restart from them" if rung.num_reweighted else ""
    )
    return rung, (
        f"noised-pool restart chosen by {why}: pool of {size} points of the pilot and "
        f"{rung.num_pool} each of {names}{draws}, {rung.num_temperatures} temperatures"
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
    """Static plan of a run.

    Args:
        dim: number of coordinates of the position.
        num_samples: output draws in total.
        num_replicates: independent ensembles; 4 by default, 2 below 4,000 draws.
        method: explicit composition, or None for the automatic choice.
        max_evals: cap on evaluations per output sample for the automatic choice.
        pilot: before an explicit method; None to sample in the user's own coordinates.
        has_gradient: whether the automatic choice may take gradients.
        has_tolerance: whether an ensemble of each replicate, not of one, will be thrown away.

    Returns:
        A `Plan`. ``plan.with_more_temperatures`` are the methods that `sample` goes on to if a
        discarded ensemble shows too few effective draws; `core` runs ``plan.method``.

    Raises:
        ValueError: for sizes that are not positive, more replicates than draws, or a budget that
            is too small.

    >>> plan(dim=2, num_samples=10_000).num_ensembles
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
    reason, generator = "method given by the caller", None
    names: tuple[str, ...] = ()
    with_more_temperatures = []
    if method is None:
        num_discarded = num_replicates if has_tolerance else 1
        rung, reason = choose_sizes(
            dim, num_samples, num_replicates, max_evals, has_gradient, num_discarded
        )
        method, generator = restart_method(rung), restart_generator(rung)
        pilot, names = restart_pilot(rung), pool_sources(rung)
        for factor in MORE_TEMPERATURES:
            cost = predicted_evals(rung, dim, num_samples, num_replicates, factor)
            if max_evals is None or cost <= max_evals:
                with_more_temperatures.append(restart_method(rung, factor))
    share = -(-num_samples // num_replicates)
    num_ensembles = -(-share // method.start.num_particles)
    return Plan(
        method,
        pilot,
        generator,
        num_replicates,
        num_ensembles,
        reason,
        max_evals,
        names,
        tuple(with_more_temperatures),
    )


ENOUGH = 0.5
"""Share of the draws that their weights' effective sample size should reach."""


AIMED = 0.6
"""What a method with more temperatures is chosen for: the measured share is itself noisy."""


def more_temperatures(plan: Plan, discarded: EnsembleResult) -> tuple[Method, str]:
    """The method of the reported run, and the reason in words.

    The log of ``ESS/N`` is minus the variance of the log weights of nearly normal weights, and that
    falls like one over the number of temperatures; so the first of
    ``plan.with_more_temperatures`` is taken that should reach `AIMED`, or the last.

    Args:
        plan: ``plan.with_more_temperatures`` have 2, 4, 8 times as many as ``plan.method``.
        discarded: an ensemble of ``plan.method``.

    Returns:
        The method, and what to add to the plan's reason.
    """
    log_weight = np.asarray(discarded.log_weight)
    log_weight = np.where(np.isnan(log_weight), -np.inf, log_weight)
    share = weight_ess(log_weight) / log_weight.size
    measured = f"weight ESS {share:.2f} of the draws in a discarded ensemble"
    if share >= ENOUGH or not plan.with_more_temperatures:
        return plan.method, measured
    wanted = math.log(max(share, 1e-6)) / math.log(AIMED)
    fitting = [k for k in range(len(plan.with_more_temperatures)) if 2 ** (k + 1) >= wanted]
    k = fitting[0] if fitting else len(plan.with_more_temperatures) - 1
    return plan.with_more_temperatures[
        k
    ], f"{measured}, so the run has {2 ** (k + 1)} times as many temperatures"
