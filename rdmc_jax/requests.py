"""What the user asks of accuracy, checked, and turned into what `run_plan` does about it."""

import math
from typing import Any

from .core import Plan, Prepared
from .execution import Refiner
from .generations import Refined, RunFn, refine
from .planning import choose_rung


def check_tolerance(tolerance: float | None, method: Any) -> None:
    """Check a tolerance.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not in (0, 1), or a method is given.
    """
    if tolerance is None:
        return
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float):
        raise TypeError(f"tolerance must be a number in (0, 1), but got {tolerance!r}.")
    if not 0 < tolerance < 1:
        raise ValueError(
            f"tolerance={tolerance!r} must lie between 0 and 1: it is a total variation distance. "
            "0.1 is a usual choice."
        )
    if method is not None:
        raise ValueError(
            f"tolerance={tolerance!r} sets the sizes of the automatic choice only; a method of "
            "your own has the accuracy of its parts, shown as draws.tv_limit. Leave one of the two "
            "out."
        )


def refiner(
    plan: Plan, tolerance: float | None, dim: int, num_samples: int, has_gradient: bool
) -> Refiner | None:
    """What makes better pools for a tolerance; None without one."""
    if tolerance is None:
        return None
    rung, _ = choose_rung(
        dim,
        num_samples,
        plan.num_replicates,
        plan.max_evals,
        has_gradient,
        num_discarded=plan.num_replicates,
    )
    max_total = math.inf if plan.max_evals is None else plan.max_evals * num_samples

    def refined(prepares: list[Prepared], run: RunFn) -> Refined:
        return refine(
            prepares,
            run,
            rung,
            tolerance=float(tolerance),
            num_ensembles=plan.num_ensembles,
            max_total=max_total,
        )

    return Refiner(float(tolerance), refined)
