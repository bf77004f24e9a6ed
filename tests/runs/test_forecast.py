"""Planning without running: theory beside pilot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import GMM4_DATA, ORIGIN, density, target

import rdmc_jax as rj

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
    pilot = gaussian.pilot
    moment = 25.0 + 0.25 + 4.0
    assert abs(pilot.second_moment - moment) < 4 * pilot.second_moment_error
    assert pilot.second_moment_error < 0.05 * moment
    assert pilot.smoothness == pytest.approx(4.0, rel=1e-3)
    assert pilot.convexity == pytest.approx(0.25, rel=1e-2)
    assert pilot.smoothness_standardised == pytest.approx(1.0, rel=0.2)
    np.testing.assert_allclose(pilot.location, (3, -4), atol=0.3)
    np.testing.assert_allclose(pilot.scale, (0.5, 2), rtol=0.1)


def test_a_gaussians_theory_is_that_of_its_constants(gaussian):
    own = rj.theory.theory_plan(0.3, dim=2, smoothness=4.0, convexity=0.25, second_moment=29.25)
    assert gaussian.theory.horizon == pytest.approx(own.horizon, abs=0.05)
    assert gaussian.theory.log10_evals == pytest.approx(own.log10_evals, abs=0.2)
    assert np.all(gaussian.theory.log_sobolev > 0)
    assert gaussian.theory_standardised.second_moment == 2.0
    assert gaussian.theory_standardised.horizon < own.horizon


def test_a_tolerance_that_is_met_already_needs_no_more(gaussian):
    ahead = gaussian.pilot.forecast
    assert ahead.is_met and ahead.num_temperatures == gaussian.pilot.num_temperatures
    assert ahead.num_pool == gaussian.pilot.num_pool
    assert ahead.tv_limit == gaussian.pilot.measurement.tv_limit < 0.3
    assert ahead.evals_per_sample > gaussian.pilot.num_evals / 2000


def test_a_mixture_is_seen_to_be_not_concave(mixture):
    pilot = mixture.pilot
    # within modes no eigenvalue is below .45 or above 10, and nowhere beyond 530
    assert 10 < pilot.smoothness < 530 and pilot.convexity < -10
    exact = 0.2 * 121 + 0.3 * 162 + 0.4 * 121 + 0.1 * 2 + 0.2 * 0.6 + 0.3 * 2 + 0.4 * 2.4
    assert abs(pilot.second_moment - exact) < 4 * pilot.second_moment_error
    known = mixture.theory.log_sobolev > 0
    assert np.any(known) and not known[0] and np.isinf(mixture.theory.log10_evals)


def test_a_budget_that_cannot_meet_the_tolerance_is_foreseen():
    found = foresee(GMM4_DATA, tolerance=0.01, max_evals=150)
    assert not found.pilot.forecast.is_met and "more than asked for" in found.summary()
    assert found.pilot.forecast.evals_per_sample <= 150


def test_the_summary_shows_both(mixture):
    text = mixture.summary()
    for word in ("theory", "pilot", "horizon", "no bound", "assumed", "measured", "everywhere"):
        assert word in text
    assert mixture.static.reason in text


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"tolerance": 1.5}, ValueError, "tolerance=1.5"),
        ({"tolerance": "0.1"}, TypeError, "tolerance"),
        ({"tolerance": None}, TypeError, "tolerance"),
        ({"failure": 0.0}, ValueError, "failure=0.0"),
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
