"""Closed-form densities, mode weights and exact draws against scipy."""

import math

import jax
import numpy as np
import pytest
from scipy import integrate, stats

from rdmc_jax import problems


@pytest.mark.parametrize(
    "problem",
    [problems.gaussian_scales(), problems.gaussian_rotated(5), problems.funnel()],
    ids=lambda problem: problem.name,
)
def test_single_laws_against_scipy(problem):
    @jax.jit
    def program(rng_key):
        position = problem.sample(rng_key, 3)
        return position, jax.vmap(problem.logdensity_fn)(position)

    position, values = (np.asarray(a, float) for a in program(jax.random.key(4)))
    if problem.name.startswith("gaussian_scales"):
        scale = np.array([1e-3, 1.0, 1e3])
        expected = stats.norm.logpdf(position, [0.1, -100.0, 1e5], scale).sum(1)
        tolerance = 1e-2
    elif problem.name.startswith("gaussian_rotated"):
        normal = np.sqrt(np.arange(1.0, 6.0))
        axes = np.eye(5) - 2.0 * np.outer(normal, normal) / 15.0
        covariance = axes @ np.diag(10.0 ** -np.arange(0.0, 5.0)) @ axes.T
        expected = stats.multivariate_normal.logpdf(position, np.zeros(5), covariance)
        tolerance = 1e-3
    else:
        expected = stats.norm.logpdf(position[:, 0], 0.0, math.sqrt(3.0))
        deviation = np.exp(0.5 * position[:, :1])
        expected = expected + stats.norm.logpdf(position[:, 1:], 0.0, deviation).sum(1)
        tolerance = 1e-4
    np.testing.assert_allclose(values, expected, atol=tolerance)


def test_bent_ridges_against_scipy():
    x = np.array([[-6.2, 38.9], [0.3, 0.5], [4.1, -0.2], [3.0, 2.3]])
    values = np.asarray(jax.vmap(problems.rosenbrock().logdensity_fn)(x), float)
    along = stats.norm.logpdf(x[:, 0], 1.0, math.sqrt(10.0))
    across = stats.norm.logpdf(x[:, 1], x[:, 0] ** 2, math.sqrt(0.1))
    np.testing.assert_allclose(values - math.log(2.0 * math.pi), along + across, rtol=1e-4)
    problem = problems.bananas()
    values = np.asarray(jax.vmap(problem.logdensity_fn)(x), float)
    bend = 0.3 * (x[:, 0] ** 2 - 16.0)
    parts = [stats.norm.logpdf(x[:, 1], sign * bend, math.sqrt(0.1)) for sign in (-1.0, 1.0)]
    expected = np.logaddexp(parts[0], parts[1] + math.log(2.0)) - math.log(3.0)
    expected = expected + stats.norm.logpdf(x[:, 0], 0.0, 4.0)
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    np.testing.assert_array_equal(jax.vmap(problem.mode_fn)(x), np.argmax(parts, axis=0))

    def own(u):  # density that a draw at u is on the side of its parabola
        inside = stats.norm.cdf(abs(0.3 * (u**2 - 16.0)) / math.sqrt(0.1))
        return inside * stats.norm.pdf(u, 0.0, 4.0)

    share = 2.0 * sum(integrate.quad(own, *ends)[0] for ends in ((0, 3.9), (3.9, 4.1), (4.1, 40)))
    np.testing.assert_allclose(problem.mode_weights[0], (2.0 - share) / 3.0, atol=1e-5)


@pytest.mark.parametrize("dim", [8, 20])
def test_unequal_mixture_is_as_described(dim):
    problem = problems.unequal_mixture(dim)
    position = np.asarray(problem.sample(jax.random.key(1), 4000), float)
    mode = np.asarray(jax.vmap(problem.mode_fn)(position))
    for k in range(5):
        variances = np.linalg.eigvalsh(np.cov(position[mode == k].T))
        assert variances[0] > 0.02 and variances[-1] < 1.6


