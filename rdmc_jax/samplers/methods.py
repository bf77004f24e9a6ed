"""Methods that have a name: the noised-pool restart that `sample` runs, and the published one."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..diffusion.estimators.chain_starts import from_importance
from ..diffusion.estimators.chains import chains, plain_average
from ..diffusion.grids import time_grid
from ..diffusion.transitions import exponential
from ..montecarlo.kernels import mala, random_walk, ula
from ..pools.pilot import PilotFn, climbing_pilot
from ..pools.pool import broad_chains, known_points, union
from ..pools.tempering import tempered_smc
from ..types import Method, PoolGenerator, Start, record
from .finishes import annealed_finish, identity_finish
from .mixture import candidates, mixture
from .noised_pool import noised_pool, shrunk_covariance
from .reweighting import reweighted
from .sampler import levels, rdmc
from .starts import duplicated, langevin_start

NUM_PARTICLES = 1000
"""Particles of one ensemble: fewer share too little, and more draws come from more ensembles."""


@record
class RestartSizes:
    """Sizes of one noised-pool restart, with a gradient or without.

    Args:
        pilot: the pilot that runs before it.
        num_pool: points of each generator of the pool.
        num_steps: of the broad chains; without gradients, of the random walks per temperature.
        num_temperatures: of the annealed finish.
        num_reweighted: particles of the pass that re-weights the pool; 0 for none.
    """

    pilot: PilotFn
    num_pool: int
    num_steps: int
    num_temperatures: int
    num_reweighted: int

    @property
    def has_gradient(self) -> bool:
        """Whether gradients are taken."""
        return isinstance(self.pilot, climbing_pilot)


def restart(
    sizes: RestartSizes, *, num_temperatures: int | None = None, start: Start | None = None
) -> Method:
    """Noised-pool restart, the method that `sample` runs, written down.

    A pool of the pilot's points, broad chains and tempered SMC is re-weighted by one discarded
    restart. Particles start from it with as much noise as it supports, and annealed importance
    sampling takes them to the target. Without gradients random walks take the place of Langevin
    steps, and there are no broad chains.

    Args:
        sizes: see `RestartSizes`; the pilot is not part of the method.
        num_temperatures: of the finish, if not those of the sizes.
        start: `noised_pool` of 1,000 particles by default.
    """
    kernel, acceptance = (mala, 0.6) if sizes.has_gradient else (random_walk, 0.3)
    finish = annealed_finish(
        kernel,
        num_temperatures=sizes.num_temperatures,
        target_acceptance=acceptance,
        reference=shrunk_covariance,
    )
    start = noised_pool(num_particles=NUM_PARTICLES) if start is None else start
    longer = dataclasses.replace(
        finish, num_temperatures=num_temperatures or sizes.num_temperatures
    )
    return rdmc(start, finish=longer, pool=restart_pool(sizes, finish))


def restart_pool(sizes: RestartSizes, finish: annealed_finish) -> PoolGenerator:
    """The pool of `restart`: points of unlike searches, re-weighted by one restart."""
    pool: PoolGenerator
    if sizes.has_gradient:
        broad = broad_chains(num_chains=sizes.num_pool, num_steps=sizes.num_steps)
        pool = union(known_points(), broad, tempered_smc(num_particles=sizes.num_pool))
    else:
        walks = tempered_smc(
            random_walk,
            num_particles=sizes.num_pool,
            num_steps=sizes.num_steps,
            target_acceptance=0.3,
        )
        pool = union(known_points(), walks)
    if sizes.num_reweighted:
        pool = reweighted(pool, finish, num_particles=sizes.num_reweighted)
    return pool


def pool_sources(sizes: RestartSizes) -> tuple[str, ...]:
    """Names of the generators that the numbers in a pool's ``source`` stand for."""
    if sizes.has_gradient:
        return ("pilot and known points", "broad chains", "tempered SMC")
    return ("pilot and known points", "tempered random walks")


MEMBERS_AT_STOP = 25.0
"""Effective number of members where a particle stops, per `NUM_PARTICLES` points of the pool."""


def restart_from(sizes: RestartSizes, size: int, num_temperatures: int) -> Method:
    """The restart from a pool of ``size`` ensembles.

    Args:
        sizes: of the first restart.
        size: draws in the pool over `NUM_PARTICLES`, a power of two; 1 for the first pool.
        num_temperatures: of the finish.
    """
    start = noised_pool(num_particles=NUM_PARTICLES, threshold=MEMBERS_AT_STOP * size)
    return restart(sizes, num_temperatures=num_temperatures, start=start)


def duplicated_restart(sizes: RestartSizes, size: int, num_temperatures: int) -> Method:
    """`restart_from` with `duplicated` particles, for ensembles that are measured and discarded."""
    half = noised_pool(num_particles=NUM_PARTICLES // 2, threshold=MEMBERS_AT_STOP * size)
    return restart(sizes, num_temperatures=num_temperatures, start=duplicated(half))


def mixture_draws(
    *, num_candidates: int = 1, num_temperatures: int = 0, num_pool: int = 512
) -> Method:
    """Draws of a mixture of Gaussians that is fitted to the pool, at one evaluation each.

    It is the cheapest method where a few hundred Gaussians resemble the target. Each draw needs no
    gradient and no chain, and its weight is exact; see `mixture` and `candidates`. The tempering
    that fills the pool takes gradients. It is not for thin, bent targets (bananas, funnels): there
    the weights have a heavy tail (findings R103 and R104), and the default is better.

    Args:
        num_candidates: candidates for each draw; more of them make an unweighted draw better.
        num_temperatures: of each candidate's annealing.
        num_pool: points of tempered SMC in the pool, beside those of the pilot.

    >>> print(mixture_draws(num_candidates=4).finish)
    candidates(4)
    """
    pool = union(known_points(), tempered_smc(num_particles=num_pool))
    finish = candidates(num_candidates, num_temperatures=num_temperatures)
    return rdmc(mixture(num_particles=NUM_PARTICLES), finish=finish, pool=pool)


Schedule = Callable[[jax.Array], jax.Array]


def published(
    *,
    num_particles: int,
    horizon: float = 0.357,
    num_levels: int = 32,
    num_chains: int = 16,
    num_steps: int | Schedule = 16,
    step_size: float | Schedule = 0.01,
    num_importance: int = 128,
    num_start_steps: int = 32,
    start_step_size: float = 0.1,
    start_scale: float = 1.0,
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
