"""Finishes: unbiased estimates of the noised density, and their bookkeeping."""

from functools import partial

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import Mixture, assert_mean, copies, moments_of

from rdmc_jax.diffusion import ornstein_uhlenbeck, variance_exploding
from rdmc_jax.diffusion.posterior import posterior_at
from rdmc_jax.montecarlo.kernels import hmc, mala, random_walk
from rdmc_jax.samplers import annealed_finish, gaussian_finish, identity_finish
from rdmc_jax.samplers.finishes import factor_of
from rdmc_jax.target.flat import guarded

PROCESS, T, NUM_PARTICLES = ornstein_uhlenbeck(), 0.6, 4000
TARGET = Mixture((0.6, 0.4), ((-0.7, 0.4), (0.9, -0.3)), ((0.4, 0.7), (0.6, 0.3)), 0.9)
X = jnp.asarray([0.2, -0.5])
UNIT_MASS = {"inverse_mass_matrix": jnp.ones(2)}
BLACKJAX_HMC = partial(blackjax.hmc, num_integration_steps=2, **UNIT_MASS)
BLACKJAX_NUTS = partial(blackjax.nuts, max_num_doublings=3, **UNIT_MASS)


def correlated(moments, scale):
    """A covariance that is as wrong as the variance is, and correlated."""
    deviation = jnp.sqrt(moments.variance)
    return deviation[:, :, None] * jnp.asarray([[[1.0, 0.5], [0.5, 1.0]]]) * deviation[:, None, :]


FINISHES = {
    "gaussian": (gaussian_finish(), 1, 0),
    "mala": (annealed_finish(mala, num_temperatures=3, num_pilot=16), 4, 4),
    "covariances": (annealed_finish(num_temperatures=3, reference=correlated), 4, 4),
    "random walk": (annealed_finish(random_walk, num_temperatures=3), 4, 0),
    "hmc": (annealed_finish(partial(hmc, num_integration_steps=2), num_temperatures=3), 7, 7),
    "blackjax.mala": (annealed_finish(blackjax.mala, num_temperatures=3), 4, 4),
    "blackjax.hmc": (annealed_finish(BLACKJAX_HMC, num_temperatures=3), 7, 7),
    "blackjax.nuts": (annealed_finish(BLACKJAX_NUTS, num_temperatures=3), None, None),
}


@pytest.fixture(scope="module", params=FINISHES)
def finished(request):
    """Every particle at the same point, with moments that are wrong by a good deal."""
    finish, *counts = FINISHES[request.param]
    counts = (request.param, *counts)
    x, t = copies(X, NUM_PARTICLES), jnp.full((NUM_PARTICLES,), T)
    posterior = posterior_at(PROCESS, X[None], jnp.asarray([T]))
    truth = jax.jit(TARGET.posterior)(posterior.center[0], posterior.scale[0])
    log_integral, mean, variance = truth
    rough = moments_of(copies(mean + 0.15, NUM_PARTICLES), 1.3 * variance[None], 20.0)
    end = jax.jit(lambda key: finish.sample(key, TARGET.logdensity, PROCESS, x, t, rough))(
        jax.random.key(41)
    )
    # ∫ π(y) N(x; αy, σ²) dy = α^{-d} ∫ π(y) N(y; x/α, σ²/α²) dy
    log_truth = float(log_integral) + 2 * T
    return end, counts, log_truth, np.asarray(mean), np.asarray(variance)


def test_weight_factor_is_an_unbiased_estimate_of_the_noised_density(finished):
    end, _, log_truth, _, _ = finished
    terms = np.exp(np.asarray(end.log_weight, float) - log_truth)
    assert terms.std() / np.sqrt(NUM_PARTICLES) < 0.02
    assert_mean(terms, 1.0, errors=3.5)


def test_weighted_draws_have_the_law_of_the_posterior(finished):
    end, _, log_truth, mean, variance = finished
    weight = np.exp(np.asarray(end.log_weight, float) - log_truth)[:, None]
    y = np.asarray(end.position, float) - mean
    assert_mean(weight * y, 0.0)
    assert_mean(weight * y**2, variance)


def test_evaluations_are_counted(finished):
    end, (name, density, gradient), _, _, _ = finished
    pilot = {"gaussian": 0, "mala": 16}.get(name, 64)
    if name == "blackjax.nuts":  # each tree has a size of its own, seven steps at most
        chains = int(end.num_evals.logdensity) - NUM_PARTICLES
        steps = (chains / (NUM_PARTICLES + pilot) - 1) / 3
        assert 1 < steps <= 7 and end.num_evals.logdensity == end.num_evals.gradient
        return
    # where there are gradients each particle, not the copies, looks how steep its posterior is
    looks = NUM_PARTICLES if gradient else 0
    assert end.num_evals.logdensity == (NUM_PARTICLES + pilot) * density + looks
    assert end.num_evals.gradient == (NUM_PARTICLES + pilot) * gradient + looks
    assert end.num_nonfinite == 0


