"""The mean weight is the normalising constant, whatever the parts and however rough they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import (
    Gaussian,
    Mixture,
    assert_mean,
    exact_estimator,
    normalizer_estimates,
    run_compiled,
)

import rdmc_jax as rj
from rdmc_jax.target.flat import standardised

TARGET = Mixture((0.65, 0.35), ((-0.8, 0.3), (1.0, -0.4)), ((0.5, 0.9), (0.4, 0.6)))
LOCATION, SCALE = jnp.asarray([3.0, -1.0]), jnp.asarray([4.0, 0.4])
LOG_NORMALIZER = 0.8


def user_density(x):
    """The mixture in coordinates of unlike scales, with a normalising constant e^0.8."""
    return LOG_NORMALIZER + TARGET.logdensity((x - LOCATION) / SCALE) - jnp.sum(jnp.log(SCALE))


INSIDE = standardised(user_density, LOCATION, SCALE)
NUM_RUNS, NUM_PARTICLES = 120, 32
TIMES = rj.diffusion.log_snr_grid(7, low=-3.0, high=2.0)
CHAINS = {"num_chains": 16, "num_start_steps": 5, "num_candidates": 32}
ESTIMATORS = {
    "importance": rj.estimators.importance(num_samples=32, reference_scale=1.5),
    "adaptive": rj.estimators.adaptive(
        rj.estimators.importance(num_samples=8, reference_scale=1.5),
        relative_error=0.3,
        max_batches=6,
    ),
    "ula": rj.estimators.chains(rj.kernels.ula, num_steps=1, step_size=0.3, **CHAINS),
    "mala": rj.estimators.chains(rj.kernels.mala, num_steps=1, **CHAINS),
}
FINISHES = {
    "gaussian": rj.samplers.gaussian_finish(),
    "annealed": rj.samplers.annealed_finish(num_temperatures=3, num_pilot=8),
    "identity": rj.samplers.identity_finish(),
}


@pytest.mark.parametrize("finish", FINISHES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_mean_weight_is_the_normalizer(estimator, finish):
    method = rj.rdmc(
        rj.samplers.gaussian_start(num_particles=NUM_PARTICLES),
        rj.samplers.levels(TIMES, ESTIMATORS[estimator]),
        FINISHES[finish],
    )
    key = jax.random.key(51)
    estimates = normalizer_estimates(method, INSIDE, jnp.zeros(2), key, NUM_RUNS)
    ratio = estimates / np.exp(LOG_NORMALIZER)
    assert ratio.std(ddof=1) / np.sqrt(NUM_RUNS) < 0.015
    assert_mean(ratio, 1.0, errors=3.0)


@pytest.mark.parametrize("transition", [rj.diffusion.exponential(), rj.diffusion.ancestral()])
def test_mean_weight_is_the_normalizer_for_every_transition_with_a_density(transition):
    times = rj.diffusion.log_snr_grid(12, low=-2.0, high=1.0)
    method = rj.rdmc(
        rj.samplers.gaussian_start(num_particles=NUM_PARTICLES),
        rj.samplers.levels(times, ESTIMATORS["importance"], transition),
        rj.samplers.gaussian_finish(),
    )
    key = jax.random.key(52)
    estimates = normalizer_estimates(method, INSIDE, jnp.zeros(2), key, NUM_RUNS)
    ratio = estimates / np.exp(LOG_NORMALIZER)
    assert ratio.std(ddof=1) / np.sqrt(NUM_RUNS) < 0.03
    assert_mean(ratio, 1.0, errors=3.0)


def test_mean_weight_is_the_normalizer_of_the_process_without_shrinking():
    process = rj.diffusion.variance_exploding()
    times = rj.diffusion.log_snr_grid(6, low=-3.0, high=2.0, process=process)
    method = rj.rdmc(
        rj.samplers.gaussian_start(num_particles=NUM_PARTICLES, scale=float(np.exp(1.5)) + 0.3),
        rj.samplers.levels(times, ESTIMATORS["importance"], process=process),
        rj.samplers.gaussian_finish(),
    )
    key = jax.random.key(53)
    estimates = normalizer_estimates(method, INSIDE, jnp.zeros(2), key, NUM_RUNS)
    ratio = estimates / np.exp(LOG_NORMALIZER)
    assert ratio.std(ddof=1) / np.sqrt(NUM_RUNS) < 0.02
    assert_mean(ratio, 1.0, errors=3.0)


GAUSSIAN = Gaussian((0.6, -0.8), (0.3, 1.4), 1.7)


@pytest.fixture(scope="module", params=["gaussian", "identity"])
def exact_run(request):
    method = rj.rdmc(
        rj.samplers.gaussian_start(num_particles=400),
        rj.samplers.levels(
            rj.diffusion.log_snr_grid(5, low=-2.0, high=2.0), exact_estimator(GAUSSIAN)
        ),
        FINISHES[request.param],
    )
    key = jax.random.key(54)
    first, last, _ = run_compiled(method, GAUSSIAN.logdensity, jnp.zeros(2), key)
    return request.param, first, last


def test_with_exact_moments_weights_repair_the_start_and_nothing_else(exact_run):
    # log w = log Z + log p_T(x_T) - log N(x_T; 0, I), path by path, on as few levels as one likes
    name, first, last = exact_run
    process, t = rj.diffusion.ornstein_uhlenbeck(), rj.diffusion.log_snr_grid(5, low=-2.0, high=2.0)
    start = Gaussian((0.0, 0.0), (1.0, 1.0))
    log_start = jax.vmap(start.logdensity)(first.position)
    expected = GAUSSIAN.noised_logdensity(process, first.position, t[0]) - log_start
    expected = expected + GAUSSIAN.log_normalizer
    if name == "identity":
        x = last.position * process.alpha(t[-1])
        jacobian = 2 * jnp.log(process.alpha(t[-1]))
        target = jax.vmap(GAUSSIAN.logdensity)(last.position) - GAUSSIAN.log_normalizer
        expected = expected + target - jacobian - GAUSSIAN.noised_logdensity(process, x, t[-1])
    assert float(jnp.std(expected)) > 0.1
    np.testing.assert_allclose(last.log_weight, expected, atol=5e-4)


def test_bridge_with_exact_draws_reproduces_a_gaussian_on_two_levels():
    # bridge and moment matched make no error of their own; what the start lacks decays with e^-T
    method = rj.rdmc(
        rj.samplers.gaussian_start(num_particles=20000),
        rj.samplers.levels(
            rj.diffusion.log_snr_grid(2, low=-12.0, high=8.0),
            exact_estimator(GAUSSIAN),
            rj.diffusion.bridge(),
        ),
        rj.samplers.gaussian_finish(),
    )
    key = jax.random.key(55)
    _, last, _ = run_compiled(method, GAUSSIAN.logdensity, jnp.zeros(2), key)
    assert np.all(np.isnan(last.log_weight))
    draws = np.asarray(last.position, float)
    assert_mean(draws, GAUSSIAN.mean, slack=3e-3)
    assert_mean((draws - np.asarray(GAUSSIAN.mean)) ** 2, GAUSSIAN.variance, slack=3e-3)
