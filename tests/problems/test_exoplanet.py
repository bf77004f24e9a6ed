"""The radial-velocity posterior against scipy, and its normaliser by linear algebra."""

import math

import jax
import numpy as np
from scipy import stats
from scipy.special import logsumexp

from rdmc_jax import problems

TIMES = np.array([0.0, 49.452, 95.393, 127.587, 190.408])
VELOCITIES = np.array([38.77, 39.70, 37.45, 38.31, 38.31])
ERRORS = np.array([0.184, 0.261, 0.112, 0.155, 0.223])


def test_exoplanet_density_against_scipy():
    problem = problems.exoplanet()
    logdensity_fn = jax.jit(problem.logdensity_fn)
    rng = np.random.default_rng(1)
    for _ in range(3):
        logit = rng.normal()
        linear = rng.normal([38.5, 0.0, 0.0], 1.0)
        share = 1.0 / (1.0 + math.exp(-logit))
        period = 8.0 * 64.0**share
        phase = 2.0 * math.pi * TIMES / period
        predicted = linear[0] + linear[1] * np.cos(phase) + linear[2] * np.sin(phase)
        expected = stats.norm.logpdf(VELOCITIES, predicted, ERRORS).sum()
        expected += stats.norm.logpdf(linear, [38.5, 0.0, 0.0], [10.0, 1.5, 1.5]).sum()
        # log P is uniform, so the sigmoid's share of its range is uniform on (0, 1).
        expected += math.log(share * (1.0 - share))
        position = dict(
            zip(("logit_period", "velocity", "cosine", "sine"), (logit, *linear), strict=True)
        )
        np.testing.assert_allclose(logdensity_fn(position), expected, rtol=3e-5)


def test_exoplanet_period_posterior_by_three_dimensional_algebra():
    # At one period the linear part integrates to the Gaussian evidence of the data; summed over
    # log P it is the normaliser. Here through the joint Gaussian of scipy, on a coarse grid.
    problem = problems.exoplanet()
    edges = np.linspace(math.log(8.0), math.log(512.0), 3001)
    evidence = []
    for log_period in 0.5 * (edges[1:] + edges[:-1]):
        phase = 2.0 * math.pi * TIMES / math.exp(log_period)
        covariance = 100.0 + np.diag(ERRORS**2)
        covariance = covariance + 2.25 * np.cos(phase[:, None] - phase)
        residual = VELOCITIES - 38.5
        half = -0.5 * residual @ np.linalg.solve(covariance, residual)
        evidence.append(half - 0.5 * np.linalg.slogdet(2.0 * math.pi * covariance)[1])
    log_z = logsumexp(evidence) - math.log(len(evidence))
    np.testing.assert_allclose(log_z, problem.log_normalizer, atol=1e-4)
    assert len(problem.mode_weights) == 29
    within_five = np.log(problem.mode_weights.max() / problem.mode_weights) < 5.5
    assert within_five.sum() >= 7
