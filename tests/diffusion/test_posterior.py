"""Means and scores of a Gaussian target in closed form; guarded densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import Gaussian

from rdmc_jax.diffusion import ornstein_uhlenbeck, variance_exploding
from rdmc_jax.diffusion.posterior import log_tilt, posterior_at, score_from_mean
from rdmc_jax.target.flat import guarded

TARGET = Gaussian((1.0, -2.0), (0.3, 2.0))
T = jnp.asarray([0.02, 0.5, 2.0])
X = jnp.asarray([[0.3, -1.0], [2.0, 0.1], [-1.0, 3.0]])
PROCESSES = [ornstein_uhlenbeck(), variance_exploding()]


@pytest.mark.parametrize("process", PROCESSES)
def test_score_of_a_gaussian_from_its_posterior_mean(process):
    posterior = posterior_at(process, X, T)
    mean, _ = TARGET.posterior(posterior.center, posterior.scale)
    noised = jax.vmap(lambda x, t: jax.grad(lambda x: TARGET.noised_logdensity(process, x, t))(x))
    score = noised(X, T)
    np.testing.assert_allclose(score_from_mean(process, X, T, mean), score, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("process", PROCESSES)
def test_posterior_is_the_target_times_the_forward_kernel(process):
    posterior = posterior_at(process, X, T)
    y = jnp.asarray([[0.0, 0.0], [1.0, -1.0]])
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], posterior)
        alpha, sigma = process.alpha(T[i]), process.sigma(T[i])
        forward = -0.5 * jnp.sum((X[i][None] - alpha * y) ** 2, axis=1) / sigma**2
        tilt = jax.vmap(lambda y, one=one: log_tilt(one, y))(y)
        np.testing.assert_allclose(jnp.diff(tilt), jnp.diff(forward), rtol=1e-4)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_guarded_turns_every_non_finite_value_into_zero_density(bad):
    f = guarded(lambda x: jnp.where(x[0] > 0, jnp.sum(x), bad))
    value, gradient = jax.value_and_grad(f)(jnp.asarray([-1.0, 2.0]))
    assert value == -jnp.inf
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("f", [lambda x: jnp.log(x[0]), lambda x: jnp.sqrt(x[0]) - x[0]])
def test_guarded_gradients_are_finite_where_the_density_is_not(f):
    g = guarded(f)
    for x in (-1.0, 0.0):
        assert np.all(np.isfinite(jax.grad(g)(jnp.asarray([x]))))
    inside = jnp.asarray([0.25])
    assert g(inside) == f(inside)
    np.testing.assert_array_equal(jax.grad(g)(inside), jax.grad(f)(inside))
