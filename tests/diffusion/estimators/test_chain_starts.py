"""Particles that share their inner samples: right moments, right counts, and exact weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import Gaussian, Mixture, assert_mean, normalizer_estimates

import rdmc_jax as rj
from rdmc_jax.diffusion.posterior import posterior_at

TARGET = Mixture((0.65, 0.35), ((-0.8, 0.3), (1.0, -0.4)), ((0.5, 0.9), (0.4, 0.6)))
GAUSSIAN = Gaussian((0.5, -1.0), (0.4, 1.3), log_normalizer=0.7)
PROCESS = rj.diffusion.ornstein_uhlenbeck()
NUM_RUNS = 200


def noised_draws(key, num_particles, time):
    x_key, noise_key = jax.random.split(key)
    x = GAUSSIAN.sample(x_key, num_particles)
    t = jnp.full((num_particles,), time)
    noise = jax.random.normal(noise_key, x.shape)
    return PROCESS.alpha(t)[:, None] * x + PROCESS.sigma(t)[:, None] * noise, t


def update(estimator, key, num_particles=64, time=0.5):
    x_key, init_key, update_key = jax.random.split(key, 3)
    x, t = noised_draws(x_key, num_particles, time)
    posterior = posterior_at(PROCESS, x, t)
    state = estimator.init(init_key, GAUSSIAN.logdensity, posterior)
    moments, state = estimator.update(update_key, GAUSSIAN.logdensity, posterior, state)
    exact = jax.vmap(GAUSSIAN.posterior)(posterior.center, posterior.scale)
    return moments, exact, posterior


@pytest.mark.parametrize("reference_scale", [2.0, float("inf")])
def test_pooled_importance_estimates_means_and_marginals(reference_scale):
    estimator = rj.estimators.pooled_importance(num_samples=4, reference_scale=reference_scale)
    keys = jax.random.split(jax.random.key(1), 40)
    moments, (mean, variance), posterior = jax.jit(jax.vmap(lambda key: update(estimator, key)))(
        keys
    )
    z = (np.asarray(moments.mean) - mean) / np.asarray(moments.standard_error)
    # the errors of one run are shared by its particles: each run counts once
    assert_mean(z.mean(1), 0.0, slack=0.05)
    assert 0.6 < np.sqrt(np.mean(z**2)) < 1.6
    assert_mean(np.asarray(moments.variance / variance).mean(1), 1.0, slack=0.05)
    scale2 = posterior.scale[..., None] ** 2 + jnp.asarray(GAUSSIAN.variance)[None, None]
    offset = posterior.center - jnp.asarray(GAUSSIAN.mean)[None, None]
    log_marginal = GAUSSIAN.log_normalizer - 0.5 * jnp.sum(
        offset**2 / scale2 + jnp.log(2 * jnp.pi * scale2), axis=-1
    )
    ratio = np.exp(np.asarray(moments.log_marginal) - log_marginal)
    assert_mean(ratio.mean(1), 1.0)
    np.testing.assert_array_equal(moments.num_evals.logdensity, 4 * 64)
    np.testing.assert_array_equal(moments.num_evals.gradient, 0)


def test_draws_of_pooled_importance_have_the_law_of_each_posterior():
    estimator = rj.estimators.pooled_importance(num_samples=16)

    def once(key):
        x_key, update_key, draw_key = jax.random.split(key, 3)
        posterior = posterior_at(PROCESS, *noised_draws(x_key, 64, 0.5))
        state = estimator.init(update_key, GAUSSIAN.logdensity, posterior)
        _, state = estimator.update(update_key, GAUSSIAN.logdensity, posterior, state)
        mean, variance = jax.vmap(GAUSSIAN.posterior)(posterior.center, posterior.scale)
        return (estimator.draw(draw_key, state) - mean) / jnp.sqrt(variance)

    z = np.asarray(jax.jit(jax.vmap(once))(jax.random.split(jax.random.key(6), 100)))
    assert_mean(z.mean(1), 0.0, slack=0.03)
    assert_mean((z**2).mean(1), 1.0, slack=0.05)


def test_sharing_makes_few_samples_worth_many():
    key = jax.random.key(2)
    alone, _, _ = jax.jit(lambda key: update(rj.estimators.importance(num_samples=4), key))(key)
    pooled, _, _ = jax.jit(lambda key: update(rj.estimators.pooled_importance(num_samples=4), key))(
        key
    )
    assert np.median(pooled.ess) > 10 * np.median(alone.ess)


def test_pooled_chains_use_shared_moments_where_these_suffice():
    options = {"num_chains": 4, "num_steps": 1, "num_start_steps": 20}
    shared = rj.estimators.chains(begin=rj.estimators.from_all_particles(threshold=8.0), **options)
    keys = jax.random.split(jax.random.key(3), 40)
    moments, (mean, variance), _ = jax.jit(jax.vmap(lambda key: update(shared, key)))(keys)
    assert np.median(moments.ess) > 16  # four chains of its own could not
    assert_mean(np.asarray(moments.mean - mean).mean(1), 0.0, slack=0.02)
    assert_mean(np.asarray(moments.variance / variance).mean(1), 1.0, slack=0.08)
    # nothing is paid for sharing: candidates and starts, burn-in, one step
    np.testing.assert_array_equal(moments.num_evals.gradient, 64 * 4 * (1 + 20 + 1))

    never = rj.estimators.chains(begin=rj.estimators.from_all_particles(threshold=1e9), **options)
    own, _, _ = jax.jit(lambda key: update(never, key))(jax.random.key(4))
    assert np.max(own.ess) <= 4 + 1e-4


@pytest.mark.parametrize(
    "estimator",
    [
        rj.estimators.pooled_importance(num_samples=2),
        rj.estimators.chains(
            begin=rj.estimators.from_all_particles(threshold=8.0),
            num_chains=4,
            num_steps=1,
            num_start_steps=5,
        ),
    ],
    ids=["importance", "chains"],
)
def test_mean_weight_is_the_normalizer_though_particles_share(estimator):
    method = rj.rdmc(
        rj.samplers.gaussian_start(num_particles=32),
        rj.samplers.levels(rj.diffusion.log_snr_grid(7, low=-3.0, high=2.0), estimator),
        rj.samplers.gaussian_finish(),
    )

    def density(x):
        return 0.8 + TARGET.logdensity(x)

    estimates = normalizer_estimates(method, density, jnp.zeros(2), jax.random.key(5), NUM_RUNS)
    ratio = estimates / np.exp(0.8)
    assert ratio.std(ddof=1) / np.sqrt(NUM_RUNS) < 0.02
    assert_mean(ratio, 1.0, errors=3.0)