@pytest.mark.parametrize("dim", [1, 2])
def test_spike_slab_mode_weights_by_quadrature(dim):
    # The region of the spike is a ball around a point of the diagonal: in the coordinate along it
    # and the distance from it, both components are known.
    center = np.array([0.0, 4.0])[:, None, None]
    deviation = np.sqrt([1.0, 0.05])[:, None, None]
    cell = 0.002
    along = np.arange(1.0, 7.0, cell)[:, None]
    across = np.array([[0.0]]) if dim == 1 else np.arange(-2.0, 2.0, cell)[None, :]
    log_terms = stats.norm.logpdf(along, center, deviation)
    if dim == 2:
        log_terms = log_terms + stats.norm.logpdf(across, 0.0, deviation)
    spike = log_terms[1] > log_terms[0]
    mass = 0.5 * (np.exp(log_terms[0]) + np.exp(log_terms[1])) * cell**dim
    weights = problems.spike_slab(dim).mode_weights
    np.testing.assert_allclose(weights[1], mass[spike].sum(), atol=2e-6)


@pytest.mark.parametrize("distance", [0.0, 2.0, 30.0])
def test_separation_mode_weights_at_every_distance(distance):
    problem = problems.separation(distance)
    np.testing.assert_allclose(problem.mode_weights.sum(), 1.0, atol=1e-9)
    if distance == 0.0:
        np.testing.assert_allclose(problem.mode_weights, 1.0 / 3.0, atol=1e-9)
    if distance == 30.0:
        np.testing.assert_allclose(problem.mode_weights, [0.5, 0.3, 0.2], atol=1e-9)


def test_rings_radius_has_the_stated_law():
    problem = problems.rings()
    radius = np.linalg.norm(np.asarray(problem.sample(jax.random.key(5), 4000)), axis=1)

    def distribution(r):
        return np.mean([stats.norm.cdf(r, k, 0.15) for k in range(1, 5)], axis=0)

    assert stats.kstest(radius, distribution).pvalue > 1e-3


def test_many_well_draws_have_the_stated_law():
    problem = problems.many_well(2)
    draws = np.asarray(problem.sample(jax.random.key(5), 4000), float)
    grid = np.linspace(-3.5, 3.5, 2001)
    mass = np.exp(-(grid**4) + 6.0 * grid**2 + 0.5 * grid)
    level = integrate.cumulative_trapezoid(mass, grid, initial=0.0)
    for column in (0, 2):
        law = stats.kstest(draws[:, column], lambda x: np.interp(x, grid, level / level[-1]))
        assert law.pvalue > 1e-3


def test_many_well_modes_are_binary_numbers():
    problem = problems.many_well(3)
    assert problem.mode_fn(np.array([1.0, 0.0, -1.0, 0.0, 1.0, 0.0])) == 0b101
    right = problem.mode_weights[0b111]
    left = problem.mode_weights[0b000]
    np.testing.assert_allclose(problem.mode_weights[0b011], (right**2 * left) ** (1.0 / 3.0))
    assert problems.many_well(17).mode_weights is None


def test_eggbox_draws_follow_the_density():
    problem = problems.eggbox()

    @jax.jit
    def program(rng_key):
        draws = problem.sample(rng_key, 4000)
        gradient = jax.vmap(jax.grad(problem.logdensity_fn))(draws)
        return draws, gradient, jax.vmap(problem.mode_fn)(draws)

    draws, gradient, mode = (np.asarray(a) for a in program(jax.random.key(2)))
    frequency = np.bincount(mode, minlength=18) / 4000.0
    error = np.sqrt(problem.mode_weights / 4000.0)
    np.testing.assert_array_less(np.abs(frequency - problem.mode_weights), 4.0 * error)
    # Folded about its mode the density has no boundary, so the Stein identity holds.
    lattice = np.stack([mode // 3, 2 * (mode % 3) + (mode // 3) % 2], axis=1)
    terms = (draws - 2.0 * math.pi * lattice) * gradient
    error = terms.std(0) / math.sqrt(len(terms))
    np.testing.assert_array_less(np.abs(terms.mean(0) + 1.0), 4.0 * error)
