"""Every normaliser and every closed-form density, by quadrature or by scipy."""

import math

import jax
import numpy as np
import pytest
from scipy import integrate, stats
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


def test_exoplanet_density_against_scipy():
    problem = problems.exoplanet()
    times = np.array([0.0, 49.452, 95.393, 127.587, 190.408])
    velocities = np.array([38.77, 39.70, 37.45, 38.31, 38.31])
    errors = np.array([0.184, 0.261, 0.112, 0.155, 0.223])
    logdensity_fn = jax.jit(problem.logdensity_fn)
    rng = np.random.default_rng(1)
    for _ in range(3):
        logit = rng.normal()
        linear = rng.normal([38.5, 0.0, 0.0], 1.0)
        share = 1.0 / (1.0 + math.exp(-logit))
        period = 8.0 * 64.0**share
        phase = 2.0 * math.pi * times / period
        predicted = linear[0] + linear[1] * np.cos(phase) + linear[2] * np.sin(phase)
        expected = stats.norm.logpdf(velocities, predicted, errors).sum()
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
    times = np.array([0.0, 49.452, 95.393, 127.587, 190.408])
    velocities = np.array([38.77, 39.70, 37.45, 38.31, 38.31])
    errors = np.array([0.184, 0.261, 0.112, 0.155, 0.223])
    edges = np.linspace(math.log(8.0), math.log(512.0), 3001)
    evidence = []
    for log_period in 0.5 * (edges[1:] + edges[:-1]):
        phase = 2.0 * math.pi * times / math.exp(log_period)
        covariance = 100.0 + np.diag(errors**2)
        covariance = covariance + 2.25 * np.cos(phase[:, None] - phase)
        residual = velocities - 38.5
        half = -0.5 * residual @ np.linalg.solve(covariance, residual)
        evidence.append(half - 0.5 * np.linalg.slogdet(2.0 * math.pi * covariance)[1])
    log_z = logsumexp(evidence) - math.log(len(evidence))
    np.testing.assert_allclose(log_z, problem.log_normalizer, atol=1e-4)
    assert len(problem.mode_weights) == 29
    within_five = np.log(problem.mode_weights.max() / problem.mode_weights) < 5.5
    assert within_five.sum() >= 7


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


def test_singular_points_have_finite_gradients():
    for problem, point in (
        (problems.rings(), np.zeros(2)),
        (problems.shells(3), np.array([3.5, 0.0, 0.0])),
        (problems.gmm40(dim=50), np.full(50, 1e4)),
        (problems.funnel(), np.append(-60.0, np.zeros(9))),
        (problems.galaxy(), problems.galaxy().position),
        (problems.galaxy(3, equal_variances=False), problems.galaxy(3, False).position),
        (problems.eggbox(), problems.eggbox().position),
    ):
        value, gradient = jax.jit(jax.value_and_grad(problem.logdensity_fn))(point)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((value, gradient)))


def test_shells_vanish_outside_of_the_prior():
    value, gradient = jax.value_and_grad(problems.shells(2).logdensity_fn)(np.array([7.0, 0.0]))
    assert value == -np.inf and np.all(gradient == 0.0)


def test_equal_calls_return_the_identical_problem():
    assert problems.gmm40() is problems.gmm40(2) is problems.gmm40(dim=2)
    assert problems.gmm40() is not problems.gmm40(50)
    assert problems.gaussian_scales((1.0, 2.0)) is problems.gaussian_scales(scales=(1.0, 2.0))


def test_precision_follows_the_default_and_the_input():
    def dtype(problem, position):
        return jax.eval_shape(problem.logdensity_fn, position).dtype

    every = (problems.gmm4, problems.exoplanet, problems.galaxy, problems.phi4_chain)
    with jax.enable_x64(False):
        assert problems.gmm4().position.dtype == np.float32
    with jax.enable_x64(True):
        for problem in (make() for make in every):
            double = problem.position
            single = jax.tree.map(lambda leaf: leaf.astype(np.float32), double)
            assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(double))
            assert dtype(problem, double) == np.float64
            assert dtype(problem, single) == np.float32
        draws = jax.eval_shape(lambda key: problems.gmm4().sample(key, 2), jax.random.key(0))
        assert draws.dtype == np.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: problems.gmm40(dim=3), "dim must be one of 2, 50, but got 3"),
        (lambda: problems.unequal_mixture(5), "dim must be one of 8, 20, but got 5"),
        (lambda: problems.many_well(31), "num_pairs must be in 1..30, but got 31"),
        (lambda: problems.mixture_posterior(6), "num_components must be in 1..5, but got 6"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
