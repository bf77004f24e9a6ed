"""What the user asks of accuracy, checked, and turned into what `run_plan` does about it."""

import math
from collections.abc import Callable

from .compose import Method
from .core import Plan, Prepared
from .execution import Refiner
from .generations import Refined, RunFn, refine
from .level_generations import check_growing, refine_levels
from .planning import choose_rung


def check_tolerance(tolerance: float | None, method: Method | None) -> None:
    """Check a tolerance.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not in (0, 1), or nothing of the method can grow.
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
        check_growing(method)


def refiner(
    plan: Plan,
    tolerance: float | None,
    method: Method | None,
    dim: int,
    num_samples: int,
    has_gradient: bool,
) -> Refiner | None:
    """What makes better pools, or a larger composition, for a tolerance; None without one."""
    if tolerance is None:
        return None
    wanted = float(tolerance)
    num_ensembles = plan.num_ensembles
    max_total = math.inf if plan.max_evals is None else plan.max_evals * num_samples

    def larger(prepares: list[Prepared], run: RunFn, tell: Callable[[str], None]) -> Refined:
        return refine_levels(
            prepares,
            run,
            plan.method,
            tolerance=wanted,
            num_ensembles=num_ensembles,
            max_total=max_total,
            tell=tell,
        )

    if method is not None:
        return Refiner(wanted, larger)
    rung, _ = choose_rung(
        dim,
        num_samples,
        plan.num_replicates,
        plan.max_evals,
        has_gradient,
        num_discarded=plan.num_replicates,
    )

    def refined(prepares: list[Prepared], run: RunFn, tell: Callable[[str], None]) -> Refined:
        return refine(
            prepares,
            run,
            rung,
            tolerance=wanted,
            num_ensembles=num_ensembles,
            max_total=max_total,
            tell=tell,
        )

    return Refiner(wanted, refined)
