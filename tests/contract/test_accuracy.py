"""Accuracy of the automatic method with nothing set, against exact truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import GMM4, GMM4_DATA, default, density, optimised, target

import rdmc_jax as rj

pytestmark = pytest.mark.one_program


def test_targets_are_the_problems_that_they_stand_for():
    problem = rj.problems.gaussian_scales((1e-3, 1e3))
    data = target(mean=((0.1, -1e5),), scale=((1e-3, 1e3),))
    for x in problem.sample(jax.random.key(0), 3):
        np.testing.assert_allclose(density(x, data), problem.logdensity_fn(x), rtol=1e-3)
    for x in GMM4.sample(jax.random.key(0), 3):
        np.testing.assert_allclose(density(x, GMM4_DATA), GMM4.logdensity_fn(x), rtol=1e-4)


def test_log_z_of_an_unequal_shifted_mixture(mixture_draws):
    for d in mixture_draws:
        assert abs(d.log_normalizer + 5.0) < 4 * d.log_normalizer_error + 0.02
        assert d.findings() == []


@pytest.mark.parametrize("seed", [0, 1])
def test_coordinates_of_very_different_scale(seed):
    d = default(2000, seed=seed, data=target(mean=((0.1, -1e5),), scale=((1e-3, 1e3),)))
    assert abs(d.log_normalizer) < 4 * d.log_normalizer_error + 0.02
    scale = jnp.array([1e-3, 1e3])
    mean, error = d.expectation(lambda x: (x - jnp.array([0.1, -1e5])) / scale)
    assert np.all(np.abs(mean) < 4 * error) and np.all(error < 0.1)
    square, error = d.expectation(lambda x: ((x - jnp.array([0.1, -1e5])) / scale) ** 2)
    assert np.all(np.abs(square - 1) < 4 * error)


def test_an_unequal_mixture_in_such_coordinates():
    """Two modes ten deviations apart in the small coordinate, far from the start."""
    data = target(
        mean=((0.1, -1e5), (0.11, -1e5)),
        scale=((1e-3, 1e3), (1e-3, 1e3)),
        weight=(0.3, 0.7),
        log_normalizer=7.0,
    )
    d = default(data=data)
    assert abs(d.log_normalizer - 7.0) < 4 * d.log_normalizer_error + 0.02
    share, error = d.expectation(lambda x: x[0] > 0.105)
    assert abs(share - 0.7) < 4 * error


def test_a_correlation_of_nearly_one():
    """Coordinates of deviations 1 and 100 that correlate by .9999: condition number 2e8."""
    covariance = np.asarray([[1.0, 99.99], [99.99, 1e4]])
    d = default(data=target(mean=((3.0, -50.0),), covariance=[covariance], log_normalizer=2.0))
    assert abs(d.log_normalizer - 2.0) < 4 * d.log_normalizer_error + 0.02
    root = jnp.linalg.cholesky(jnp.asarray(covariance))
    square, error = d.expectation(
        lambda x: (
            jax.scipy.linalg.solve_triangular(root, x - jnp.array([3.0, -50.0]), lower=True) ** 2
        )
    )
    assert np.all(np.abs(square - 1) < 4 * error) and np.all(error < 0.1)
    assert d.ess > 0.5 * d.num_samples


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gmm4_mode_weights_and_cost(seed):
    d = default(2000, seed=seed, data=GMM4_DATA)
    modes = jax.vmap(GMM4.mode_fn)(d.position)
    error = rj.metrics.mode_weight_error(modes, GMM4.mode_weights, log_weight=d.log_weight)
    assert error <= 0.05 and d.evals_per_sample <= 100
    assert abs(d.log_normalizer) < 4 * d.log_normalizer_error + 0.02


NAMED = {"x": jnp.zeros(()), "rest": [jnp.zeros(1)]}


def point_of(position):
    return jnp.append(position["x"], position["rest"][0])


def rounded_density(position):
    """The mixture in steps of a quarter: its gradient is zero wherever there is one."""
    return jnp.round(4 * GMM4.logdensity_fn(point_of(position))) / 4


def check_rounded(d):
    """Shares of the modes, after what holds for every run."""
    assert d.num_evals.gradient == 0 and "no gradient" in d.plan.reason
    # rounding is even: it changes no mode's mass by more than a few per cent
    assert abs(d.log_normalizer) < 4 * d.log_normalizer_error + 0.03
    modes = np.asarray(jax.vmap(lambda one: GMM4.mode_fn(point_of(one)))(d.position))
    return np.bincount(modes, weights=d.weights, minlength=4)


@pytest.fixture(scope="module")
def rounded_draws():
    keys = [jax.random.key(seed) for seed in range(3)]
    return [rj.sample(key, rounded_density, NAMED, 2000) for key in keys]


def test_a_density_without_gradient_is_sampled_by_random_walks(rounded_draws):
    shares = np.array([check_rounded(d) for d in rounded_draws])
    errors = 0.5 * np.sum(np.abs(shares - GMM4.mode_weights), axis=1)
    assert np.mean(errors) < 0.05


def test_a_tolerance_without_gradient_and_with_names():
    d = rj.sample(jax.random.key(1), rounded_density, NAMED, 2000, tolerance=0.25)
    record = d.plan.accuracy
    assert d.tv_bound < d.tv_limit == record.certified <= 0.25
    assert jax.tree.map(jnp.shape, d.position) == {"x": (2000,), "rest": [(2000, 1)]}
    assert 0.5 * np.sum(np.abs(check_rounded(d) - GMM4.mode_weights)) < 0.05


def test_the_summary_says_what_was_measured_and_chosen(mixture_draws):
    for d in mixture_draws:
        assert "Pareto k" in d.summary() and "discarded draws had" in d.plan.reason
        assert d.coverage is not None and d.coverage.seen_by_one_source < 0.05
        assert d.ess > 0.5 * d.num_samples


@pytest.fixture(scope="module")
def galaxy_draws():
    problem = rj.problems.galaxy(3, True)
    with optimised():
        return [
            rj.sample(jax.random.key(seed), problem.logdensity_fn, problem.position, 2000)
            for seed in range(3)
        ]


def test_galaxy_log_z(galaxy_draws):
    for d in galaxy_draws:
        assert abs(d.log_normalizer + 226.84) <= 0.5
    errors = np.array([d.log_normalizer_error for d in galaxy_draws])
    mean = np.mean([d.log_normalizer for d in galaxy_draws])
    assert abs(mean + 226.812) < 4 * np.sqrt(np.sum(errors**2)) / 3


def test_galaxy_labellings_are_equally_likely(galaxy_draws):
    problem = rj.problems.galaxy(3, True)
    shares = []
    for d in galaxy_draws:
        modes = np.asarray(jax.vmap(problem.mode_fn)(d.position))
        shares.append(np.bincount(modes, weights=d.weights, minlength=6))
    assert np.max(np.abs(np.mean(shares, axis=0) - 1 / 6)) < 0.08
    assert np.max(np.abs(np.array(shares) - 1 / 6)) < 0.12
