"""Kernels: invariance from exact draws, one-step laws by algebra, walls of zero density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import Gaussian, assert_mean

from rdmc_jax.montecarlo.kernels import hmc, mala, random_walk, ula, uld
from rdmc_jax.target.flat import guarded

NUM_CHAINS = 20000
GAUSSIAN = Gaussian((1.0, -0.5), (0.5, 2.0), 3.0)
UNADJUSTED = {"ula": ula, "uld": uld}
ADJUSTED = {"mala": (mala, 0.5), "hmc": (hmc, 0.7), "walk": (random_walk, 0.5)}


def log_exponential(x):
    """Density of the logarithm of an exponential variable: skewed, steep on its right."""
    return jnp.sum(x - jnp.exp(x))


def half_normal(x):
    return jnp.sum(jnp.where(x > 0, -0.5 * x**2, jnp.nan))


def moved(kernel, position, rng_key, num_steps=1):
    """States and records of many chains, the last of ``num_steps``."""

    @jax.jit
    def program(position, rng_key):
        init_key, *step_keys = jax.random.split(rng_key, num_steps + 1)
        state = jax.vmap(kernel.init)(position, jax.random.split(init_key, len(position)))
        for key in step_keys:
            state, info = jax.vmap(kernel.step)(jax.random.split(key, len(position)), state)
        return state, info

    return program(position, rng_key)


def powers(x):
    x = np.asarray(x, float)
    return np.concatenate([x, x**2, x**3, x * np.roll(x, 1, axis=1)], axis=1)


@pytest.mark.parametrize("name", ADJUSTED)
@pytest.mark.parametrize("target", ["gaussian", "skewed", "half"])
def test_adjusted_kernels_leave_the_density_invariant(name, target):
    kernel, step_size = ADJUSTED[name]
    key = jax.random.key(5)
    if target == "gaussian":
        logdensity_fn, start = GAUSSIAN.logdensity, GAUSSIAN.sample(key, NUM_CHAINS)
    elif target == "skewed":
        logdensity_fn = log_exponential
        start = jnp.log(jax.random.exponential(key, (NUM_CHAINS, 1)))
    else:
        logdensity_fn = guarded(half_normal)
        start = jnp.abs(jax.random.normal(key, (NUM_CHAINS, 1)))
    state, info = moved(kernel(logdensity_fn, step_size), start, jax.random.key(6), num_steps=2)
    # paired with the start: the noise of the exact draws cancels
    assert_mean(powers(state.position) - powers(start), 0.0)
    # neither all nor nothing is accepted, or the test would see no rejection
    assert 0.05 < float(jnp.mean(info.acceptance_rate)) < 0.99


@pytest.mark.parametrize("name", [*ADJUSTED, *UNADJUSTED])
def test_states_hold_value_and_gradient_at_their_position_and_count_the_work(name):
    factory = {**UNADJUSTED, **{key: kernel for key, (kernel, _) in ADJUSTED.items()}}[name]
    kernel = factory(GAUSSIAN.logdensity, 0.3)
    state, info = moved(kernel, GAUSSIAN.sample(jax.random.key(0), 50), jax.random.key(1))
    value, gradient = jax.vmap(jax.value_and_grad(GAUSSIAN.logdensity))(state.position)
    np.testing.assert_allclose(state.logdensity, value, rtol=1e-5, atol=1e-5)
    if name != "walk":
        np.testing.assert_allclose(state.logdensity_grad, gradient, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(info.num_integration_steps, 4 if name == "hmc" else 1)
    np.testing.assert_array_equal(info.num_nonfinite, 0)


def test_ula_has_the_law_of_its_formula():
    h, start = 0.2, jnp.full((NUM_CHAINS, 2), 0.7)
    state, info = moved(ula(GAUSSIAN.logdensity, h), start, jax.random.key(7))
    mean = 0.7 + h * (np.asarray(GAUSSIAN.mean) - 0.7) / np.asarray(GAUSSIAN.variance)
    terms = np.asarray(state.position, float) - mean
    assert_mean(terms, 0.0)
    assert_mean(terms**2, 2 * h)
    assert_mean(terms[:, 0] * terms[:, 1], 0.0)
    assert np.all(np.isnan(info.acceptance_rate))


def test_mala_with_its_proposals_all_accepted_is_ula():
    # on a flat density every proposal is accepted and the two kernels are random walks
    start = jnp.zeros((NUM_CHAINS, 1))
    state, info = moved(mala(lambda x: 0.0 * jnp.sum(x), 0.2), start, jax.random.key(8))
    np.testing.assert_allclose(info.acceptance_rate, 1.0, rtol=1e-5)
    assert_mean(np.asarray(state.position) ** 2, 0.4)


def test_hmc_of_one_leapfrog_step_is_mala():
    # ε²/2 = h makes proposals and acceptance the same, as random variables
    epsilon = 0.9
    start = jax.random.normal(jax.random.key(9), (200, 1))
    one, info = moved(
        hmc(log_exponential, epsilon, num_integration_steps=1), start, jax.random.key(1)
    )
    other, expected = moved(mala(log_exponential, epsilon**2 / 2), start, jax.random.key(1))
    np.testing.assert_allclose(info.acceptance_rate, expected.acceptance_rate, atol=1e-4)
    np.testing.assert_allclose(one.position, other.position, atol=1e-4)


def test_uld_has_the_law_of_its_splitting():
    epsilon, friction, variance = 0.5, 1.4, 0.6
    kernel = uld(lambda x: -0.5 * jnp.sum(x**2) / variance, epsilon, friction=friction)
    x, p = 0.8, -0.3

    @jax.jit
    @jax.vmap
    def program(key):
        state = kernel.init(jnp.full((1,), x))._replace(momentum=jnp.full((1,), p))
        state, _ = kernel.step(key, state)
        return jnp.stack([state.position[0], state.momentum[0]])

    pair = np.asarray(program(jax.random.split(jax.random.key(10), NUM_CHAINS)), float)
    keep, spread2 = np.exp(-0.5 * friction * epsilon), 1 - np.exp(-friction * epsilon)
    kick = np.asarray([[1.0, 0.0], [-0.5 * epsilon / variance, 1.0]])
    leapfrog = kick @ np.asarray([[1.0, epsilon], [0.0, 1.0]]) @ kick
    refresh = np.diag([1.0, keep])
    mean = refresh @ leapfrog @ refresh @ np.asarray([x, p])
    noise = np.diag([0.0, spread2])
    covariance = refresh @ leapfrog @ noise @ leapfrog.T @ refresh + noise
    assert_mean(pair - mean, 0.0)
    terms = (pair - mean)[:, :, None] * (pair - mean)[:, None, :]
    assert_mean(terms.reshape(-1, 4), covariance.reshape(-1))


def test_uld_starts_with_a_standard_normal_momentum():
    state, _ = moved(uld(GAUSSIAN.logdensity, 1e-6), jnp.zeros((NUM_CHAINS, 1)), jax.random.key(11))
    assert_mean(state.momentum, 0.0)
    assert_mean(np.asarray(state.momentum) ** 2, 1.0)
    still = uld(GAUSSIAN.logdensity, 0.1).init(jnp.ones(2))
    np.testing.assert_array_equal(still.momentum, 0.0)


@pytest.mark.parametrize("name", ["ula", "uld", "mala", "hmc"])
def test_zero_density_is_not_entered_and_is_counted(name):
    kernel = {"ula": ula, "uld": uld, "mala": mala, "hmc": hmc}[name]
    start = jnp.full((4000, 1), 0.05)
    state, info = moved(kernel(guarded(half_normal), 0.2), start, jax.random.key(12))
    assert np.all(np.isfinite(state.logdensity)) and np.all(np.asarray(state.position) > 0)
    assert np.all(np.isfinite(state.logdensity_grad))
    bad = np.asarray(info.num_nonfinite)
    stayed = np.asarray(state.position == start)[:, 0]
    assert 0.2 < np.mean(bad > 0) < 0.6
    assert np.all(stayed[bad > 0]) if name != "hmc" else True
    if name == "mala":
        np.testing.assert_array_equal(np.asarray(info.acceptance_rate)[bad > 0], 0.0)
    if name in ("ula", "uld"):
        np.testing.assert_array_equal(bad > 0, stayed)


@pytest.mark.parametrize("name", ["mala", "hmc"])
def test_a_chain_that_starts_at_zero_density_leaves_it(name):
    kernel = {"mala": mala, "hmc": hmc}[name](guarded(half_normal), 0.4)
    state, _ = moved(kernel, jnp.full((200, 1), -0.1), jax.random.key(13), num_steps=4)
    assert float(jnp.mean(jnp.isfinite(state.logdensity))) > 0.8
