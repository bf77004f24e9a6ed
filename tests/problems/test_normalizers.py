"""Every normaliser by quadrature, and mode weights in the plane."""

import math

import jax
import numpy as np
import pytest
from scipy.special import logsumexp

from rdmc_jax import problems


def log_integral_in_the_plane(problem, low, high, num_cells):
    """Midpoint rule on a square, in double precision."""
    cell = (high - low) / num_cells
    axis = low + cell * (np.arange(num_cells) + 0.5)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=2).reshape(-1, 2)
    values = np.asarray(jax.jit(jax.vmap(problem.logdensity_fn))(points), float)
    return logsumexp(values) + 2.0 * math.log(cell), points, values


@pytest.mark.parametrize(
    ("problem", "low", "high", "num_cells", "tolerance"),
    [
        (problems.gmm4(), -8.0, 18.0, 260, 1e-5),
        (problems.gmm8(), -16.0, 16.0, 256, 1e-5),
        (problems.gmm40(), -47.0, 47.0, 188, 1e-5),
        (problems.two_modes(2), -3.0, 4.0, 140, 1e-5),
        (problems.spike_slab(2), -7.0, 8.0, 300, 1e-5),
        (problems.concentric_spike(2, share=0.4), -7.0, 7.0, 700, 1e-5),
        (problems.separation(5.0), -11.0, 11.0, 110, 1e-5),
        (problems.gaussian(2), -7.0, 7.0, 70, 1e-5),
        (problems.funnel(dim=2, variance=1.0), -60.0, 60.0, 800, 1e-3),
        (problems.rings(), -5.2, 5.2, 520, 1e-4),
        (problems.many_well(1), -6.5, 6.5, 400, 1e-5),
        (problems.shells(2), -6.0, 6.0, 600, 1e-4),
        (problems.mixture_posterior(2), -20.0, 20.0, 300, 1e-5),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_integral_in_the_plane(problem, low, high, num_cells, tolerance):
    log_z, points, values = log_integral_in_the_plane(problem, low, high, num_cells)
    np.testing.assert_allclose(log_z, problem.log_normalizer, atol=tolerance)
    if problem.mode_fn is not None:
        mode = np.asarray(jax.jit(jax.vmap(problem.mode_fn))(points))
        mass = np.bincount(mode, np.exp(values - values.max()), len(problem.mode_weights))
        np.testing.assert_allclose(mass / mass.sum(), problem.mode_weights, atol=3e-3)


def test_eggbox_integral_and_mode_weights():
    problem = problems.eggbox()
    side = 10.0 * math.pi
    log_z, points, values = log_integral_in_the_plane(problem, 0.0, side, 1000)
    np.testing.assert_allclose(log_z, problem.log_normalizer, atol=1e-4)
    np.testing.assert_allclose(problem.log_normalizer, 235.85594, atol=1e-5)
    mode = np.asarray(jax.jit(jax.vmap(problem.mode_fn))(points))
    mass = np.bincount(mode, np.exp(values - values.max()), 18)
    np.testing.assert_allclose(mass / mass.sum(), problem.mode_weights, atol=1e-5)
    assert problem.logdensity_fn(np.array([-0.1, 3.0])) == -np.inf


@pytest.mark.parametrize(
    ("problem", "stated"),
    [
        (problems.many_well(1), 9.374541 + 0.918939),
        (problems.many_well(16), 16 * (9.374541 + 0.918939)),
        (problems.shells(10), -14.59049),
        (problems.phi4_chain(16), -7.157226),
        (problems.phi4_chain(32), -14.796196),
        (problems.exoplanet(), -10.96829),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_published_normalizers(problem, stated):
    np.testing.assert_allclose(problem.log_normalizer, stated, atol=2e-5)


def test_phi4_of_three_sites_by_direct_quadrature():
    problem = problems.phi4_chain(3)
    cell = 0.1
    axis = np.arange(-2.6, 2.6, cell)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=3).reshape(-1, 3)
    values = np.asarray(jax.jit(jax.vmap(problem.logdensity_fn))(points), float)
    log_z = logsumexp(values) + 3.0 * math.log(cell)
    np.testing.assert_allclose(log_z, problem.log_normalizer, atol=1e-4)


def test_mixture_posterior_of_three_by_direct_quadrature():
    problem = problems.mixture_posterior(3)
    cell = 0.4
    axis = np.arange(-18.0, 18.0, cell)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=3).reshape(-1, 3)
    values = np.asarray(jax.jit(jax.vmap(problem.logdensity_fn))(points), float)
    log_z = logsumexp(values) + 3.0 * math.log(cell)
    np.testing.assert_allclose(log_z, problem.log_normalizer, atol=1e-3)
