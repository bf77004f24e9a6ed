"""Metrics against closed forms, POT and scipy; a weight is a repetition."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rdmc_jax import metrics

KEY = jax.random.key(0)
COUNTS = np.array([3, 1, 2, 5, 1, 1, 4, 3])


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 3)).astype(np.float32)
    y = (1.5 * rng.normal(size=(20, 3)) + 0.5).astype(np.float32)
    return x, y, np.repeat(x, COUNTS, axis=0), np.log(COUNTS).astype(np.float32)


DISTANCES = {
    "mmd_squared": metrics.mmd_squared,
    "sliced_wasserstein": lambda x, y, **weights: metrics.sliced_wasserstein(
        KEY, x, y, num_projections=8, **weights
    ),
    "kolmogorov_smirnov": metrics.kolmogorov_smirnov,
    "sliced_kolmogorov_smirnov": lambda x, y, **weights: metrics.sliced_kolmogorov_smirnov(
        KEY, x, y, num_projections=8, **weights
    ),
}


@pytest.mark.parametrize("name", DISTANCES)
def test_weight_is_repetition_on_either_side(name, clouds):
    distance = DISTANCES[name]
    x, y, repeated, log_weight = clouds
    expected = distance(repeated, y)
    left = distance(x, y, x_log_weight=log_weight + 7.0)
    right = distance(y, x, y_log_weight=log_weight - 50.0)
    np.testing.assert_allclose(left, expected, rtol=2e-5)
    np.testing.assert_allclose(right, expected, rtol=2e-5)
    assert expected > 0.0


@pytest.mark.parametrize("name", DISTANCES)
def test_distance_of_a_cloud_to_itself_is_zero(name, clouds):
    x, _, _, log_weight = clouds
    itself = DISTANCES[name](x, x[::-1], x_log_weight=log_weight, y_log_weight=log_weight[::-1])
    np.testing.assert_allclose(itself, 0.0, atol=1e-6 if name == "mmd_squared" else 1e-3)


@pytest.mark.parametrize("name", DISTANCES)
def test_draws_of_zero_weight_do_not_count(name, clouds):
    x, y, _, _ = clouds
    distance = DISTANCES[name]
    log_weight = np.append(np.zeros(len(x)), -np.inf)
    padded = np.append(x, np.full((1, 3), 9.0, np.float32), axis=0)
    np.testing.assert_allclose(
        distance(padded, y, x_log_weight=log_weight), distance(x, y), rtol=2e-5
    )


def test_mmd_squared_against_the_double_sum(clouds):
    x, y, _, _ = (np.asarray(a, float) for a in clouds)

    def mean_kernel(a, b):
        squared = ((a[:, None] - b[None]) ** 2).sum(2)
        return np.mean(sum(np.exp(-0.5 * squared / 2.0**i) for i in range(-2, 8)))

    expected = mean_kernel(x, x) + mean_kernel(y, y) - 2.0 * mean_kernel(x, y)
    np.testing.assert_allclose(metrics.mmd_squared(x, y), expected, rtol=1e-4)


def test_mmd_squared_of_two_points():
    x = jnp.zeros((1, 1))
    expected = 2.0 * (10.0 - sum(math.exp(-0.5 * 9.0 / 2.0**i) for i in range(-2, 8)))
    np.testing.assert_allclose(metrics.mmd_squared(x, x + 3.0), expected, rtol=1e-5)


def test_mmd_squared_floor_of_exact_draws():
    # The diagonal lifts the V-statistic of equal laws to 2 (k(x, x) - E k(x, x')) / num_samples.
    from rdmc_jax import problems

    sample = jax.jit(problems.gmm4().sample, static_argnums=1)
    clouds = [np.asarray(sample(jax.random.key(i), 1000)) for i in range(16)]
    floor = np.mean([metrics.mmd_squared(*clouds[i : i + 2]) for i in range(0, 16, 2)])
    squared = ((clouds[0] - clouds[1]) ** 2).sum(1)
    kernel = np.mean(sum(np.exp(-0.5 * squared / 2.0**i) for i in range(-2, 8)))
    np.testing.assert_allclose(floor, 2.0 * (10.0 - kernel) / 1000.0, rtol=0.4)


def test_sliced_wasserstein_of_one_dimension():
    # in one dimension the optimal plan is the sorted one
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(200, 1)), rng.normal(1.0, 2.0, size=(200, 1))
    expected = math.sqrt(np.mean((np.sort(a[:, 0]) - np.sort(b[:, 0])) ** 2))
    np.testing.assert_allclose(metrics.sliced_wasserstein(KEY, a, b), expected, rtol=1e-4)


def test_sliced_wasserstein_against_exact_distances_of_projections(clouds):
    x, y, repeated, log_weight = clouds
    directions = np.asarray(metrics.random_directions(KEY, 8, 3), float)
    # a weight is a repetition: both clouds as equally many points, whose sorted pairs are optimal
    left, right = np.repeat(repeated, len(y), axis=0), np.repeat(y, len(repeated), axis=0)
    squared = [np.mean((np.sort(left @ d) - np.sort(right @ d)) ** 2) for d in directions]
    value = metrics.sliced_wasserstein(KEY, x, y, num_projections=8, x_log_weight=log_weight)
    np.testing.assert_allclose(value, math.sqrt(np.mean(squared)), rtol=1e-4)


def test_sliced_wasserstein_sees_location_and_not_variance_alone():
    x = jax.random.normal(KEY, (500, 4))
    shift = jnp.array([[6.0, 0.0, 0.0, 0.0]])
    value = metrics.sliced_wasserstein(jax.random.key(1), x, x + shift, num_projections=512)
    np.testing.assert_allclose(value, 6.0 / math.sqrt(4.0), rtol=0.1)


def test_kolmogorov_smirnov_against_scipy(clouds):
    x, y, _, _ = clouds
    along_axes = [stats.ks_2samp(x[:, i], y[:, i]).statistic for i in range(3)]
    np.testing.assert_allclose(metrics.kolmogorov_smirnov(x, y), max(along_axes), rtol=1e-5)
    directions = metrics.random_directions(KEY, 8, 3)
    along = [stats.ks_2samp(x @ d, y @ d).statistic for d in np.asarray(directions)]
    largest = metrics.kolmogorov_smirnov(x, y, directions=directions)
    np.testing.assert_allclose(largest, max(along), rtol=1e-5)
    mean = metrics.sliced_kolmogorov_smirnov(KEY, x, y, num_projections=8)
    np.testing.assert_allclose(mean, np.mean(along), rtol=1e-5)


def test_kolmogorov_smirnov_counts_ties_once():
    x = np.array([[0.0], [0.0], [1.0]])
    y = np.array([[0.0], [1.0], [1.0]])
    np.testing.assert_allclose(metrics.kolmogorov_smirnov(x, y), 1.0 / 3.0, rtol=1e-6)


def test_mode_weight_error_is_the_total_variation():
    truth = np.array([0.5, 0.3, 0.2])
    modes = np.array([0, 0, 1, 2])
    np.testing.assert_allclose(metrics.mode_weight_error(modes, truth), 0.05, atol=1e-6)
    log_weight = np.log(np.array([0.25, 0.25, 0.3, 0.2])) + 100.0
    weighted = metrics.mode_weight_error(modes, truth, log_weight=log_weight)
    np.testing.assert_allclose(weighted, 0.0, atol=1e-6)


def test_mode_weight_error_counts_unknown_modes_as_lost():
    truth = np.array([0.5, 0.5])
    for lost in (-1, 2):
        modes = np.array([0, 1, lost, lost])
        np.testing.assert_allclose(metrics.mode_weight_error(modes, truth), 0.5, atol=1e-6)
    np.testing.assert_allclose(metrics.mode_weight_error(np.array([1, 1]), truth), 0.5)


def test_random_directions_are_uniform_unit_vectors():
    directions = np.asarray(metrics.random_directions(KEY, 4000, 3))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(directions.T @ directions / 4000.0, np.eye(3) / 3.0, atol=0.03)


def test_shapes_are_named_in_errors():
    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"got \(4, 2\) and \(4, 3\)"):
        metrics.mmd_squared(x, np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"Flatten each draw"):
        metrics.kolmogorov_smirnov(x[:, 0], x[:, 0])
    with pytest.raises(ValueError, match=r"x_log_weight .* shape \(4,\), but got \(3,\)"):
        metrics.mmd_squared(x, x, x_log_weight=np.zeros(3))
