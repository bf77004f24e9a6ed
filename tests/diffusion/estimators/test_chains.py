"""Chains of every kernel against the closed form, their bookkeeping and their adaptation."""

from functools import partial

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import Mixture, assert_mean, copies

from rdmc_jax.diffusion.estimators import chains, from_importance, plain_average, zero_variance
from rdmc_jax.montecarlo.kernels import hmc, mala, ula, uld
from rdmc_jax.target.flat import guarded
from rdmc_jax.types import Posterior

NUM_PARTICLES, NUM_CHAINS, NUM_STEPS, NUM_START_STEPS = 80, 16, 8, 15
TARGET = Mixture((1.0,), ((0.6, -0.4),), ((0.4, 1.5),))
SKEWED = Mixture((0.7, 0.3), ((-0.3, 0.1), (0.8, -0.3)), ((0.5, 0.8), (0.3, 0.5)))
ONE = Posterior(jnp.asarray([0.9, -1.4]), jnp.asarray(0.8))
NEXT = Posterior(jnp.asarray([0.8, -1.1]), jnp.asarray(0.7))
BLACKJAX_HMC = partial(blackjax.hmc, inverse_mass_matrix=jnp.ones(2), num_integration_steps=3)
BLACKJAX_NUTS = partial(blackjax.nuts, inverse_mass_matrix=jnp.ones(2), max_num_doublings=3)
KERNELS = {
    # kernel, step size, gradients per step
    "mala": (mala, 0.5, 1),
    "ula": (ula, 0.03, 1),
    "uld": (uld, 0.25, 1),
    "hmc": (partial(hmc, num_integration_steps=3), 0.5, 3),
    "blackjax.mala": (blackjax.mala, 0.5, 1),
    "blackjax.hmc": (BLACKJAX_HMC, 0.5, 3),
    "blackjax.nuts": (BLACKJAX_NUTS, 0.5, None),
}


def two_updates(estimator, logdensity_fn, first=ONE, second=NEXT):
    """Moments of two successive levels for an ensemble of equal particles, and draws."""

    @jax.jit
    def program(rng_key):
        keys = jax.random.split(rng_key, 4)
        state = estimator.init(keys[0], logdensity_fn, copies(first, NUM_PARTICLES))

        def level(state, pair):
            key, posterior = pair
            moments, state = estimator.update(
                key, logdensity_fn, copies(posterior, NUM_PARTICLES), state
            )
            return state, moments

        levels = jax.tree.map(lambda *leaves: jnp.stack(leaves), first, second)
        state, moments = jax.lax.scan(level, state, (keys[1:3], levels))
        return moments, estimator.draw(keys[3], state)

    moments, drawn = program(jax.random.key(31))
    return [jax.tree.map(lambda leaf, i=i: leaf[i], moments) for i in (0, 1)], drawn


@pytest.fixture(scope="module", params=KERNELS)
def case(request):
    kernel, step_size, gradients = KERNELS[request.param]
    estimator = chains(
        kernel,
        average=plain_average,
        num_chains=NUM_CHAINS,
        num_steps=NUM_STEPS,
        num_start_steps=NUM_START_STEPS,
        num_candidates=64,
        step_size=step_size,
    )
    return request.param, gradients, *two_updates(estimator, SKEWED.logdensity)


def test_moments_and_draws_are_those_of_the_posterior(case):
    _, _, moments, drawn = case
    for level, posterior in enumerate((ONE, NEXT)):
        _, mean, variance = (np.asarray(a) for a in SKEWED.posterior(*posterior))
        assert_mean(moments[level].mean, mean, slack=0.02)
        # within-cloud variance: low by the share of one effective sample
        np.testing.assert_allclose(np.mean(moments[level].variance, axis=0), variance, rtol=0.12)
    assert_mean(drawn, mean, slack=0.02)
    assert_mean((np.asarray(drawn) - mean) ** 2, variance, slack=0.05 * variance)


def test_standard_error_is_the_scatter_of_independent_particles(case):
    _, _, moments, _ = case
    claimed = np.sqrt(np.mean(np.asarray(moments[0].standard_error) ** 2, axis=0))
    scatter = np.std(moments[0].mean, axis=0, ddof=1)
    np.testing.assert_allclose(claimed / scatter, 1.0, atol=0.35)
    variance = np.mean(moments[0].variance)
    median_ess = np.median(moments[0].ess)
    assert 0.3 < median_ess * np.mean(scatter**2) / variance < 2.0


