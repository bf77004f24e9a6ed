"""Batches of inner samples, merged until the error of the mean is what was asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import Mixture, assert_mean, copies

import rdmc_jax as rj
from rdmc_jax.diffusion.estimators.batches import merged_moments, relative_errors
from rdmc_jax.diffusion.estimators.importance import self_normalised
from rdmc_jax.types import Evaluations, Moments, Posterior

TARGET = Mixture((0.8, 0.2), ((-0.8, 0.2), (1.2, -0.5)), ((0.5, 1.0), (0.15, 0.4)), -2.0)
ONE = Posterior(jnp.asarray((0.9, -1.4)), jnp.asarray(1.0))


def batch(points, log_weight):
    """Moments of one particle from weighted points, as `importance` makes them."""
    found = self_normalised(points, log_weight)
    count = jnp.asarray(points.shape[0])
    one = Moments(
        mean=found.mean,
        variance=found.variance,
        ess=found.ess,
        standard_error=found.standard_error,
        log_marginal=found.log_sum - jnp.log(points.shape[0]),
        acceptance_rate=jnp.asarray(jnp.nan),
        num_evals=Evaluations(count, jnp.zeros_like(count)),
        num_nonfinite=jnp.zeros((), jnp.int32),
    )
    array = {"mean", "variance", "ess", "standard_error", "log_marginal", "acceptance_rate"}
    return one._replace(**{name: getattr(one, name)[None] for name in array})


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_merged_batches_are_those_of_all_samples(spread):
    rng = np.random.default_rng(0)
    points = jnp.asarray(rng.normal(size=(96, 2)), jnp.float32)
    log_weight = jnp.asarray(spread * rng.normal(size=96) - 300.0, jnp.float32)
    parts = [batch(points[k : k + 32], log_weight[k : k + 32]) for k in (0, 32, 64)]
    found = merged_moments(merged_moments(parts[0], parts[1], 1), parts[2], 2)
    whole = batch(points, log_weight)
    for name in ("mean", "variance", "ess", "log_marginal"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-4, atol=1e-5)
    if spread < 1:  # few heavy weights leave cross terms between batches
        np.testing.assert_allclose(found.standard_error, whole.standard_error, rtol=0.1)
    assert int(found.num_evals.logdensity) == 96


def test_batches_without_any_weight_count_nothing():
    points = jnp.asarray([[0.0, 1.0], [2.0, -1.0]])
    good, empty = batch(points, jnp.zeros(2)), batch(points + 5.0, jnp.full(2, -jnp.inf))
    for found in (merged_moments(good, empty, 1), merged_moments(empty, good, 1)):
        np.testing.assert_allclose(found.mean, good.mean)
        np.testing.assert_allclose(found.ess, good.ess, rtol=1e-5)
        np.testing.assert_allclose(found.log_marginal, good.log_marginal - np.log(2), rtol=1e-5)


@pytest.fixture(
    scope="module",
    params=[
        rj.estimators.importance(num_samples=16),
        rj.estimators.chains(
            rj.kernels.mala, num_chains=16, num_steps=4, num_candidates=32, num_start_steps=8
        ),
    ],
    ids=["importance", "chains"],
)
def runs(request):
    """400 estimates of one posterior, in groups of 4 particles, at two tolerances."""
    estimator, posterior = request.param, copies(ONE, 4)

    def program(tolerance, max_batches):
        own = rj.estimators.adaptive(estimator, relative_error=tolerance, max_batches=max_batches)

        def once(key):
            init_key, update_key = jax.random.split(key)
            state = own.init(init_key, TARGET.logdensity, posterior)
            return own.update(update_key, TARGET.logdensity, posterior, state)[0]

        return jax.jit(jax.vmap(once))(jax.random.split(jax.random.key(7), 100))

    return program(0.1, 64), program(0.1, 2)


def test_the_error_meets_the_tolerance_and_is_no_smaller_than_it_says(runs):
    met, _ = runs
    assert np.all(jax.vmap(relative_errors)(met) <= 0.1)
    _, mean, variance = TARGET.posterior(*ONE)
    z = (np.asarray(met.mean) - np.asarray(mean)) / np.sqrt(np.asarray(variance))
    # the worst of four particles decides, so most are better; chains agree less than they think
    assert 0.03 < np.sqrt(np.mean(z**2)) < 0.15
    assert_mean(np.mean(met.mean, axis=1), np.asarray(mean), slack=0.02)


def test_the_bound_on_the_batches_holds_and_evaluations_are_counted(runs):
    met, bounded = runs
    few, many = (np.asarray(one.num_evals.logdensity) for one in (bounded, met))
    assert np.all(few <= many) and many.max() > few.max()
    assert np.any(jax.vmap(relative_errors)(bounded) > 0.1)
    assert len(np.unique(many)) > 1  # each run stops on its own


@pytest.mark.parametrize("options", [{"relative_error": 0.0}, {"max_batches": 0}])
def test_impossible_requests_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        rj.estimators.adaptive(rj.estimators.importance(), **options)
