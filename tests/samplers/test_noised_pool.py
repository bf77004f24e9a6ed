"""The noised-pool restart: closed forms, and exactness for any pool fixed beforehand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from targets import assert_mean, moments_of, normalizer_estimates, pool_of
from wrong_pools import NUM_POINTS, TARGET, fixed_generator, fixed_pool

import rdmc_jax as rj
from rdmc_jax.diffusion.kde import pooled_covariance, pooled_moments
from rdmc_jax.diffusion.processes import variance_exploding
from rdmc_jax.pools import pool as pools
from rdmc_jax.samplers.noised_pool import (
    LARGEST_NOISE,
    evenly_permuted,
    sorted_by_neighbourhood,
    stop_levels,
)


def restart(generator, num_temperatures=4, num_particles=32):
    return rj.rdmc(
        rj.samplers.noised_pool(num_particles=num_particles, threshold=8.0),
        finish=rj.samplers.annealed_finish(
            num_temperatures=num_temperatures, num_pilot=8, reference=rj.samplers.shrunk_covariance
        ),
        pool=generator,
    )


def test_pooled_moments_are_those_of_a_kernel_mixture():
    pool = fixed_pool()
    x = np.asarray([[0.0, 0.3], [2.0, -1.0], [-30.0, 4.0]], np.float32)
    sigma = np.asarray([0.4, 1.5, 2.0], np.float32)
    log_density, ess, mean, variance = pooled_moments(jnp.asarray(x), jnp.asarray(sigma), pool)
    covariance = pooled_covariance(jnp.asarray(x), jnp.asarray(sigma), mean, pool)
    y, log_weight = (np.asarray(a, float) for a in pool[:2])
    log_weight = log_weight - special.logsumexp(log_weight)
    for i in range(3):
        log_kernel = stats.norm.logpdf(x[i], y, sigma[i]).sum(1) + log_weight
        share = np.exp(log_kernel - special.logsumexp(log_kernel))
        np.testing.assert_allclose(log_density[i], special.logsumexp(log_kernel), rtol=1e-4)
        np.testing.assert_allclose(ess[i], 1 / np.sum(share**2), rtol=1e-3)
        np.testing.assert_allclose(mean[i], share @ y, rtol=1e-3, atol=1e-4)
        expected = share @ (y - share @ y) ** 2
        np.testing.assert_allclose(variance[i], expected, rtol=1e-3, atol=1e-4)
        expected = np.cov(y.T, aweights=share, ddof=0)
        np.testing.assert_allclose(covariance[i], expected, rtol=1e-3, atol=1e-4)


def test_variances_are_shrunk_to_the_ensemble_s_and_correlations_to_none():
    rng, num, dim = np.random.default_rng(5), 6, 3
    factor, ess = rng.normal(size=(num, dim, dim)), rng.uniform(3.0, 30.0, num)
    covariance, scale = factor @ np.swapaxes(factor, 1, 2), rng.uniform(0.5, 2.0, num)
    covariance[5] = 0.0  # all members at one point
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    moments = moments_of(jnp.zeros((num, dim)), jnp.asarray(variance, jnp.float32))
    moments = moments._replace(ess=jnp.asarray(ess, jnp.float32))
    average = scale[:, None] ** 2 * np.mean(variance / scale[:, None] ** 2, axis=0)
    n = ess[:, None]
    expected = (n * variance + 8 * average) / (n + 8) * (1 + 2 / n) + 1e-6 * scale[:, None] ** 2
    found = rj.samplers.shrunk_covariance(moments, jnp.asarray(scale, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    moments = moments._replace(covariance=jnp.asarray(covariance, jnp.float32))
    found = np.asarray(rj.samplers.shrunk_covariance(moments, jnp.asarray(scale, jnp.float32)))
    for k in range(num):
        np.testing.assert_allclose(np.diag(found[k]), expected[k], rtol=1e-4)
        deviation = np.sqrt(np.outer(variance[k], variance[k])) + 1e-30
        correlation = covariance[k] / deviation * ess[k] / (ess[k] + dim)
        np.fill_diagonal(correlation, 1.0)
        truth = correlation * np.sqrt(np.outer(expected[k], expected[k]))
        np.testing.assert_allclose(found[k], truth, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("num", [6, 256, 300])  # less than a block of particles, two, and a rest
def test_particles_stop_at_the_first_level_that_too_few_members_support(num):
    pool, sigmas = fixed_pool(), jnp.asarray([8.0, 2.0, 0.5, 0.1, 0.01])
    rng = np.random.default_rng(1)
    start = np.asarray(pool.position)[rng.integers(NUM_POINTS, size=num)]
    paths = start + np.asarray(sigmas)[:, None, None] * rng.normal(size=(5, num, 2))
    paths = jnp.asarray(paths, jnp.float32)
    ess = [pooled_moments(paths[k], jnp.full((num,), sigmas[k]), pool)[1] for k in range(5)]
    ess = np.stack(ess)
    for threshold in (8.0, 30.0):
        below = ess < threshold
        expected = np.where(below.any(0), below.argmax(0), 4)
        np.testing.assert_array_equal(stop_levels(paths, sigmas, pool, threshold), expected)
        from_third = np.where(below[2:].any(0), 2 + below[2:].argmax(0), 4)
        np.testing.assert_array_equal(stop_levels(paths, sigmas, pool, threshold, 2), from_third)
    np.testing.assert_array_equal(stop_levels(paths, sigmas, pool, 0.5), 4)


def test_members_far_from_all_others_stop_no_particle_at_coarse_noise():
    """Two dense clusters of width 1, and a few points that are 30 widths from everything."""
    rng = np.random.default_rng(2)
    dense = rng.normal(size=(600, 2)) + np.where(np.arange(600)[:, None] < 300, -8.0, 8.0)
    far = 30.0 * np.asarray([[1.0, -1.0], [-1.0, 1.0], [2.0, 0.0], [0.0, -2.0]])
    pool = pool_of(np.concatenate([dense, np.repeat(far, 10, axis=0)]))
    start = rj.samplers.noised_pool(num_particles=1000)
    drawn = start.sample(
        jax.random.key(5), TARGET.logdensity, rj.diffusion.variance_exploding(), 0.0, pool
    )
    assert float(jnp.max(drawn.time)) <= LARGEST_NOISE[0]
    is_far = jnp.min(jnp.linalg.norm(drawn.x[:, None] - far[None], axis=2), axis=1) < 10.0
    assert int(jnp.sum(is_far)) > 30


@pytest.fixture(scope="module")
def noised():
    start = rj.samplers.noised_pool(num_particles=2000, threshold=8.0)
    program = jax.jit(
        lambda key: start.sample(
            key, TARGET.logdensity, rj.diffusion.variance_exploding(), 0.0, fixed_pool()
        )
    )
    return program(jax.random.key(71))


def test_start_reports_the_pooled_moments_at_its_own_points(noised):
    assert np.unique(np.asarray(noised.time)).size > 3
    log_density, ess, mean, variance = pooled_moments(noised.x, noised.time, fixed_pool())
    np.testing.assert_allclose(noised.log_density, log_density, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(noised.moments.mean, mean, atol=1e-4)
    np.testing.assert_allclose(noised.moments.variance, variance, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(noised.moments.ess, ess, rtol=1e-3)
    assert np.mean(np.asarray(ess) < 8.0) > 0.95


def test_noise_has_the_variance_of_its_level():
    # with a threshold above the pool's size all particles stop at the coarsest level
    start = rj.samplers.noised_pool(num_particles=4000, threshold=1e9)
    sample = jax.jit(
        lambda key: start.sample(
            key, TARGET.logdensity, rj.diffusion.variance_exploding(), 0.0, fixed_pool()
        )
    )
    drawn, pool = sample(jax.random.key(74)), fixed_pool()
    sigma = np.unique(np.asarray(drawn.time))
    assert sigma.shape == (1,)
    weight = np.asarray(jax.nn.softmax(pool.log_weight), float)
    mean = weight @ np.asarray(pool.position, float)
    variance = weight @ (np.asarray(pool.position, float) - mean) ** 2
    assert_mean(drawn.x, mean)
    assert_mean((np.asarray(drawn.x) - mean) ** 2, variance + sigma**2)


def test_the_ratio_of_any_density_to_the_pool_averages_to_one(noised):
    # p_σ(x)/p̂_σ(x) at the level where each particle stopped, p_σ in closed form
    log_p = jax.vmap(lambda x, sigma: TARGET.posterior(x, sigma)[0])(noised.x, noised.time)
    terms = np.exp(np.asarray(log_p - noised.log_density, float) - TARGET.log_normalizer)
    assert terms.std() / np.sqrt(len(terms)) < 0.03
    assert_mean(terms, 1.0, errors=3.0)


def test_mean_weight_is_the_normalizer_for_a_pool_with_wrong_proportions():
    key, num_runs = jax.random.key(72), 150
    estimates = normalizer_estimates(
        restart(fixed_generator), TARGET.logdensity, jnp.zeros(2), key, num_runs
    )
    ratio = estimates / np.exp(TARGET.log_normalizer)
    assert ratio.std(ddof=1) / np.sqrt(num_runs) < 0.02
    assert_mean(ratio, 1.0, errors=3.0)


def test_weights_of_the_pool_need_no_normalization():
    start = rj.samplers.noised_pool(num_particles=16, threshold=8.0)
    process = rj.diffusion.variance_exploding()
    sample = jax.jit(
        lambda pool: start.sample(jax.random.key(0), TARGET.logdensity, process, 0.0, pool)
    )
    one, other = sample(fixed_pool()), sample(fixed_pool(-200.0))
    np.testing.assert_allclose(other.x, one.x, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(other.log_density, one.log_density, atol=1e-2)


def test_a_start_without_levels_of_its_own_needs_levels():
    with pytest.raises(ValueError, match="gaussian_start needs levels"):
        rj.rdmc(rj.samplers.gaussian_start(num_particles=4), finish=rj.samplers.gaussian_finish())


def test_any_part_of_the_ensemble_is_like_the_whole():
    # the first draws are kept when fewer are asked for: they must not be the pool's first members
    left, right = jnp.full((60, 2), -5.0), jnp.full((60, 2), 5.0)
    two_clusters = pool_of(jnp.concatenate([left, right]))
    start = rj.samplers.noised_pool(num_particles=400, threshold=8.0)
    drawn = jax.jit(
        lambda key: start.sample(
            key, TARGET.logdensity, rj.diffusion.variance_exploding(), 0.0, two_clusters
        )
    )(jax.random.key(75))
    share = np.mean(np.asarray(drawn.x)[:100, 0] > 0)
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(100)


# Members chosen evenly over the space: without bias, and with less noise than chance has.


NUM_MEMBERS, NUM, NUM_KEYS = 400, 100, 400
SHARE = np.array([0.5, 0.3, 0.2])
CENTERS = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]])
RNG = np.random.default_rng(0)
MODE = np.arange(NUM_MEMBERS) % 3  # as many points in each, whose weights differ
POINTS = CENTERS[MODE] + RNG.normal(size=(NUM_MEMBERS, 2))
WEIGHT = SHARE[MODE] * RNG.uniform(0.2, 1.8, NUM_MEMBERS)
WEIGHT /= WEIGHT.sum()
POOL = pools.fixed_pool(jnp.asarray(POINTS, jnp.float32), jnp.log(jnp.asarray(WEIGHT, jnp.float32)))
TRUTH = np.bincount(MODE, WEIGHT)


def particles(start):
    """Modes of the particles of many ensembles, shape (NUM_KEYS, NUM)."""

    def one(key):
        x = start.sample(key, None, variance_exploding(), 0.0, POOL).x
        return jnp.argmin(jnp.sum((x[:, None] - CENTERS[None]) ** 2, axis=2), axis=1)

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), NUM_KEYS)))


def test_the_same_members_in_another_order():
    pool = sorted_by_neighbourhood(jax.random.key(0), POOL)
    order = np.lexsort(np.asarray(pool.position).T)
    before = np.lexsort(np.asarray(POOL.position).T)
    for name in ("position", "log_weight", "source"):
        after, old = np.asarray(getattr(pool, name)), np.asarray(getattr(POOL, name))
        np.testing.assert_array_equal(after[order], old[before])
    # neighbours follow each other, and modes are one stretch each
    modes = np.argmin(np.sum((np.asarray(pool.position)[:, None] - CENTERS) ** 2, axis=2), axis=1)
    assert np.sum(modes[1:] != modes[:-1]) == 2


def test_every_place_has_every_rank_equally_often():
    orders = np.stack([evenly_permuted(jax.random.key(k), 7) for k in range(700)])
    assert np.all(np.sort(orders, axis=1) == np.arange(7))
    counts = np.apply_along_axis(np.bincount, 0, orders, minlength=7)
    # 49 binomial counts of mean 100
    assert np.max(np.abs(counts - 100)) < 4 * np.sqrt(100 * 6 / 7)


def test_any_stretch_of_an_order_is_like_the_whole():
    order = np.asarray(evenly_permuted(jax.random.key(1), 1000))
    for stretch in (order[:64], order[:500], order[300:400]):
        shares = np.bincount(stretch // 100, minlength=10) / stretch.size
        assert np.max(np.abs(shares - 0.1)) < 2 / stretch.size


def test_modes_have_the_pool_s_shares_without_bias_and_with_little_noise():
    modes = particles(rj.samplers.noised_pool(num_particles=NUM, threshold=10.0))
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
