"""Members chosen evenly over the space: without bias, and with less noise than chance has."""

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax as rj
from rdmc_jax.pool import fixed_pool
from rdmc_jax.processes import variance_exploding
from rdmc_jax.strata import by_neighbourhood, spread_out

NUM_POINTS, NUM, NUM_KEYS = 400, 100, 400
SHARE = np.array([0.5, 0.3, 0.2])
CENTERS = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]])
RNG = np.random.default_rng(0)
MODE = np.arange(NUM_POINTS) % 3  # as many points in each, whose weights differ
POINTS = CENTERS[MODE] + RNG.normal(size=(NUM_POINTS, 2))
WEIGHT = SHARE[MODE] * RNG.uniform(0.2, 1.8, NUM_POINTS)
WEIGHT /= WEIGHT.sum()
POOL = fixed_pool(jnp.asarray(POINTS, jnp.float32), jnp.log(jnp.asarray(WEIGHT, jnp.float32)))
TRUTH = np.bincount(MODE, WEIGHT)


def particles(start):
    """Modes of the particles of many ensembles, shape (NUM_KEYS, NUM)."""

    def one(key):
        x = start.sample(key, None, variance_exploding(), 0.0, POOL).x
        return jnp.argmin(jnp.sum((x[:, None] - CENTERS[None]) ** 2, axis=2), axis=1)

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), NUM_KEYS)))


def test_the_same_members_in_another_order():
    pool = by_neighbourhood(jax.random.key(0), POOL)
    order = np.lexsort(np.asarray(pool.position).T)
    before = np.lexsort(np.asarray(POOL.position).T)
    for name in ("position", "log_weight", "origin"):
        after, old = np.asarray(getattr(pool, name)), np.asarray(getattr(POOL, name))
        np.testing.assert_array_equal(after[order], old[before])
    # neighbours follow each other, and modes are one stretch each
    modes = np.argmin(np.sum((np.asarray(pool.position)[:, None] - CENTERS) ** 2, axis=2), axis=1)
    assert np.sum(modes[1:] != modes[:-1]) == 2


def test_every_place_has_every_rank_equally_often():
    orders = np.stack([spread_out(jax.random.key(k), 7) for k in range(700)])
    assert np.all(np.sort(orders, axis=1) == np.arange(7))
    counts = np.apply_along_axis(np.bincount, 0, orders, minlength=7)
    # 49 binomial counts of mean 100
    assert np.max(np.abs(counts - 100)) < 4 * np.sqrt(100 * 6 / 7)


def test_any_stretch_of_an_order_is_like_the_whole():
    order = np.asarray(spread_out(jax.random.key(1), 1000))
    for stretch in (order[:64], order[:500], order[300:400]):
        shares = np.bincount(stretch // 100, minlength=10) / stretch.size
        assert np.max(np.abs(shares - 0.1)) < 2 / stretch.size


def test_modes_have_the_pool_s_shares_without_bias_and_with_little_noise():
    modes = particles(rj.noised_pool(num_particles=NUM, threshold=10.0))
    chance = np.sqrt(TRUTH * (1 - TRUTH) / NUM)
    # all particles, and the first of them, which are the draws of a run that asks for fewer
    for num in (NUM, NUM // 4):
        shares = np.stack([np.mean(modes[:, :num] == k, axis=1) for k in range(3)], axis=1)
        scatter = shares.std(axis=0)
        # to within about one particle
        assert np.all(scatter < 0.8 / num) and np.all(scatter < 0.4 * np.sqrt(NUM / num) * chance)
        assert np.all(np.abs(shares.mean(axis=0) - TRUTH) < 4 * scatter / np.sqrt(NUM_KEYS))
    # the first particle alone, too
    first = np.bincount(modes[:, 0], minlength=3) / NUM_KEYS
    assert np.all(np.abs(first - TRUTH) < 4 * np.sqrt(TRUTH * (1 - TRUTH) / NUM_KEYS))
