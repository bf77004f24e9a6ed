"""What a run will need, predicted without the run, and the constants that theory asks for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import GMM4_DATA, ORIGIN, density, target

import rdmc_jax as rj
from rdmc_jax.planning.theory import theory_plan
from rdmc_jax.runs.forecast import curvatures

KEY = jax.random.key(1)


def foresee(data, key=KEY, **options):
    return rj.forecast(key, density, ORIGIN, data=data, num_samples=2000, **options)


@pytest.fixture(scope="module")
def mixture():
    return foresee(GMM4_DATA)


@pytest.fixture(scope="module")
def gaussian():
    return foresee(target(mean=((3.0, -4.0),), scale=((0.5, 2.0),)), tolerance=0.3)


def test_a_gaussians_constants_are_measured(gaussian):
    moment = 25.0 + 0.25 + 4.0
    assert abs(gaussian.second_moment - moment) < 4 * gaussian.second_moment_error
    assert gaussian.second_moment_error < 0.05 * moment
    assert gaussian.smoothness == pytest.approx(4.0, rel=1e-3)
    assert gaussian.convexity == pytest.approx(0.25, rel=1e-2)
    np.testing.assert_allclose(gaussian.location, (3, -4), atol=0.3)
    np.testing.assert_allclose(gaussian.scale, (0.5, 2), rtol=0.1)


def theory_of(found):
    constants = {"smoothness": found.smoothness, "convexity": found.convexity}
    constants["second_moment"] = found.second_moment
    return theory_plan(found.tolerance, dim=found.dim, **constants)


def test_a_gaussians_theory_is_that_of_its_constants(gaussian):
    own = theory_plan(0.3, dim=2, smoothness=4.0, convexity=0.25, second_moment=29.25)
    found = theory_of(gaussian)
    assert found.horizon == pytest.approx(own.horizon, abs=0.05)
    assert found.log10_evals == pytest.approx(own.log10_evals, abs=0.2)
    assert np.all(found.log_sobolev > 0)


def test_a_tolerance_that_is_met_already_needs_no_more(gaussian):
    ahead = gaussian.predicted
    assert ahead.is_met and (ahead.num_candidates, ahead.num_temperatures) == (1, 0)
    assert ahead.tv_limit == gaussian.measured.tv_limit < 0.3
    # the curvature is no part of a run: 64 segments and 128 Hessians
    assert ahead.evals_per_sample > (gaussian.num_evals - 64 * (65 + 4)) / 2000


def test_a_mixture_is_seen_to_be_not_concave(mixture):
    # within modes no eigenvalue is below .45 or above 10, and nowhere beyond 530
    assert 10 < mixture.smoothness < 530 and mixture.convexity < -10
    exact = 0.2 * 121 + 0.3 * 162 + 0.4 * 121 + 0.1 * 2 + 0.2 * 0.6 + 0.3 * 2 + 0.4 * 2.4
    assert abs(mixture.second_moment - exact) < 4 * mixture.second_moment_error
    theory = theory_of(mixture)
    known = theory.log_sobolev > 0
    assert np.any(known) and not known[0] and np.isinf(theory.log10_evals)


def test_a_budget_that_cannot_meet_the_tolerance_is_foreseen():
    found = foresee(GMM4_DATA, tolerance=0.01, max_evals=200_000)
    assert not found.predicted.is_met and "more than asked for" in found.summary()
    assert found.predicted.evals_per_sample <= 100


def test_the_summary_says_what_is_needed_and_measured(mixture):
    text = mixture.summary()
    for word in (
        "total variation 0.1, 2,000 draws",
        "candidates",
        "temperatures",
        "Pareto k",
        "L = ",
        "E‖x‖²",
        "TV limit",
    ):
        assert word in text
    assert mixture.plan.reason in text


def test_a_density_without_gradient_has_no_curvature_but_a_prediction():
    def stepped(x):
        return jnp.round(-2 * jnp.sum(x**2)) / 4

    found = rj.forecast(jax.random.key(0), stepped, jnp.zeros(1), num_samples=2000, max_evals=1e5)
    assert np.isnan(found.smoothness) and "not measured" in found.summary()
    theory = theory_plan(0.1, dim=1, smoothness=found.smoothness, second_moment=1.0)
    assert np.isfinite(theory.horizon) and theory.num_levels == 0
    assert 0 < found.measured.tv_limit < 1
    assert abs(found.second_moment - 1) < 0.1


def test_curvatures_are_those_of_the_hessian():
    def saddle(x):
        return 1.5 * x[0] ** 2 - 0.5 * x[1] ** 2 - 0.25 * x[2] ** 4

    points = jax.random.normal(jax.random.key(1), (5, 3))
    found = np.asarray(curvatures(saddle, jnp.zeros(3), None, points))
    expected = [sorted((-3.0, 1.0, 3.0 * float(x) ** 2)) for x in points[:, 2]]
    np.testing.assert_allclose(found[:5], expected, atol=1e-4)


def test_valleys_of_two_modes_show_what_draws_do_not():
    def two(x):
        return jnp.logaddexp(-0.5 * jnp.sum((x - 5) ** 2), -0.5 * jnp.sum((x + 5) ** 2))

    found = np.asarray(curvatures(two, jnp.zeros(1), None, jnp.array([[-5.0], [4.5]])))
    assert np.all(found[:2] > 0.9)
    # the curvature between is 1 - 25 at the middle
    np.testing.assert_allclose(found[2:], -24.0, rtol=0.1)


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"tolerance": 1.5}, ValueError, "tolerance=1.5"),
        ({"tolerance": "0.1"}, TypeError, "tolerance"),
        ({"tolerance": None}, TypeError, "tolerance"),
        ({"num_samples": 2.5}, TypeError, "num_samples"),
        ({"num_samples": 0}, ValueError, "num_samples"),
        ({"max_evals": 1.0}, ValueError, "max_evals=1.0"),
        ({"num_replicates": 0}, ValueError, "num_replicates"),
        ({"rng_key": 0}, TypeError, "rng_key"),
        ({"position": jnp.zeros(0)}, ValueError, "position"),
        ({"position": jnp.full(2, jnp.nan)}, ValueError, "nan"),
        ({"known_positions": jnp.zeros((3, 5))}, ValueError, "known_positions"),
    ],
)
def test_bad_input_is_refused_as_by_sample(options, error, word):
    given = {"rng_key": KEY, "position": ORIGIN, "data": target()} | options
    with pytest.raises(error, match=word):
        rj.forecast(given.pop("rng_key"), density, given.pop("position"), **given)


def test_a_density_that_is_finite_nowhere_is_refused():
    with pytest.raises(ValueError, match="not finite anywhere"):
        foresee(target(bound=np.inf))
