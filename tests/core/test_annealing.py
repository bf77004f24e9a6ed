"""The annealed finish in its Gaussian's coordinates, and steps that suit each particle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_targets import assert_mean, moments_of

from rdmc_jax import annealed, variance_exploding
from rdmc_jax.annealing import factor_of

PROCESS = variance_exploding()
COVARIANCE = np.asarray([[2.0, -1.2], [-1.2, 0.8]])
WIDTHS, SIGMA = (1.0, 0.08), 1.0


def correlated(x):
    """``N(0, COVARIANCE)``, normalised."""
    quadratic = x @ jnp.asarray(np.linalg.inv(COVARIANCE), jnp.float32) @ x
    return -0.5 * quadratic - 0.5 * np.log(np.linalg.det(2 * np.pi * COVARIANCE))


def of_unequal_widths(x):
    """A round Gaussian on the left, a thin one on the right, both of mass 1."""
    width = jnp.where(x[0] > 0, WIDTHS[1], WIDTHS[0])
    center = jnp.where(x[0] > 0, 50.0, -50.0)
    return -0.5 * jnp.sum((x - center) ** 2) / width**2 - 2 * jnp.log(width) - jnp.log(2 * jnp.pi)


def test_weights_are_constant_where_the_gaussian_is_the_posterior():
    sigma, num = 0.7, 50
    x = jnp.asarray(np.random.default_rng(3).normal(size=(num, 2)), jnp.float32)
    noised = COVARIANCE + sigma**2 * np.eye(2)
    gain = COVARIANCE @ np.linalg.inv(noised)
    posterior = jnp.asarray(gain * sigma**2, jnp.float32)
    finish = annealed(
        num_temperatures=3,
        num_pilot=8,
        reference=lambda moments, scale: jnp.broadcast_to(posterior, (num, 2, 2)),
    )
    known = moments_of(jnp.asarray(x @ gain.T, jnp.float32), jnp.ones((1, 2)))
    end = jax.jit(
        lambda key: finish.sample(key, correlated, PROCESS, x, jnp.full(num, sigma), known)
    )(jax.random.key(1))
    quadratic = np.einsum("ni,ij,nj->n", x, np.linalg.inv(noised), x)
    truth = -0.5 * quadratic - 0.5 * np.log(np.linalg.det(2 * np.pi * noised))
    np.testing.assert_allclose(end.log_weight, truth, atol=2e-4)


@pytest.fixture(scope="module")
def thin_and_round():
    """Particles at both modes, whose Gaussian has the round one's posterior variance."""
    num = 1000
    side = jnp.where(jnp.arange(2 * num) % 2 == 0, -1.0, 1.0)
    x = jnp.broadcast_to(50.0 * side[:, None], (2 * num, 2))
    known = moments_of(x, jnp.full((1, 2), 0.5))
    finish = annealed(
        num_temperatures=64, num_pilot=16, reference=lambda moments, _: moments.variance
    )
    end = jax.jit(
        lambda key: finish.sample(
            key, of_unequal_widths, PROCESS, x, jnp.full(2 * num, SIGMA), known
        )
    )(jax.random.key(2))
    return end, np.asarray(side)


@pytest.mark.parametrize("side", [-1, 1])
def test_chains_move_in_round_and_in_thin_posteriors(thin_and_round, side):
    end, sides = thin_and_round
    assert np.mean(np.asarray(end.acceptance_rate)[sides == side]) > 0.3


@pytest.mark.parametrize("side", [-1, 1])
def test_a_thin_posterior_s_weights_are_unbiased_and_worth_something(thin_and_round, side):
    end, sides = thin_and_round
    width = WIDTHS[1] if side > 0 else WIDTHS[0]
    log_truth = -np.log(2 * np.pi * (width**2 + SIGMA**2))
    terms = np.exp(np.asarray(end.log_weight, float)[sides == side] - log_truth)
    assert_mean(terms, 1.0)
    assert terms.std() < 2.0


def test_a_covariance_without_a_cholesky_factor_gives_its_deviations():
    covariance = jnp.asarray([[[4.0, 1.0], [1.0, 9.0]], [[4.0, 7.0], [7.0, 9.0]]])
    factor = np.asarray(factor_of(covariance))
    np.testing.assert_allclose(factor[0] @ factor[0].T, covariance[0], rtol=1e-5)
    np.testing.assert_allclose(factor[1], np.diag([2.0, 3.0]))
