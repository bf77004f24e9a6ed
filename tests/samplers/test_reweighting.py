"""A restart that is thrown away: better weights, draws that join, how coarse noise may be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from wrong_pools import FIRST, KNOWN, NUM_POINTS, TARGET, fixed_generator, fixed_pool

import rdmc_jax as rj
from rdmc_jax.samplers.reweighting import DRAWN, largest_useful_noise


@pytest.fixture(scope="module")
def better_pool():
    finish = rj.samplers.annealed_finish(
        num_temperatures=4, num_pilot=8, reference=rj.samplers.shrunk_covariance
    )
    generator = rj.samplers.reweighted(fixed_generator, finish, num_particles=1000, threshold=8.0)
    return jax.jit(lambda key: generator(key, TARGET.logdensity, KNOWN))(jax.random.key(73))


def test_reweighting_moves_the_proportions_of_the_pool_towards_the_target(better_pool):
    before = np.asarray(jax.nn.softmax(fixed_pool().log_weight))[FIRST].sum()
    members = np.asarray(jax.nn.softmax(better_pool.log_weight[:NUM_POINTS]))
    assert before > 0.55
    # most of the way from the pool's proportions to the target's 30/70
    assert 0.4 < (before - members[FIRST].sum()) / (before - 0.3) < 1.1
    np.testing.assert_array_equal(better_pool.position[:NUM_POINTS], fixed_pool().position)


def test_draws_of_the_restart_join_the_pool_in_the_proportions_of_the_target(better_pool):
    weight = np.asarray(jax.nn.softmax(better_pool.log_weight))
    source, position = np.asarray(better_pool.source), np.asarray(better_pool.position)
    draws = source < 0
    assert draws.sum() == 1000 and np.all(source[:NUM_POINTS] == 0)
    np.testing.assert_allclose(weight[draws].sum(), DRAWN, rtol=1e-4)
    own = weight[draws] / weight[draws].sum()
    distance = [np.sum((position[draws] - mean) ** 2, axis=1) for mean in np.asarray(TARGET.mean)]
    share = own[distance[0] < distance[1]].sum()
    error = np.sqrt(0.3 * 0.7 * np.sum(own**2))
    assert abs(share - 0.3) < 4 * error


def test_chains_that_end_nowhere_leave_only_numbers_in_the_pool():
    class Lost:
        def sample(self, *arguments):
            end = rj.samplers.gaussian_finish().sample(*arguments)
            nowhere = jnp.arange(end.log_weight.shape[0]) % 2 == 0
            return end._replace(
                position=jnp.where(nowhere[:, None], jnp.nan, end.position),
                log_weight=jnp.where(nowhere, -jnp.inf, end.log_weight),
            )

    generator = rj.samplers.reweighted(fixed_generator, Lost(), num_particles=40, threshold=8.0)
    pool = jax.jit(lambda key: generator(key, TARGET.logdensity, KNOWN))(jax.random.key(0))
    assert np.all(np.isfinite(pool.position)) and np.isfinite(pool.largest_useful_noise)
    weight = np.asarray(jax.nn.softmax(pool.log_weight))
    np.testing.assert_array_equal(weight[NUM_POINTS::2], 0.0)
    np.testing.assert_allclose(weight[NUM_POINTS:].sum(), DRAWN, rtol=1e-4)


def test_noise_may_be_as_coarse_as_it_was_of_use():
    rng = np.random.default_rng(4)
    sigma = jnp.asarray(np.exp(rng.normal(size=512)), jnp.float32)
    useful = float(np.quantile(sigma, 0.9))
    found = float(largest_useful_noise(sigma, jnp.where(sigma <= useful, 1.0, 1e-3)))
    assert 0.8 * useful < found <= useful
    assert float(largest_useful_noise(sigma, jnp.ones_like(sigma))) > np.quantile(sigma, 0.96)
    far = jnp.where(sigma <= useful, sigma, 10 * sigma)  # members between the modes
    assert float(largest_useful_noise(far, jnp.where(sigma <= useful, 1.0, 0.0))) == 0.0
    # a few particles that happen to get much weight open nothing
    lucky = jnp.where(jnp.arange(512) % 5 == 0, 30.0, jnp.where(sigma <= useful, 1.0, 0.0))
    assert float(largest_useful_noise(sigma, lucky)) <= 1.3 * useful
