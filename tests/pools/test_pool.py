"""Pools: points of the target, counted evaluations, and what zero density does to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import Gaussian, Mixture, assert_mean, pool_of

import rdmc_jax as rj

TARGET = Gaussian((0.5, -0.5), (0.6, 1.2))
MODES = Mixture((0.5, 0.5), ((-4.0, 0.0), (4.0, 0.0)), ((0.3, 0.3), (0.3, 0.3)))
KNOWN = pool_of(
    [[0.1, 0.2], [2.0, -1.0], [-3.0, 1.5], [4.0, 0.0], [-4.0, -1.0]], [0.0, 0.0, -np.inf, 0.0, 1.0]
)


def generated(generator, target, known=KNOWN):
    return jax.jit(lambda key: generator(key, target.logdensity, known))(jax.random.key(81))


@pytest.mark.parametrize(
    "generator",
    [
        rj.pools.broad_chains(num_chains=2000, num_steps=60),
        rj.pools.tempered_smc(num_particles=2000),
    ],
    ids=["chains", "smc"],
)
def test_pool_of_a_gaussian_has_its_law(generator):
    pool = generated(generator, TARGET)
    assert pool.position.shape == (2000, 2)
    np.testing.assert_array_equal(pool.log_weight, 0.0)
    assert_mean(pool.position, TARGET.mean, slack=0.1)
    squares = (np.asarray(pool.position) - np.asarray(TARGET.mean)) ** 2
    assert_mean(squares, TARGET.variance, slack=0.1)


def test_chains_count_their_evaluations():
    pool = generated(rj.pools.broad_chains(num_chains=10, num_steps=7), TARGET)
    assert pool.num_evals.logdensity == pool.num_evals.gradient == 10 * 8


@pytest.mark.parametrize(
    ("kernel", "gradients"), [(rj.kernels.mala, 1), (rj.kernels.hmc, 4), (None, 0)]
)
def test_tempering_counts_what_its_kernel_evaluates(kernel, gradients):
    rounds = 3
    options = {"num_particles": 8, "num_steps": 2, "max_rounds": rounds, "num_cold_rounds": 9}
    generator = rj.pools.tempered_smc(
        rj.kernels.random_walk if kernel is None else kernel, **options
    )
    pool = generated(generator, TARGET)
    count = 8 * (1 + 2 * rounds * max(gradients, 1))
    assert pool.num_evals == (count, count if gradients else 0)


def test_broad_chains_find_the_modes_that_the_known_points_span():
    pool = generated(rj.pools.broad_chains(num_chains=200, num_steps=60), MODES)
    right = np.asarray(pool.position)[:, 0] > 0
    assert 0.2 < right.mean() < 0.8
    assert np.all(np.abs(np.abs(np.asarray(pool.position)[:, 0]) - 4.0) < 3.0)


def test_known_points_keep_their_weights_and_cost_nothing():
    pool = generated(rj.pools.known_points(), TARGET)
    np.testing.assert_array_equal(pool.position, KNOWN.position)
    np.testing.assert_array_equal(pool.log_weight, KNOWN.log_weight)
    assert pool.num_evals.logdensity == pool.num_evals.gradient == 0


def test_points_of_zero_density_are_kept_out_of_the_pool():
    # the chains of the left half never enter the density, unless a step leads them there
    def fn(x):
        return jnp.where(x[0] > 0, TARGET.logdensity(x), -jnp.inf)

    generator = rj.pools.broad_chains(num_chains=100, num_steps=1)
    pool = jax.jit(lambda key: generator(key, fn, KNOWN))(jax.random.key(0))
    inside = np.asarray(pool.position)[:, 0] > 0
    assert 20 < inside.sum() < 80
    np.testing.assert_array_equal(pool.log_weight, np.where(inside, 0.0, -np.inf))
    assert pool.num_nonfinite >= (~inside).sum()


def test_union_holds_all_points_and_the_sum_of_their_costs():
    one, other = rj.pools.known_points(), rj.pools.broad_chains(num_chains=6, num_steps=3)
    pool = generated(rj.pools.union(one, other), TARGET)
    assert pool.position.shape == (11, 2) and pool.log_weight.shape == (11,)
    np.testing.assert_array_equal(pool.position[:5], KNOWN.position)
    np.testing.assert_array_equal(pool.log_weight[:5], KNOWN.log_weight)
    assert pool.num_evals.logdensity == 24 and pool.num_evals.gradient == 24
