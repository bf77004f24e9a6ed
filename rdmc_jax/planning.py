"""What to run when the user names no method: static sizes from the dimension and the budget."""

import math

from .compose import Method
from .core import Plan
from .gradient_free import gradient_free_pilot
from .pilot import PilotFn, climbing_pilot
from .rungs import (
    GRADIENT_FREE_RUNGS,
    NUM_PARTICLES,
    RICHER,
    RUNGS,
    Rung,
    generator_names,
    predicted_evals,
    restart_generator,
    restart_method,
    restart_pilot,
)


def default_pilot(has_gradient: bool) -> PilotFn:
    """Before a method of the user's own: it climbs, where there is a slope."""
    return climbing_pilot() if has_gradient else gradient_free_pilot()


def choose_rung(
    dim: int,
    num_samples: int,
    num_replicates: int,
    max_evals: float | None,
    has_gradient: bool = True,
    num_discarded: int = 1,
) -> tuple[Rung, str]:
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
        ladder, wanted = RUNGS, 1 if dim <= 2 else 2 if dim <= 16 else 3
    else:
        ladder, wanted = GRADIENT_FREE_RUNGS, 1 if dim <= 2 else 2
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
    names = ", ".join(generator_names(rung)[1:])
    size = rung.num_pool if rung.pilot_size is None else rung.pilot_size.num_chains
    draws = (
        f" and {rung.num_reweighted} draws of a restart from them" if rung.num_reweighted else ""
    )
    return rung, (
        f"noised-pool restart chosen by {why}: pool of {size} points of the pilot and "
        f"{rung.num_pool} each of {names}{draws}, {rung.num_temperatures} temperatures"
    )


def make_plan(
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
        A `Plan`. ``plan.richer`` are the methods that `sample` goes on to if a discarded ensemble
        shows too few effective draws; `core` runs ``plan.method``.

    Raises:
        ValueError: for sizes that are not positive, more replicates than draws, or a budget that
            is too small.

    >>> make_plan(dim=2, num_samples=10_000).num_ensembles
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
    richer = []
    if method is None:
        num_discarded = num_replicates if has_tolerance else 1
        rung, reason = choose_rung(
            dim, num_samples, num_replicates, max_evals, has_gradient, num_discarded
        )
        method, generator = restart_method(rung), restart_generator(rung)
        pilot, names = restart_pilot(rung), generator_names(rung)
        for factor in RICHER:
            cost = predicted_evals(rung, dim, num_samples, num_replicates, factor)
            if max_evals is None or cost <= max_evals:
                richer.append(restart_method(rung, factor))
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
        tuple(richer),
    )
