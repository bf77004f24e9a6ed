"""Mixtures of Gaussians: density against scipy, draws against their own moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from targets import assert_mean

from rdmc_jax.diffusion.mixture import (
    chosen_components,
    draws_of,
    joined,
    log_densities,
    log_density,
    log_kernels,
    mixture_of,
)

NUM, DIM, NUM_DRAWS = 4, 3, 20_000
RNG = np.random.default_rng(0)
SHARE = np.array([0.5, 0.3, 0.2, 0.0])
MEAN = 2 * RNG.normal(size=(NUM, DIM))
DEVIATION = RNG.uniform(0.3, 2.0, (NUM, DIM))
FULL = np.tril(RNG.normal(size=(NUM, DIM, DIM)), -1) + DEVIATION[:, None] * np.eye(DIM)


def made(mean, factor, share):
    """A mixture of unequal shares in single precision."""
    mean, factor, share = (jnp.asarray(a, jnp.float32) for a in (mean, factor, share))
    return mixture_of(mean, factor)._replace(log_share=jnp.log(share))


@pytest.fixture(scope="module", params=["diagonal", "full", "both"])
def case(request):
    """The mixture, and its covariances in double precision."""
    num_diagonal = {"diagonal": NUM, "full": 0, "both": 2}[request.param]
    first, second = slice(0, num_diagonal), slice(num_diagonal, NUM)
    mixture = joined(
        made(MEAN[first], DEVIATION[first], SHARE[first]),
        made(MEAN[second], FULL[second], SHARE[second]),
    )
    full = np.concatenate([DEVIATION[first, None] * np.eye(DIM), FULL[second]])
    return mixture, full @ np.swapaxes(full, 1, 2)


def test_density_is_that_of_scipy(case):
    mixture, covariance = case
    x = 3 * np.random.default_rng(1).normal(size=(300, DIM))  # more than a block of points
    laws = [stats.multivariate_normal(MEAN[k], covariance[k]) for k in range(NUM)]
    kernels = np.stack([law.logpdf(x) for law in laws], axis=1)
    kernels = kernels + np.log(SHARE, where=SHARE > 0, out=np.full(NUM, -np.inf))
    expected = special.logsumexp(kernels, axis=1)
    points = jnp.asarray(x, jnp.float32)
    np.testing.assert_allclose(log_densities(mixture, points), expected, rtol=1e-4, atol=1e-4)
    one = jax.jit(log_kernels)(mixture, points[7])
    np.testing.assert_allclose(one, kernels[7], rtol=1e-4, atol=1e-4)


def test_narrow_far_components_keep_their_digits():
    """Of width 1e-3 at distance 3: products of matrices lose what is common to both."""
    rng = np.random.default_rng(2)
    mean = 3 * rng.normal(size=(4, 10)) / np.sqrt(10)
    factor = 1e-3 * (np.eye(10) + 0.2 * np.tril(rng.normal(size=(4, 10, 10)), -1))
    made = mixture_of(jnp.asarray(mean, jnp.float32), jnp.asarray(factor, jnp.float32))
    x = draws_of(jax.random.key(0), made, jnp.arange(400) % 4)
    # the same single-precision numbers, in double precision
    m, a, y = (np.asarray(one, np.float64) for one in (made.mean, made.factor, x))
    z = np.linalg.solve(a[None], (y[:, None] - m[None])[..., None])[..., 0]
    height = -np.sum(np.log(np.diagonal(a, axis1=1, axis2=2)), axis=1) - 5 * np.log(2 * np.pi)
    expected = special.logsumexp(height - 0.5 * np.sum(z**2, axis=2) - np.log(4), axis=1)
    error = np.asarray(log_densities(made, x), np.float64) - expected
    # weights are random by as much, which is far below their own scatter
    assert np.std(error) < 0.005 and abs(np.mean(error)) < 0.001


def test_draws_have_the_moments_of_their_mixture(case):
    mixture, covariance = case

    @jax.jit
    def draw(key):
        first, second = jax.random.split(key)
        component = chosen_components(first, mixture, NUM_DRAWS)
        return component, draws_of(second, mixture, component)

    component, drawn = (np.asarray(a) for a in draw(jax.random.key(0)))
    # systematic: each share to within one draw
    assert np.all(np.abs(np.bincount(component, minlength=NUM) - SHARE * NUM_DRAWS) <= 1)
    for k in range(3):
        own = drawn[component == k] - MEAN[k]
        assert_mean(own, 0.0)
        assert_mean(own[:, :, None] * own[:, None, :], covariance[k])


@pytest.mark.parametrize("factor", [[[0.3, 1.2], [0.9, 0.4]], [[[0.5, 0], [0.8, 0.3]]] * 2])
def test_density_integrates_to_one_and_its_derivative_is_finite(factor):
    mixture = made([[-1.0, 0.5], [1.0, -0.5]], factor, [0.35, 0.65])
    cell = 0.05
    axis = np.arange(-7.0, 7.0, cell)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=2).reshape(-1, 2)
    values = log_densities(mixture, jnp.asarray(points, jnp.float32))
    total = np.sum(np.exp(np.asarray(values, float))) * cell**2
    np.testing.assert_allclose(total, 1.0, atol=1e-4)
    far = jnp.full(2, 100.0)
    assert np.all(np.isfinite(jax.grad(lambda x: log_density(mixture, x))(far)))
