"""Transitions on a Gaussian target, whose reverse kernel is known in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from targets import Gaussian, assert_mean, moments_of

from rdmc_jax.diffusion import (
    ancestral,
    bridge,
    ddim,
    exponential,
    moment_matched,
    ornstein_uhlenbeck,
    variance_exploding,
)
from rdmc_jax.diffusion.posterior import posterior_at, score_from_mean
from rdmc_jax.diffusion.transitions import predictive_variance

OU = ornstein_uhlenbeck()
TARGET = Gaussian((0.7, -1.5), (0.2, 2.5))
NUM_PARTICLES = 20000
KEY = jax.random.key(3)
WEIGHTED = [exponential(), ancestral(), moment_matched()]


def times(t, num_particles):
    return jnp.full((num_particles,), t)


@partial(jax.jit, static_argnames=("transition", "process"))
def step(transition, x, t, s, process=OU):
    """One transition with exact moments and an exact posterior draw."""
    t, s = times(t, x.shape[0]), times(s, x.shape[0])
    posterior = posterior_at(process, x, t)
    mean, variance = TARGET.posterior(posterior.center, posterior.scale)
    move_key, draw_key = jax.random.split(KEY)
    drawn = mean + jnp.sqrt(variance) * jax.random.normal(draw_key, x.shape, x.dtype)
    return transition(move_key, process, x, t, s, moments_of(mean, variance), drawn)


def law(transition, x, t, s):
    """Mean and standard deviation of a Gaussian transition, in double precision.

    The same key at two conditionings gives the same noise: with x = m = 0 it is all that is left.
    Its unit is taken from the ancestral step, whose variance `test_ancestral...` fixes.
    """
    posterior = posterior_at(OU, x, times(t, len(x)))
    mean, variance = TARGET.posterior(posterior.center, posterior.scale)

    def draw(transition, x, mean):
        moments = moments_of(mean, variance)
        return transition(KEY, OU, x, times(t, len(x)), times(s, len(x)), moments, mean)[0]

    zero = jnp.zeros_like(x)
    noise = draw(transition, zero, zero)
    alpha_ratio2 = np.exp(-2 * (t - s))
    ancestral_variance = (1 - alpha_ratio2) * (1 - np.exp(-2 * s)) / (1 - np.exp(-2 * t))
    unit = draw(ancestral(), zero, zero) / np.sqrt(ancestral_variance)
    return np.asarray(draw(transition, x, mean) - noise), np.asarray(noise / unit)


def test_exponential_is_the_step_of_the_paper():
    t, s, size = 0.9, 0.65, NUM_PARTICLES
    eta = 0.25
    x, mean = jnp.full((size, 1), 0.4), jnp.full((size, 1), -0.8)
    new, log_ratio = exponential()(
        KEY, OU, x, times(t, size), times(s, size), moments_of(mean, jnp.ones(())), mean
    )
    score = (np.exp(-t) * -0.8 - 0.4) / (1 - np.exp(-2 * t))
    expected = np.exp(eta) * 0.4 + 2 * (np.exp(eta) - 1) * score
    variance = np.exp(2 * eta) - 1
    assert_mean(new, expected)
    assert_mean((np.asarray(new) - expected) ** 2, variance)
    # the reported ratio says the same of every draw
    y = np.asarray(new, float)[:, 0]
    forward = stats.norm.logpdf(0.4, np.exp(-eta) * y, np.sqrt(1 - np.exp(-2 * eta)))
    backward = stats.norm.logpdf(y, expected, np.sqrt(variance))
    np.testing.assert_allclose(log_ratio, forward - backward, atol=2e-4)


def test_ancestral_is_the_bridge_with_the_mean_in_place_of_the_draw():
    t, s, size = 0.9, 0.4, NUM_PARTICLES
    x, mean = jnp.full((size, 1), 0.4), jnp.full((size, 1), -0.8)
    arguments = (KEY, OU, x, times(t, size), times(s, size), moments_of(mean, jnp.ones(())), mean)
    new, _ = ancestral()(*arguments)
    np.testing.assert_allclose(new, bridge()(*arguments)[0], rtol=1e-5, atol=1e-6)
    variance_t, variance_s = 1 - np.exp(-2 * t), 1 - np.exp(-2 * s)
    forward = 1 - np.exp(-2 * (t - s))
    expected = (np.exp(s - t) * variance_s * 0.4 + np.exp(-s) * forward * -0.8) / variance_t
    assert_mean(new, expected)
    assert_mean((np.asarray(new) - expected) ** 2, forward * variance_s / variance_t)


def test_weighted_transitions_agree_to_first_order_in_the_step():
    with jax.enable_x64(True):
        x = jnp.asarray([[0.3, -0.8], [1.5, 2.0]])
        gaps = []
        for eta in (0.02, 0.01):
            laws = [law(transition, x, 0.5, 0.5 - eta) for transition in WEIGHTED]
            scaled = [(mean, deviation**2) for mean, deviation in laws]
            gaps.append([[scaled[0][k] - scaled[j][k] for k in (0, 1)] for j in (1, 2)])
        coarse, fine = np.asarray(gaps[0]), np.asarray(gaps[1])
    # the means of ancestral and moment matched are the same, and so are their gaps
    np.testing.assert_allclose(coarse / fine, 4.0, rtol=0.05)
    assert np.all(np.abs(coarse) < 5e-2)


@pytest.mark.parametrize("process", [OU, variance_exploding()], ids=["ou", "ve"])
def test_moment_matched_is_the_exact_reverse_kernel_of_a_gaussian(process):
    t, s = 1.1, 0.2
    x = TARGET.noised_sample(jax.random.key(1), process, t, 500)
    new, log_ratio = step(moment_matched(), x, t, s, process=process)
    # detailed balance: log F(x|y) - log B(y|x) = log p_t(x) - log p_s(y), for every pair
    balance = TARGET.noised_logdensity(process, x, t) - TARGET.noised_logdensity(process, new, s)
    np.testing.assert_allclose(log_ratio, balance, atol=1e-4)


@pytest.mark.parametrize("transition", [moment_matched(), bridge()])
def test_marginals_of_a_gaussian_are_exact_in_one_long_step(transition):
    t, s = 1.5, 0.1
    x = TARGET.noised_sample(jax.random.key(2), OU, t, NUM_PARTICLES)
    new = np.asarray(step(transition, x, t, s)[0], float)
    mean, variance = (np.asarray(a, float) for a in TARGET.noised(OU, s))
    assert_mean(new, mean)
    assert_mean((new - mean) ** 2, variance)
    assert_mean(np.prod(new - mean, axis=1), 0.0)


@pytest.mark.parametrize("transition", [moment_matched(), bridge()])
def test_step_to_noise_free_time_draws_the_target(transition):
    x = TARGET.noised_sample(jax.random.key(4), OU, 0.8, NUM_PARTICLES)
    new = np.asarray(step(transition, x, 0.8, 0.0)[0], float)
    assert_mean(new, TARGET.mean)
    assert_mean((new - np.asarray(TARGET.mean)) ** 2, TARGET.variance)


@pytest.mark.parametrize("transition", [bridge(), ddim()])
def test_transitions_without_a_density_report_no_weight(transition):
    assert step(transition, jnp.ones((2, 2)), 0.5, 0.3)[1] is None


def test_ddim_keeps_the_marginals_of_a_gaussian_up_to_second_order():
    # Cauchy-Schwarz: one step lowers the variance by v (α_s σ_t - α_t σ_s)²/(α_t² v + σ_t²)
    t, s = 0.7, 0.5
    with jax.enable_x64(True):
        mean_t, variance_t = (np.asarray(a) for a in TARGET.noised(OU, t))
        x = jnp.asarray(mean_t + np.asarray([[0.0, 0.0], [1.0, 1.0]]) * np.sqrt(variance_t))
        low, high = np.asarray(step(ddim(), x, t, s)[0])
        mean_s, variance_s = (np.asarray(a) for a in TARGET.noised(OU, s))
        alpha, sigma = np.exp([-t, -s]), np.sqrt(-np.expm1([-2 * t, -2 * s]))
    np.testing.assert_allclose(low, mean_s, rtol=1e-12)
    turned = alpha[1] * sigma[0] - alpha[0] * sigma[1]
    lost = np.asarray(TARGET.variance) * turned**2 / variance_t
    np.testing.assert_allclose((high - low) ** 2, variance_s - lost, rtol=1e-10)
    assert np.all(lost < 0.03 * variance_s)


def test_predictive_variance_is_shrunk_to_a_standard_gaussian_and_widened():
    scale, ess = jnp.asarray([0.5]), 6.0
    moments = moments_of(jnp.zeros((1, 2)), jnp.asarray([[0.1, 3.0]]), ess)
    prior = 0.25 / 1.25
    expected = (6 * np.asarray([[0.1, 3.0]]) + 2 * prior) / 8 * (1 + 1 / 6)
    np.testing.assert_allclose(predictive_variance(moments, scale), expected, rtol=1e-5)


def test_predictive_variance_of_known_moments_is_their_variance():
    moments = moments_of(jnp.zeros((1, 2)), jnp.asarray([[0.1, 3.0]]), np.inf)
    np.testing.assert_allclose(predictive_variance(moments, jnp.ones(1)), [[0.1, 3.0]], rtol=1e-6)


def test_predictive_variance_survives_moments_that_are_worth_nothing():
    moments = moments_of(jnp.zeros((1, 2)), jnp.zeros((1, 2)), 0.0)
    assert np.all(np.asarray(predictive_variance(moments, jnp.ones(1))) > 0.1)


def test_exponential_refuses_other_processes():
    with pytest.raises(ValueError, match="Ornstein-Uhlenbeck"):
        step(exponential(), jnp.ones((2, 2)), 0.5, 0.3, process=variance_exploding())


def test_only_the_bridge_asks_for_a_draw():
    assert bridge().needs_draw
    for transition in (*WEIGHTED, ddim()):
        assert not getattr(transition, "needs_draw", False)
    x, t = jnp.ones((2, 2)), times(0.5, 2)
    with pytest.raises(ValueError, match="posterior_draw"):
        bridge()(KEY, OU, x, t, t / 2, moments_of(x, jnp.ones(())))


@pytest.mark.parametrize("shapes", [((2,), (2,)), ((2, 3), ()), ((2, 3), (3,))])
def test_wrong_shapes_are_refused_before_anything_runs(shapes):
    x, t = (jnp.ones(shape) for shape in shapes)
    with pytest.raises(AssertionError, match="shape"):
        moment_matched()(KEY, OU, x, t, t / 2, moments_of(jnp.ones((2, 3)), jnp.ones(())))


def test_tweedie_turns_the_exponential_mean_into_the_score():
    # x_s - e^η x is twice (e^η - 1) the score: a single factor would halve it
    x = jnp.asarray([[0.3, -0.8]])
    with jax.enable_x64(True):
        x = x.astype(jnp.float64)
        mean, _ = law(exponential(), x, 0.5, 0.5 - 1e-4)
        posterior = posterior_at(OU, x, times(0.5, 1))
        exact, _ = TARGET.posterior(posterior.center, posterior.scale)
        score = score_from_mean(OU, x, times(0.5, 1), exact)
        drift = (mean - np.asarray(x)) / 1e-4
        np.testing.assert_allclose(drift, x + 2 * score, rtol=1e-3)
