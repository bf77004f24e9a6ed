"""Evaluations that are reported are the calls that a density gets."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdmc_jax as rj
from rdmc_jax.pools.pilot import climbing_pilot
from rdmc_jax.samplers.core import Recipe

CALLS = [0]
# one dimension: in more of them a Hessian's products share a call, and each is counted
PILOT = climbing_pilot(
    num_rounds=2, num_starts=8, num_iterations=4, num_candidates=3, num_chains=16, num_steps=5
)
MIXTURE = rj.samplers.mixture(num_particles=70, num_components=16, num_rounds=2, num_drawn=30)
METHODS = {
    "restart": rj.rdmc(
        rj.samplers.noised_pool(num_particles=20),
        finish=rj.samplers.annealed_finish(num_temperatures=3, num_pilot=4),
    ),
    "candidates": rj.rdmc(MIXTURE, finish=rj.samplers.candidates(3)),
    "temperatures": rj.rdmc(MIXTURE, finish=rj.samplers.candidates(2, num_temperatures=3)),
}


def called(_):
    CALLS[0] += 1


def density(x):
    jax.debug.callback(called, x)
    return -0.5 * jnp.sum(x**2) - 0.1 * jnp.sum(x**4)


@pytest.mark.parametrize("method", METHODS)
def test_all_calls_of_pilot_pool_fit_and_finish_are_counted(method):
    CALLS[0], method = 0, METHODS[method]
    chains = rj.pools.broad_chains(num_chains=5, num_steps=3)
    pool = rj.pools.union(
        rj.pools.known_points(), chains, rj.pools.tempered_smc(rj.kernels.hmc, num_particles=6)
    )
    recipe = Recipe(dataclasses.replace(method, pool=pool), PILOT)
    run = jax.jit(lambda key: rj.core(key, density, jnp.ones(1), plan=recipe))
    found = jax.block_until_ready(run(jax.random.key(0)))
    jax.effects_barrier()
    counted = int(np.sum(found.info.num_evals.logdensity))
    assert counted == CALLS[0] > 700
    assert 0 < int(np.sum(found.info.num_evals.gradient)) < counted
