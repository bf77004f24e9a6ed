"""The named compositions: the noised-pool restart that `sample` runs, and the published method."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..diffusion.estimators.chain_starts import from_importance
from ..diffusion.estimators.chains import chains, plain_average
from ..diffusion.grids import time_grid
from ..diffusion.transitions import exponential
from ..montecarlo.kernels import mala, random_walk, ula
from ..pools.pilot import PilotFn, climbing_pilot, gradient_free_pilot
from ..pools.pool import broad_chains, known_points, union
from ..pools.tempering import tempered_smc
from ..types import Finish, PoolGenerator, memoised
from .finishes import annealed_finish, identity_finish
from .noised_pool import no_levels, noised_pool, shrunk_covariance
from .reweighting import reweighted
from .sampler import Method, levels, rdmc
from .starts import duplicated, langevin_start

NUM_PARTICLES = 1000
"""Particles of one ensemble: fewer cooperate badly, and more only means more ensembles."""


NUM_COPIES = 64
"""Copies that set the finish's step sizes (the default of `annealed_finish`)."""


MORE_TEMPERATURES = (2, 4, 8)
"""Factors by which the measured weight ESS may raise the number of temperatures."""


class PilotSize(NamedTuple):
    """Static sizes of `climbing_pilot`."""

    num_rounds: int
    num_starts: int
    num_climbs: int
    num_candidates: int
    num_chains: int
    num_steps: int


class RestartSizes(NamedTuple):
    """Sizes of one noised-pool restart."""

    pilot_size: PilotSize | None  # None: without gradients
    num_pool: int  # points of each generator, and of the pilot without gradients
    num_steps: int  # of the broad chains, or of the random walks per temperature
    num_temperatures: int
    num_reweighted: int  # particles of the pass that re-weights the pool


def restart_finish(rung: RestartSizes, num_temperatures: int) -> Finish:
    """Annealed finish from the pool's local Gaussian."""
    is_blind = rung.pilot_size is None
    return annealed_finish(
        random_walk if is_blind else mala,
        num_temperatures=num_temperatures,
        num_pilot=NUM_COPIES,
        target_acceptance=0.3 if is_blind else 0.6,
        reference=shrunk_covariance,
    )


def restart_method(rung: RestartSizes, factor: int = 1) -> Method:
    """Noised-pool restart: start from the pool, no levels, annealed finish."""
    finish = restart_finish(rung, factor * rung.num_temperatures)
    return rdmc(noised_pool(num_particles=NUM_PARTICLES), no_levels(), finish)


def restart_pilot(rung: RestartSizes) -> PilotFn:
    """The pilot of a rung."""
    if rung.pilot_size is None:
        return gradient_free_pilot(num_particles=rung.num_pool, num_steps=rung.num_steps)
    return climbing_pilot(**rung.pilot_size._asdict())


@memoised
def restart_generator(rung: RestartSizes) -> PoolGenerator:
    """Pool of the pilot's points, broad chains and tempered SMC, re-weighted by one restart."""
    if rung.pilot_size is None:
        walks = tempered_smc(
            random_walk,
            num_particles=rung.num_pool,
            num_steps=rung.num_steps,
            target_acceptance=0.3,
        )
        pool: PoolGenerator = union(known_points(), walks)
    else:
        chains = broad_chains(num_chains=rung.num_pool, num_steps=rung.num_steps)
        pool = union(known_points(), chains, tempered_smc(num_particles=rung.num_pool))
    if rung.num_reweighted:
        finish = restart_finish(rung, rung.num_temperatures)
        pool = reweighted(pool, finish, num_particles=rung.num_reweighted)
    return pool


def pool_sources(rung: RestartSizes) -> tuple[str, ...]:
    """What the numbers in a pool's ``source`` stand for."""
    if rung.pilot_size is None:
        return ("pilot and known points", "tempered random walks")
    return ("pilot and known points", "broad chains", "tempered SMC")


MEMBERS_AT_STOP = 25.0
"""Members that speak for a particle where it stops, per `NUM_PARTICLES` points of the pool."""


def restart_from(rung: RestartSizes, size: int, num_temperatures: int) -> Method:
    """The restart from a pool of ``size`` ensembles.

    Args:
        rung: says which kernel.
        size: draws in the pool over `NUM_PARTICLES`, a power of two; 1 for the pool of the rung.
        num_temperatures: of the finish.
    """
    start = noised_pool(num_particles=NUM_PARTICLES, threshold=MEMBERS_AT_STOP * size)
    return rdmc(start, no_levels(), restart_finish(rung, num_temperatures))


def duplicated_restart(rung: RestartSizes, size: int, num_temperatures: int) -> Method:
    """The same with `duplicated` particles, for ensembles that are measured and thrown away."""
    half = noised_pool(num_particles=NUM_PARTICLES // 2, threshold=MEMBERS_AT_STOP * size)
    return rdmc(duplicated(half), no_levels(), restart_finish(rung, num_temperatures))


Schedule = Callable[[jax.Array], jax.Array]


@memoised
def published(
    *,
    num_particles: int,
    horizon: float,
    num_levels: int,
    num_chains: int,
    num_steps: int | Schedule,
    step_size: float | Schedule,
    num_importance: int,
    num_start_steps: int,
    start_step_size: float,
    start_scale: float,
) -> Method:
    """Algorithm 1 of the paper as a composition; see `paper` for the arguments."""
    inner = functools.partial(
        chains,
        ula,
        begin=from_importance(num_candidates=num_importance),
        average=plain_average,
        num_chains=num_chains,
        num_kept=1,
        num_start_steps=0,
        num_candidates=num_chains,
        reference_scale=float("inf"),
        unit=jnp.ones_like,
    )
    estimator = inner(num_steps=num_steps, step_size=step_size)
    # all steps of the start are at the first level
    first = jnp.zeros((), jnp.int32)
    start = langevin_start(
        inner(
            num_steps=int(num_steps(first)) if callable(num_steps) else num_steps,
            step_size=float(step_size(first)) if callable(step_size) else step_size,
        ),
        num_particles=num_particles,
        num_steps=num_start_steps,
        step_size=start_step_size,
        initial_scale=start_scale,
    )
    grid = time_grid(num_levels, horizon=horizon)
    return rdmc(start, levels(grid, estimator, exponential()), identity_finish())