def test_annealing_reduces_the_noise_of_the_weights():
    x, t = copies(X, 500), jnp.full((500,), T)
    rough = moments_of(jnp.full((500, 2), 0.6), jnp.full((1, 2), 0.5), 20.0)
    spread = []
    for finish in (gaussian_finish(), annealed_finish(num_temperatures=30)):
        end = jax.jit(lambda key, f=finish: f.sample(key, TARGET.logdensity, PROCESS, x, t, rough))(
            jax.random.key(42)
        )
        spread.append(float(jnp.std(end.log_weight)))
    assert spread[1] < 0.5 * spread[0]


def test_identity_returns_the_point_and_the_density_with_its_jacobian():
    x, t = jnp.asarray([[0.2, -0.5], [1.0, 0.3]]), jnp.full((2,), T)
    end = identity_finish().sample(jax.random.key(0), TARGET.logdensity, PROCESS, x, t, None)
    y = np.asarray(x) * np.exp(T)
    np.testing.assert_allclose(end.position, y, rtol=1e-6)
    value = np.asarray(jax.vmap(TARGET.logdensity)(jnp.asarray(y)))
    np.testing.assert_allclose(end.log_weight, value + 2 * T, rtol=1e-5)
    assert end.num_evals.logdensity == 2 and end.num_evals.gradient == 0
    assert identity_finish().needs_common_level and not identity_finish().needs_moments


@pytest.mark.parametrize("finish", [gaussian_finish(), annealed_finish(num_temperatures=3)])
def test_zero_density_gives_zero_weight_and_no_nan(finish):
    wall = guarded(lambda x: jnp.where(x[0] > 0, TARGET.logdensity(x), jnp.nan))
    x, t = jnp.zeros((2000, 2)), jnp.full((2000,), T)
    rough = moments_of(jnp.zeros((2000, 2)), jnp.full((1, 2), 0.5), 20.0)
    end = jax.jit(lambda key: finish.sample(key, wall, PROCESS, x, t, rough))(jax.random.key(43))
    log_weight, y = np.asarray(end.log_weight, float), np.asarray(end.position)
    assert not np.any(np.isnan(log_weight)) and np.all(np.isfinite(y))
    assert np.all(y[log_weight > -np.inf, 0] > 0)
    assert end.num_nonfinite > 500
    # the mean weight is the integral over the half space, by quadrature
    grid = np.linspace(-6.0, 6.0, 601)
    points = np.stack(np.meshgrid(grid[grid > 0], grid, indexing="ij"), -1).reshape(-1, 2)
    value = np.asarray(jax.vmap(TARGET.logdensity)(jnp.asarray(points)), float)
    sigma2 = 1 - np.exp(-2 * T)
    noise = -0.5 * np.sum((np.exp(-T) * points) ** 2, 1) / sigma2 - np.log(2 * np.pi * sigma2)
    truth = np.sum(np.exp(value + noise)) * 0.02**2
    assert_mean(np.exp(log_weight), truth, slack=0.02 * truth)


def test_annealing_without_temperatures_is_refused():
    with pytest.raises(ValueError, match="num_temperatures >= 1"):
        annealed_finish(num_temperatures=0)


# The annealed finish in its Gaussian's coordinates, and steps that suit each particle.


EXPLODING = variance_exploding()
COVARIANCE = np.asarray([[2.0, -1.2], [-1.2, 0.8]])
WIDTHS, SIGMA = (1.0, 0.08), 1.0


def correlated_target(x):
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
    finish = annealed_finish(
        num_temperatures=3,
        num_pilot=8,
        reference=lambda moments, scale: jnp.broadcast_to(posterior, (num, 2, 2)),
    )
    known = moments_of(jnp.asarray(x @ gain.T, jnp.float32), jnp.ones((1, 2)))
    end = jax.jit(
        lambda key: finish.sample(key, correlated_target, EXPLODING, x, jnp.full(num, sigma), known)
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
    finish = annealed_finish(
        num_temperatures=64, num_pilot=16, reference=lambda moments, _: moments.variance
    )
    end = jax.jit(
        lambda key: finish.sample(
            key, of_unequal_widths, EXPLODING, x, jnp.full(2 * num, SIGMA), known
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
