"""Static sizes of the noised-pool restart, with a gradient and without, and their cost."""

from typing import NamedTuple

from .annealing import annealed
from .compose import Method, rdmc
from .gradient_free import gradient_free_pilot
from .kernels import mala, random_walk
from .memo import memoised
from .pilot import PilotFn, climbing_pilot, pilot_evaluations
from .pool import broad_chains, known_points, union
from .restart import ensemble_shrunk, no_levels, noised_pool
from .reweighting import reweighted
from .tempering import tempered_smc
from .types import Finish, PoolGenerator

NUM_PARTICLES = 1000
"""Particles of one ensemble: fewer cooperate badly, and more only means more ensembles."""
NUM_COPIES = 64
"""Copies that set the finish's step sizes (the default of `annealed`)."""
RICHER = (2, 4, 8)
"""Factors by which the measured weight ESS may raise the number of temperatures."""


class PilotSize(NamedTuple):
    """Static sizes of `climbing_pilot`."""

    num_rounds: int
    num_starts: int
    num_climbs: int
    num_candidates: int
    num_chains: int
    num_steps: int


class Rung(NamedTuple):
    """Sizes of one noised-pool restart."""

    pilot_size: PilotSize | None  # None: without gradients
    num_pool: int  # points of each generator, and of the pilot without gradients
    num_steps: int  # of the broad chains, or of the random walks per temperature
    num_temperatures: int
    num_reweighted: int  # particles of the pass that re-weights the pool


RUNGS: tuple[Rung, ...] = (
    Rung(PilotSize(2, 32, 12, 16, 256, 24), 128, 16, 8, 0),
    Rung(PilotSize(4, 128, 6, 16, 1024, 12), 256, 32, 16, 512),
    Rung(PilotSize(3, 128, 16, 512, 1024, 48), 512, 64, 64, 512),
    Rung(PilotSize(3, 128, 16, 512, 2048, 64), 1024, 64, 128, 512),
)
"""With a gradient; a step costs two to four times the one before."""
GRADIENT_FREE_RUNGS: tuple[Rung, ...] = (
    Rung(None, 256, 4, 16, 0),
    Rung(None, 512, 6, 32, 256),
    Rung(None, 1024, 8, 128, 512),
)
"""Without one: the same restart with random walks."""


def restart_finish(rung: Rung, num_temperatures: int) -> Finish:
    """Annealed finish from the pool's local Gaussian."""
    is_blind = rung.pilot_size is None
    return annealed(
        random_walk if is_blind else mala,
        num_temperatures=num_temperatures,
        num_pilot=NUM_COPIES,
        target_acceptance=0.3 if is_blind else 0.6,
        reference=ensemble_shrunk,
    )


def restart_method(rung: Rung, factor: int = 1) -> Method:
    """Noised-pool restart: start from the pool, no levels, annealed finish."""
    finish = restart_finish(rung, factor * rung.num_temperatures)
    return rdmc(noised_pool(num_particles=NUM_PARTICLES), no_levels(), finish)


def restart_pilot(rung: Rung) -> PilotFn:
    """The pilot of a rung."""
    if rung.pilot_size is None:
        return gradient_free_pilot(num_particles=rung.num_pool, num_steps=rung.num_steps)
    return climbing_pilot(**rung.pilot_size._asdict())


@memoised
def restart_generator(rung: Rung) -> PoolGenerator:
    """Pool of the pilot's points, broad chains and tempered SMC, re-weighted by one restart."""
    if rung.pilot_size is None:
        walks = tempered_smc(
            random_walk,
            num_particles=rung.num_pool,
            num_steps=rung.num_steps,
            target_acceptance=0.3,
        )
        pool = union(known_points(), walks)
    else:
        chains = broad_chains(num_chains=rung.num_pool, num_steps=rung.num_steps)
        pool = union(known_points(), chains, tempered_smc(num_particles=rung.num_pool))
    if rung.num_reweighted:
        finish = restart_finish(rung, rung.num_temperatures)
        pool = reweighted(pool, finish, num_particles=rung.num_reweighted)
    return pool


def generator_names(rung: Rung) -> tuple[str, ...]:
    """What the numbers in a pool's ``origin`` stand for."""
    if rung.pilot_size is None:
        return ("pilot and known points", "tempered random walks")
    return ("pilot and known points", "broad chains", "tempered SMC")


def ensemble_evals(rung: Rung, num_temperatures: int, num_particles: int = NUM_PARTICLES) -> int:
    """Evaluations of one ensemble's `annealed` finish."""
    looks = 0 if rung.pilot_size is None else num_particles
    return (num_temperatures + 1) * (num_particles + NUM_COPIES) + looks


def predicted_evals(
    rung: Rung,
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
