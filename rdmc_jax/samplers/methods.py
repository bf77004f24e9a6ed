"""Methods that have a name: mixture draws, which `sample` runs, restarts, and the published one."""

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
from ..pools.pilot import climbing_pilot, gradient_free_pilot
from ..pools.pool import broad_chains, known_points, union
from ..pools.tempering import tempered_smc
from ..types import Method, PoolGenerator, record
from .finishes import annealed_finish, identity_finish
from .mixture import candidates, mixture
from .noised_pool import noised_pool, shrunk_covariance
from .reweighting import reweighted
from .sampler import levels, rdmc
from .starts import langevin_start

NUM_PARTICLES = 1000
"""Particles of one ensemble: fewer share too little, and more draws come from more ensembles."""


@record
class LargerPool:
    """Sizes of `restarted`, with a gradient or without.

    Args:
        num_chains: chains of its pilot.
        num_chain_steps: their steps.
        num_pool: points of each generator of the pool.
        num_steps: of the broad chains; without gradients, of the random walks per temperature.
        num_temperatures: of the pass that re-weights the pool, and of the restart, at least.
    """

    num_chains: int = 1024
    num_chain_steps: int = 48
    num_pool: int = 512
    num_steps: int = 64
    num_temperatures: int = 64


@record
class MixtureSizes:
    """Sizes of `mixture_draws`, with a gradient or without.

    Args:
        pilot: the pilot that runs before it.
        num_pool: particles of tempered SMC.
        num_steps: its steps per temperature.
        max_rounds: its temperatures, at most.
        num_components: Gaussians that each round of the fit adds.
        num_drawn: draws that each round of the fit discards.
        larger: what takes over where no mixture resembles the target.
    """

    pilot: climbing_pilot | gradient_free_pilot = climbing_pilot()
    num_pool: int = 256
    num_steps: int = 2
    max_rounds: int = 32
    num_components: int = 100
    num_drawn: int = 1000
    larger: LargerPool = LargerPool()

    @property
    def has_gradient(self) -> bool:
        """Whether gradients are taken."""
        return isinstance(self.pilot, climbing_pilot)


MEDIUM_SIZES = MixtureSizes()
NUM_ROUNDS = 4
"""Rounds of the fit: the pool's, two that refit, and one that measures the weights as well."""


def mixture_draws(
    sizes: MixtureSizes = MEDIUM_SIZES, *, num_candidates: int = 1, num_temperatures: int = 0
) -> Method:
    """Mixture draws, the method that `sample` runs, written down.

    The pool has the pilot's points and those of tempered SMC. Rounds that are discarded fit a
    mixture to it, of local Gaussians and of those that the curvature at the pilot's modes
    describes, and draws of the mixture are weighted. Where few of them
    would have weight, there are more candidates for each draw, or temperatures from the mixture to
    the target. Without a gradient random walks take the place of Langevin steps.

    Args:
        sizes: see `MixtureSizes`; the pilot is not part of the method.
        num_candidates: candidates for each draw; more of them make an unweighted draw better.
        num_temperatures: of their annealing.

    Not for thin, bent targets (bananas, funnels): there the weights have a heavy tail (findings
    R103 and R104). The automatic choice then restarts from the noised pool.

    >>> print(mixture_draws(num_candidates=4).finish)
    candidates(4, target_acceptance=0.57)
    """
    kernel, acceptance = (mala, 0.57) if sizes.has_gradient else (random_walk, 0.3)
    start = mixture(
        num_particles=NUM_PARTICLES,
        num_components=sizes.num_components,
        num_rounds=NUM_ROUNDS,
        num_drawn=sizes.num_drawn,
    )
    finish = candidates(
        num_candidates,
        num_temperatures=num_temperatures,
        kernel=kernel,
        target_acceptance=acceptance,
    )
    return rdmc(start, finish=finish, pool=_pool_of(sizes))


def _pool_of(sizes: MixtureSizes) -> PoolGenerator:
    kernel, acceptance = (mala, 0.57) if sizes.has_gradient else (random_walk, 0.3)
    tempered = tempered_smc(
        kernel,
        num_particles=sizes.num_pool,
        num_steps=sizes.num_steps,
        target_acceptance=acceptance,
        max_rounds=sizes.max_rounds,
    )
    return union(known_points(), tempered)


def restarted(sizes: MixtureSizes, *, num_temperatures: int) -> Method:
    """Restart from a larger pool, for targets that no mixture of `mixture_draws` resembles.

    Long chains fill thin, bent regions, and a discarded restart re-weights the pool.

    Args:
        sizes: those of the mixture draws.
        num_temperatures: of the finish.
    """
    larger = sizes.larger
    kernel, acceptance = (mala, 0.6) if sizes.has_gradient else (random_walk, 0.3)
    first = annealed_finish(
        kernel,
        num_temperatures=larger.num_temperatures,
        target_acceptance=acceptance,
        reference=shrunk_covariance,
    )
    pool: PoolGenerator
    if sizes.has_gradient:
        broad = broad_chains(num_chains=larger.num_pool, num_steps=larger.num_steps)
        pool = union(known_points(), tempered_smc(num_particles=larger.num_pool), broad)
    else:
        walks = tempered_smc(
            random_walk,
            num_particles=larger.num_pool,
            num_steps=larger.num_steps,
            target_acceptance=acceptance,
        )
        pool = union(known_points(), walks)
    pool = reweighted(pool, first, num_particles=min(larger.num_pool, NUM_REWEIGHTED))
    finish = dataclasses.replace(first, num_temperatures=num_temperatures)
    return rdmc(noised_pool(num_particles=NUM_PARTICLES), finish=finish, pool=pool)


NUM_REWEIGHTED = 512
"""Particles of the pass that re-weights a pool, at most."""


def larger_pilot(sizes: MixtureSizes) -> climbing_pilot | gradient_free_pilot:
    """The pilot with more and longer chains, for the pool of `restarted`."""
    if isinstance(sizes.pilot, climbing_pilot):
        return dataclasses.replace(
            sizes.pilot,
            num_chains=sizes.larger.num_chains,
            num_steps=sizes.larger.num_chain_steps,
        )
    return dataclasses.replace(sizes.pilot, num_particles=sizes.larger.num_chains)


POOL_SOURCES = ("pilot and known points", "tempered SMC", "broad chains")
"""What the numbers in the ``source`` of the pool of `mixture_draws` stand for."""


def restart(*, num_temperatures: int = 32, num_pool: int = 512, num_steps: int = 64) -> Method:
    """Noised-pool restart: particles stop at noise of their own, and are annealed to the target.

    Particles start from the pool with as much noise as it supports, and annealed importance
    sampling takes each to the target from the Gaussian that resembles its denoising posterior.

    Args:
        num_temperatures: of the finish.
        num_pool: points of each generator of the pool.
        num_steps: of the broad chains.
    """
    finish = annealed_finish(num_temperatures=num_temperatures, reference=shrunk_covariance)
    broad = broad_chains(num_chains=num_pool, num_steps=num_steps)
    pool = union(known_points(), broad, tempered_smc(num_particles=num_pool))
    return rdmc(noised_pool(num_particles=NUM_PARTICLES), finish=finish, pool=pool)


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
