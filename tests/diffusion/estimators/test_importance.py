"""Importance sampling of the posterior in units of its own standard error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from targets import Mixture, assert_mean, copies

from rdmc_jax.diffusion.estimators import importance
from rdmc_jax.diffusion.estimators.importance import self_normalised
from rdmc_jax.target.flat import guarded
from rdmc_jax.types import Posterior

NUM_PARTICLES, NUM_SAMPLES = 400, 512
TARGETS = {
    "gaussian": Mixture((1.0,), ((0.5, -0.3),), ((0.4, 1.5),), 1.3),
    "mixture": Mixture((0.8, 0.2), ((-0.8, 0.2), (1.2, -0.5)), ((0.5, 1.0), (0.15, 0.4)), -2.0),
}
CONDITIONINGS = {"noisy": ((0.9, -1.4), 2.5), "clean": ((0.6, 0.3), 0.5)}


@pytest.fixture(
    scope="module",
    params=[
        (target, conditioning, reference)
        for target in TARGETS
        for conditioning in CONDITIONINGS
        for reference in (np.inf, 2.0)
    ],
    ids=lambda param: "-".join(map(str, param)),
)
def case(request):
    """Independent estimates of one posterior by every particle, draws, and the truth."""
    target, (center, scale) = TARGETS[request.param[0]], CONDITIONINGS[request.param[1]]
    estimator = importance(num_samples=NUM_SAMPLES, reference_scale=request.param[2])
    one = Posterior(jnp.asarray(center), jnp.asarray(scale))
    posterior = copies(one, NUM_PARTICLES)

    @jax.jit
    def program(rng_key):
        init_key, update_key, draw_key = jax.random.split(rng_key, 3)
        state = estimator.init(init_key, target.logdensity, posterior)
        moments, state = estimator.update(update_key, target.logdensity, posterior, state)
        return moments, estimator.draw(draw_key, state)

    moments, drawn = program(jax.random.key(21))
    return moments, drawn, target.posterior(*one)


def test_mean_is_right_and_its_standard_error_calibrated(case):
    moments, _, (_, mean, variance) = case
    bias = np.asarray(variance) ** 0.5 / np.median(moments.ess)  # of a ratio of means, O(1/n)
    assert_mean(moments.mean, np.asarray(mean), slack=bias)
    z = (np.asarray(moments.mean) - np.asarray(mean)) / np.asarray(moments.standard_error)
    np.testing.assert_allclose(np.sqrt(np.mean(z**2, axis=0)), 1.0, atol=0.15)


def test_variance_is_right(case):
    moments, _, (_, _, variance) = case
    bias = 3 * np.asarray(variance) / np.median(moments.ess)
    assert_mean(moments.variance, np.asarray(variance), slack=bias)


def test_log_marginal_is_unbiased_on_the_natural_scale(case):
    # for both references: a forgotten constant of either would show
    moments, _, (log_marginal, _, _) = case
    terms = np.exp(np.asarray(moments.log_marginal, float) - float(log_marginal))
    assert terms.std() / np.sqrt(len(terms)) < 0.02
    assert_mean(terms, 1.0)


def test_draws_have_the_law_of_the_posterior(case):
    _, drawn, (_, mean, variance) = case
    terms = np.asarray(drawn, float) - np.asarray(mean)
    assert_mean(terms, 0.0, slack=0.02)
    assert_mean(terms**2, np.asarray(variance), slack=0.03)


def test_a_draw_is_a_point_of_the_update_and_keys_draw_anew():
    estimator, posterior = importance(num_samples=8), Posterior(jnp.zeros((5, 2)), jnp.ones(5))
    state = estimator.init(jax.random.key(0), TARGETS["gaussian"].logdensity, posterior)
    np.testing.assert_array_equal(estimator.draw(jax.random.key(9), state), posterior.center)
    _, new = estimator.update(jax.random.key(1), TARGETS["gaussian"].logdensity, posterior, state)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, state)
    drawn = [np.asarray(estimator.draw(jax.random.key(k), new)) for k in (2, 3)]
    for one in drawn:
        assert np.all(np.any(np.all(one[:, None] == new.position, axis=-1), axis=1))
    assert np.any(drawn[0] != drawn[1])


def test_effective_sample_size_is_at_most_the_number_of_samples(case):
    moments, _, _ = case
    assert np.all((np.asarray(moments.ess) > 1) & (np.asarray(moments.ess) <= NUM_SAMPLES * 1.001))


def test_evaluations_are_counted_and_no_gradient_is(case):
    moments, _, _ = case
    assert moments.num_evals.logdensity == NUM_PARTICLES * NUM_SAMPLES
    assert moments.num_evals.gradient == 0
    assert moments.num_nonfinite == 0


def test_a_density_that_vanishes_everywhere_gives_finite_moments_and_no_effective_sample():
    estimator = importance(num_samples=16)
    posterior = Posterior(jnp.zeros((3, 2)), jnp.ones(3))
    fn = guarded(lambda x: jnp.sum(x) * jnp.nan)
    state = estimator.init(jax.random.key(0), fn, posterior)
    update = jax.jit(lambda key, state: estimator.update(key, fn, posterior, state))
    moments, state = update(jax.random.key(1), state)
    for field in (moments.mean, moments.variance, moments.standard_error):
        assert np.all(np.isfinite(field))
    np.testing.assert_array_equal(moments.ess, 0.0)
    np.testing.assert_array_equal(moments.log_marginal, -np.inf)
    assert moments.num_nonfinite == 48
    assert np.all(np.isfinite(estimator.draw(jax.random.key(2), state)))


def test_particles_see_their_own_posterior():
    target, estimator = TARGETS["gaussian"], importance(num_samples=4096)
    posterior = Posterior(jnp.asarray([[0.0, 0.0], [3.0, -2.0]]), jnp.asarray([0.3, 1.0]))
    state = estimator.init(jax.random.key(0), target.logdensity, posterior)
    update = jax.jit(lambda key: estimator.update(key, target.logdensity, posterior, state))
    moments, _ = update(jax.random.key(1))
    for i in range(2):
        _, mean, _ = target.posterior(posterior.center[i], posterior.scale[i])
        error = np.asarray(moments.standard_error[i]) + 1e-3
        np.testing.assert_array_less(np.abs(moments.mean[i] - mean), 5 * error)


def test_one_sample_is_refused():
    with pytest.raises(ValueError, match="num_samples >= 2"):
        importance(num_samples=1)


# Averages of weighted points.


LOG_WEIGHT = st.one_of(
    st.just(-np.inf), st.floats(-700.0, 700.0, width=32), st.floats(-2.0, 2.0, width=32)
)
POSITION = st.floats(-100.0, 100.0, width=32, allow_subnormal=False)
POINTS = st.sampled_from((1, 3, 9)).flatmap(
    lambda size: st.tuples(
        hnp.arrays(np.float32, (size, 2), elements=POSITION),
        hnp.arrays(np.float32, (size,), elements=LOG_WEIGHT),
    )
)
averaged = jax.jit(self_normalised)


def reference(positions, log_weight):
    """The same statistics in double precision, from the points."""
    positions, log_weight = positions.astype(float), log_weight.astype(float)
    top = log_weight.max()
    weight = np.exp(log_weight - top) if top > -np.inf else np.ones_like(log_weight)

    def under(w):
        mean = np.average(positions, axis=0, weights=w)
        return mean, np.average((positions - mean) ** 2, axis=0, weights=w)

    if top == -np.inf:
        return -np.inf, 0.0, *under(weight), np.zeros(2)
    mean, variance = under(weight)
    share = weight / weight.sum()
    error = np.sqrt(np.sum((share[:, None] * (positions - mean)) ** 2, axis=0))
    return top + np.log(weight.sum()), 1 / np.sum(share**2), mean, variance, error


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(POINTS)
def test_averages_of_any_weights_are_those_of_double_precision(points):
    found, (log_sum, size, mean, variance, error) = averaged(*points), reference(*points)
    np.testing.assert_allclose(found.log_sum, log_sum, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.ess, size, rtol=2e-3)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-3, atol=5e-2)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-2, atol=1e-1)
    if size > 0:
        np.testing.assert_allclose(found.standard_error, error, rtol=1e-2, atol=1e-1)


def test_second_moments_survive_an_offset():
    rng = np.random.default_rng(0)
    position = (1e3 + rng.normal(size=(200, 1))).astype(np.float32)
    log_weight = (80 + rng.normal(size=200)).astype(np.float32)
    found = averaged(position, log_weight)
    _, size, mean, variance, error = reference(position, log_weight)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.variance, variance, rtol=5e-3)
    np.testing.assert_allclose(found.standard_error, error, rtol=5e-3)
    np.testing.assert_allclose(found.ess, size, rtol=2e-3)


def test_standard_error_is_that_of_the_self_normalised_mean():
    # scatter of many independent means against the error that each of them claims
    keys = jax.random.split(jax.random.key(0), 2000)

    @jax.jit
    @jax.vmap
    def one(key):
        y = jax.random.normal(key, (200, 1))
        found = self_normalised(y, 0.8 * y[:, 0])
        return found.mean[0], found.standard_error[0]

    mean, error = one(keys)
    assert np.std(mean) == pytest.approx(float(jnp.sqrt(jnp.mean(error**2))), rel=0.08)
    np.testing.assert_allclose(np.mean(mean), 0.8, atol=0.02)
