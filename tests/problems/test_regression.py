"""Logistic regression: the density by scipy, its normaliser by importance sampling."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, stats
from scipy.special import logsumexp

from rdmc_jax import problems
from rdmc_jax.problems.logistic import breast_cancer


def log_posterior(x):
    feature, label, _, _ = breast_cancer()
    logit = x[:, :30] @ feature.T + x[:, 30:]
    log_likelihood = stats.bernoulli.logpmf(label, 1 / (1 + np.exp(-logit)))
    log_prior = stats.norm.logpdf(x[:, :30]).sum(1) + stats.norm.logpdf(x[:, 30], scale=2.5)
    return log_likelihood.sum(1) + log_prior


def test_table_is_standardised_on_its_training_rows():
    feature, label, held_out, held_out_label = breast_cancer()
    assert feature.shape == (455, 30) and held_out.shape == (114, 30)
    np.testing.assert_allclose(feature.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(feature.std(0), 1, rtol=1e-12)
    assert label.sum() + held_out_label.sum() == 357  # benign, of 569


def test_density_and_normalizer():
    problem = problems.logistic()
    rng = np.random.default_rng(0)
    fn = jax.jit(problem.logdensity_fn)
    mode = optimize.minimize(
        lambda x: -fn(jnp.asarray(x, jnp.float32)),
        np.zeros(31),
        jac=lambda x: -np.asarray(jax.grad(fn)(jnp.asarray(x, jnp.float32)), np.float64),
        method="L-BFGS-B",
    ).x
    covariance = np.linalg.inv(-np.asarray(jax.hessian(fn)(mode), np.float64))
    covariance = 0.65 * (covariance + covariance.T)
    proposal = stats.multivariate_t(mode, covariance, df=20, seed=rng)
    x = proposal.rvs(20_000)
    value = log_posterior(x)
    np.testing.assert_allclose(fn(x[0]), value[0], rtol=1e-5)
    np.testing.assert_allclose(fn(x[1]), value[1], rtol=1e-5)
    log_weight = value - proposal.logpdf(x)
    log_z = logsumexp(log_weight) - np.log(log_weight.size)
    error = np.exp(log_weight - log_z).std() / np.sqrt(log_weight.size)
    assert error < 0.05
    assert abs(log_z - problem.log_normalizer) < 4 * error
