"""What to run when the user names no method: static sizes from the dimension and the budget."""

from typing import NamedTuple

from .compose import Method, rdmc
from .core import PilotSize, Plan
from .finishes import annealed
from .memo import memoised
from .pool import broad_chains, known_points, union
from .restart import ensemble_shrunk, no_levels, noised_pool, reweighted
from .tempering import tempered_smc
from .types import Finish, PoolGenerator

NUM_PARTICLES = 1000
"""Particles of one ensemble: fewer cooperate badly, and more only means more ensembles."""


NUM_COPIES = 64
"""Copies that set the finish's step sizes (the default of `annealed`)."""


class Rung(NamedTuple):
    """Sizes of one noised-pool restart."""

    pilot_size: PilotSize
    num_pool: int  # points from each of the two generators
    num_chain_steps: int
    num_temperatures: int
    num_reweighted: int  # particles of the pass that re-weights the pool


RUNGS = (
    Rung(PilotSize(32, 12, 256, 24), 128, 16, 8, 0),
    Rung(PilotSize(256, 12, 512, 24), 256, 32, 16, 256),
    Rung(PilotSize(128, 24, 1024, 48), 512, 64, 64, 512),
    Rung(PilotSize(128, 24, 2048, 64), 1024, 64, 128, 512),
)
"""Ladder of budgets; a step costs about three times the one before."""


@memoised
def restart_generator(rung: Rung) -> PoolGenerator:
    """Pool of the pilot's points, broad chains and tempered SMC, re-weighted by one restart."""
    pool = union(
        known_points(),
        broad_chains(num_chains=rung.num_pool, num_steps=rung.num_chain_steps),
        tempered_smc(num_particles=rung.num_pool),
    )
    if rung.num_reweighted:
        pool = reweighted(pool, restart_finish(rung), num_particles=rung.num_reweighted)
    return pool


def restart_finish(rung: Rung) -> Finish:
    """Annealed finish from the pool's local Gaussian."""
    return annealed(
        num_temperatures=rung.num_temperatures, num_pilot=NUM_COPIES, reference=ensemble_shrunk
    )


def restart_method(rung: Rung) -> Method:
    """Noised-pool restart: start from the pool, no levels, annealed finish."""
    return rdmc(noised_pool(num_particles=NUM_PARTICLES), no_levels(), restart_finish(rung))


def predicted_evals(rung: Rung, dim: int, num_samples: int, num_replicates: int) -> float:
    """Evaluations per output sample, pilot included; ensembles count whole.

    Tempered SMC is counted with ten temperatures plus one per two dimensions, what targets of
    the test set need; the true count is reported with the draws.
    """
    size = rung.pilot_size
    climbs = size.num_starts * size.num_climbs * (dim + 6)
    chains = size.num_chains * (size.num_steps + 1)
    smc = rung.num_pool * (11 + 4 * (10 + dim / 2))
    broad = rung.num_pool * (rung.num_chain_steps + 1)
    reweighting = rung.num_reweighted + NUM_COPIES if rung.num_reweighted else 0
    prepared = climbs + chains + smc + broad + (rung.num_temperatures + 1) * reweighting
    num_ensembles = -(-num_samples // (num_replicates * NUM_PARTICLES))
    ensembles = num_ensembles * (rung.num_temperatures + 1) * (NUM_PARTICLES + NUM_COPIES)
    return num_replicates * (prepared + ensembles) / num_samples


def choose_rung(
    dim: int, num_samples: int, num_replicates: int, max_evals: float | None
) -> tuple[Rung, str]:
    """The rung for a dimension, lowered until it fits the budget.

    Args:
        dim: of the target.
        num_samples: output draws in total.
        num_replicates: replicates that share them.
        max_evals: evaluations per output sample, or None.

    Returns:
        The rung, and the reason in words.

    Raises:
        ValueError: if even the smallest rung exceeds ``max_evals``.
    """
    wanted = 1 if dim <= 2 else 2 if dim <= 16 else 3
    fitting = [
        k
        for k in range(wanted + 1)
        if max_evals is None
        or predicted_evals(RUNGS[k], dim, num_samples, num_replicates) <= max_evals
    ]
    if not fitting:
        least = predicted_evals(RUNGS[0], dim, num_samples, num_replicates)
        raise ValueError(
            f"max_evals={max_evals} evaluations per output sample are too few: the smallest "
            f"budget for {num_samples} draws in {dim} dimensions needs about {least:.0f}. Raise "
            "max_evals to that, ask for more draws (an ensemble has "
            f"{NUM_PARTICLES} particles however few are kept), or pass a method of your own."
        )
    rung = RUNGS[fitting[-1]]
    why = f"dimension {dim}" if fitting[-1] == wanted else f"max_evals={max_evals}"
    return rung, (
        f"noised-pool restart chosen by {why}: pool of {rung.pilot_size.num_chains} climbed and "
        f"2 x {rung.num_pool} broad and tempered points, {rung.num_temperatures} temperatures"
    )


def make_plan(
    *,
    dim: int,
    num_samples: int = NUM_PARTICLES,
    num_replicates: int | None = None,
    method: Method | None = None,
    max_evals: float | None = None,
    pilot_size: PilotSize | None = None,
) -> Plan:
    """Static plan of a run.

    Args:
        dim: number of coordinates of the position.
        num_samples: output draws in total.
        num_replicates: independent ensembles; 4 by default, 2 below 4,000 draws.
        method: explicit composition, or None for the automatic choice.
        max_evals: cap on evaluations per output sample for the automatic choice.
        pilot_size: of the pilot before an explicit method; None to sample in the user's own
            coordinates.

    Returns:
        A `Plan`.

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
    if method is None:
        rung, reason = choose_rung(dim, num_samples, num_replicates, max_evals)
        method, generator = restart_method(rung), restart_generator(rung)
        pilot_size = rung.pilot_size
    share = -(-num_samples // num_replicates)
    num_ensembles = -(-share // method.start.num_particles)
    return Plan(method, pilot_size, generator, num_replicates, num_ensembles, reason, max_evals)