def test_evaluations_are_counted_exactly_and_once(case):
    name, gradients, moments, _ = case
    if gradients is None:  # trees of up to seven steps each
        steps = int(moments[1].num_evals.gradient) / (NUM_PARTICLES * NUM_CHAINS * NUM_STEPS)
        assert 1 < steps <= 7 and moments[1].num_evals.logdensity == moments[1].num_evals.gradient
        return
    start = NUM_CHAINS * (1 + gradients * NUM_START_STEPS)
    update = NUM_CHAINS * gradients * NUM_STEPS
    assert moments[0].num_evals.gradient == NUM_PARTICLES * (start + update)
    assert moments[0].num_evals.logdensity == NUM_PARTICLES * (64 + start + update)
    assert moments[1].num_evals.gradient == NUM_PARTICLES * update
    assert moments[1].num_evals.logdensity == NUM_PARTICLES * update
    assert np.all(np.isnan(moments[1].acceptance_rate)) == (name in ("ula", "uld"))
    assert moments[0].num_nonfinite == moments[1].num_nonfinite == 0


def test_control_variate_leaves_no_error_on_a_gaussian():
    estimator = chains(num_chains=4, num_steps=2, num_start_steps=5, average=zero_variance)
    moments, _ = two_updates(estimator, TARGET.logdensity)
    for level, posterior in enumerate((ONE, NEXT)):
        _, mean, _ = TARGET.posterior(*posterior)
        expected = np.broadcast_to(mean, (NUM_PARTICLES, 2))
        np.testing.assert_allclose(moments[level].mean, expected, atol=2e-5)
        assert np.all(np.asarray(moments[level].standard_error) < 2e-5)
        # the variance is not known exactly, and the effective sample size says so
        assert np.all(np.asarray(moments[level].ess) <= 8.01)


def test_control_variate_is_consistent_where_the_target_is_not_gaussian():
    estimator = chains(num_chains=16, num_steps=4, num_start_steps=20, average=zero_variance)
    moments, _ = two_updates(estimator, SKEWED.logdensity)
    _, mean, variance = (np.asarray(a) for a in SKEWED.posterior(*ONE))
    assert_mean(moments[0].mean, mean, slack=0.01)
    # less scatter than the mean of as many independent draws would have
    independent = np.sqrt(variance / 64)
    assert np.all(np.std(moments[0].mean, axis=0) < 0.7 * independent)
    claimed = np.sqrt(np.mean(np.asarray(moments[0].standard_error) ** 2, axis=0))
    np.testing.assert_allclose(claimed / np.std(moments[0].mean, axis=0), 1.0, atol=0.35)


def test_chains_that_begin_anew_each_level_pay_for_it():
    start = from_importance(num_candidates=32)
    estimator = chains(begin=start, num_chains=8, num_steps=3, num_start_steps=0, num_candidates=16)
    moments, drawn = two_updates(estimator, SKEWED.logdensity)
    assert moments[1].num_evals.logdensity == NUM_PARTICLES * (32 + 8 + 24)
    assert moments[1].num_evals.gradient == NUM_PARTICLES * (8 + 24)
    first = moments[0].num_evals
    assert first.logdensity == NUM_PARTICLES * (16 + 8 + 32 + 8 + 24)
    _, mean, _ = SKEWED.posterior(*NEXT)
    assert_mean(moments[1].mean, np.asarray(mean), slack=0.02)
    assert_mean(drawn, np.asarray(mean), slack=0.03)


@pytest.mark.parametrize("step_size", [1e-3, 30.0])
def test_step_size_finds_the_target_acceptance(step_size):
    estimator = chains(
        num_chains=8, num_steps=20, num_start_steps=100, step_size=step_size, target_acceptance=0.6
    )
    moments, _ = two_updates(estimator, SKEWED.logdensity)
    np.testing.assert_allclose(np.mean(moments[1].acceptance_rate), 0.6, atol=0.05)


def test_non_finite_values_are_counted_and_do_not_spread():
    wall = guarded(lambda x: jnp.where(x[0] > 0.5, SKEWED.logdensity(x), jnp.nan))
    moments, drawn = two_updates(chains(num_chains=4, num_start_steps=5), wall)
    assert moments[0].num_nonfinite > 0
    for level in moments:
        assert np.all(np.isfinite(level.mean)) and np.all(np.isfinite(level.variance))
    assert np.all(np.asarray(drawn)[:, 0] > 0.5)


@pytest.mark.parametrize("options", [{"num_chains": 1}, {"num_steps": 0}])
def test_too_little_work_is_refused(options):
    with pytest.raises(ValueError, match="chains needs"):
        chains(**options)
