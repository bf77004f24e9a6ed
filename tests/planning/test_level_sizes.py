"""What a planner knows of levels: the noise of an estimate, and where inner samples go."""

import contextlib
import io
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm
from targets import Mixture, copies

import rdmc_jax as rj
from rdmc_jax.diffusion.estimators.batches import repeated
from rdmc_jax.diffusion.transitions import noise_kl
from rdmc_jax.draws.plan import LevelTrial
from rdmc_jax.planning.level_sizes import (
    LevelSizes,
    allocate_batches,
    first_sizes,
    measured_trial,
    next_level_sizes,
    resized,
    with_batches,
    with_more_levels,
)
from rdmc_jax.types import Evaluations, Moments, Posterior

GRID = rj.diffusion.log_snr_grid(4, low=-3.0, high=3.0)
METHOD = rj.rdmc(
    rj.samplers.gaussian_start(num_particles=64),
    rj.samplers.levels(GRID, rj.estimators.chains(num_chains=4)),
    rj.samplers.annealed_finish(num_temperatures=2),
)


def kl_of_gaussians(mean, variance, other_mean, other_variance):
    """KL(N(mean, variance) ‖ N(other_mean, other_variance)), summed over the last axis."""
    ratio = variance / other_variance
    shift = (mean - other_mean) ** 2 / other_variance
    return 0.5 * np.sum(ratio - 1 - np.log(ratio) + shift, axis=-1)


def test_noise_is_the_divergence_that_finite_samples_make():
    """Moments of n exact samples in a step of the Ornstein-Uhlenbeck process, many times over."""
    rng, count, n = np.random.default_rng(0), 20_000, 200
    process, t, s = rj.diffusion.ornstein_uhlenbeck(), np.full(count, 0.9), np.full(count, 0.4)
    true_mean, true_variance = np.array([0.3, -1.0]), np.array([0.2, 0.05])
    # mean and variance of n samples of a Gaussian are independent
    mean = true_mean + np.sqrt(true_variance / n) * rng.normal(size=(count, 2))
    variance = true_variance * rng.chisquare(n - 1, size=(count, 2)) / (n - 1)
    alpha_t, alpha_s = np.exp(-t[0]), np.exp(-s[0])
    noise_s, noise_t = 1 - alpha_s**2, 1 - alpha_t**2
    between = noise_t - (alpha_t / alpha_s) ** 2 * noise_s
    gain, v = alpha_s * between / noise_t, between * noise_s / noise_t
    made = kl_of_gaussians(
        gain * mean, v + gain**2 * variance, gain * true_mean, v + gain**2 * true_variance
    )
    known = Moments(
        mean=jnp.asarray(mean, jnp.float32),
        variance=jnp.asarray(variance, jnp.float32),
        ess=jnp.full(count, float(n)),
        standard_error=jnp.asarray(np.sqrt(variance / n), jnp.float32),
        log_marginal=jnp.zeros(count),
        acceptance_rate=jnp.zeros(count),
        num_evals=Evaluations(),
        num_nonfinite=jnp.zeros(()),
    )
    predicted = np.mean(noise_kl(process, jnp.asarray(t), jnp.asarray(s), known))
    error = np.std(made) / np.sqrt(count)
    # second order in 1/√n, with two pseudo-samples of a wider variance: within 3 %
    assert abs(predicted - np.mean(made)) < 4 * error + 0.03 * np.mean(made)


def test_batches_are_the_fewest_for_their_noise():
    rng = np.random.default_rng(1)
    cost, allowed = rng.exponential(size=8), 0.02
    batches = np.asarray(allocate_batches(cost, allowed)[:-1])
    assert np.sum(cost / batches) <= allowed
    other = np.sqrt(cost) * np.exp(0.3 * rng.normal(size=(100, 8)))
    other *= np.sum(cost / other, axis=1, keepdims=True) / allowed  # of the same noise
    assert np.sum(batches) - 8 < np.min(np.sum(other, axis=1))  # up to rounding up


def test_sizes_of_a_method_grow_as_they_say():
    first = first_sizes(METHOD)
    assert first == LevelSizes(GRID, (1,) * 5, 1, 1) and resized(METHOD, first) == METHOD
    more = with_more_levels(METHOD, first, 2)
    assert more.num_levels == 8 and more.finer == 2
    assert more.times[0] > GRID[0] and more.times[-1] < GRID[-1]
    noise = np.array([0.01, 0.01, 0.04, 0.16])
    quiet = with_batches(first, noise, more, 0.11)
    # at equal batches half the steps have half the noise: .11 for what was .22
    assert len(quiet.num_batches) == 9 and quiet.num_batches[0] <= quiet.num_batches[-1]
    wide = with_batches(first, noise, first._replace(wider=2), 0.11)
    assert wide.num_batches == (1, 1, 1, 2, 2)
    grown = resized(METHOD, quiet._replace(wider=2))
    wanted = repeated(rj.estimators.chains(num_chains=8, num_candidates=128), quiet.num_batches)
    assert grown.levels.estimator == wanted
    assert grown.finish == rj.samplers.annealed_finish(num_temperatures=4)


def trial(noise, rest, limit=0.2):
    num, total = len(noise), sum(noise) + rest
    evals = (100,) * num + (50,)
    return LevelTrial(
        num, (1,) * (num + 1), 1, 1, limit, limit, total, tuple(noise), rest, evals, sum(evals)
    )


def test_what_contributes_most_grows():
    first = first_sizes(METHOD)
    loud = [(trial((0.1, 0.1, 0.1, 0.1), 0.02), first)]
    new = next_level_sizes(METHOD, loud, 0.12, 2)
    assert min(new.num_batches) > 1 and new.times == GRID and new.wider == 1
    coarse = [(trial((0.001,) * 4, 0.2), first)]
    new = next_level_sizes(METHOD, coarse, 0.12, 2)
    assert new.num_levels > 4 and max(new.num_batches) == 1 and new.wider == 1
    assert next_level_sizes(METHOD, coarse, 0.12, 2, affordable=2000).num_levels == 8
    assert next_level_sizes(METHOD, coarse, 0.12, 2, affordable=1000) is None


def test_more_chains_take_over_where_more_levels_do_not_help():
    first = first_sizes(METHOD)
    second = with_more_levels(METHOD, first, 2)._replace(num_batches=(1,) * 9)
    for rest, is_width in ((0.19, True), (0.1, False)):
        tried = [(trial((0.001,) * 4, 0.2), first), (trial((0.0005,) * 8, rest), second)]
        new = next_level_sizes(METHOD, tried, 0.12, 2)
        assert (new.wider > 1) == is_width and (new.num_levels > 8) != is_width
    third = second._replace(wider=2)
    for rest, is_width in ((0.19, False), (0.1, True)):  # and give way again
        tried = [*tried[:1], (trial((0.0005,) * 8, 0.19), second)]
        tried.append((trial((0.0005,) * 8, rest), third))
        assert (next_level_sizes(METHOD, tried, 0.12, 2).wider > 2) == is_width


def test_a_method_without_weights_has_nothing_to_certify():
    result = types.SimpleNamespace(log_weight=np.full(64, np.nan))
    with pytest.raises(ValueError, match="this method has none"):
        measured_trial(first_sizes(METHOD), [result, result], 100)


@pytest.mark.parametrize("num_batches", [(), (1, 0)])
def test_a_level_without_a_batch_is_refused(num_batches):
    with pytest.raises(ValueError, match="at least one batch"):
        repeated(rj.estimators.importance(num_samples=8), num_batches)


def test_batches_of_a_level_are_merged():
    def target(y):
        return -0.5 * jnp.sum((y - 1.0) ** 2) / 0.25

    posterior = copies(Posterior(jnp.asarray((0.5, -0.5)), jnp.asarray(1.0)), 500)
    estimator = repeated(rj.estimators.importance(num_samples=16), (1, 8))

    @jax.jit
    def two(key):
        state = estimator.init(key, target, posterior)
        first, state = estimator.update(key, target, posterior, state)
        return first, estimator.update(jax.random.fold_in(key, 1), target, posterior, state)[0]

    first, second = two(jax.random.key(0))
    assert int(first.num_evals.logdensity) * 8 == int(second.num_evals.logdensity) == 500 * 128
    exact = np.array([0.9, 0.7])  # (4·1 + 0.5)/5, (4·1 - 0.5)/5
    errors = [np.mean((np.asarray(m.mean) - exact) ** 2, axis=0) for m in (first, second)]
    said = np.mean(np.asarray(second.standard_error) ** 2, axis=0)
    assert np.all(errors[1] < errors[0] / 5) and np.all(np.abs(errors[1] / said - 1) < 0.35)


# A tolerance for a composition: levels, inner samples and temperatures that meet it.


TOLERANCE = 0.3
WEIGHT = (0.3, 0.7)
MIXTURE_METHOD = rj.rdmc(
    rj.samplers.gaussian_start(num_particles=512),
    rj.samplers.levels(
        rj.diffusion.log_snr_grid(6, low=-4.0, high=3.0),
        rj.estimators.importance(num_samples=16, reference_scale=2.0),
    ),
    rj.samplers.annealed_finish(num_temperatures=2),
)
TARGET = Mixture(WEIGHT, ((-2.5, 0.0), (2.5, 1.0)), ((1.0, 0.6), (0.6, 1.0)), -2.0)


def run(**options):
    return rj.sample(
        jax.random.key(1), TARGET.logdensity, jnp.zeros(2), 2048, num_replicates=4, **options
    )


@pytest.fixture(scope="module")
def shown():
    """The draws, and what the run said on the way."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        draws = run(method=MIXTURE_METHOD, tolerance=TOLERANCE, progress=True)
    return draws, said.getvalue().splitlines()


@pytest.fixture(scope="module")
def met(shown):
    return shown[0]


def test_the_certificate_is_met_where_the_method_alone_did_not(met):
    record = met.plan.accuracy
    first, last = record.trials[0], record.trials[record.chosen]
    assert first.tv_limit > TOLERANCE > last.tv_limit == record.predicted
    assert met.tv_bound < met.tv_limit == record.certified <= TOLERANCE
    assert last.num_levels > first.num_levels and max(last.num_batches) > 1
    assert met.findings() == []
    assert "certified" in met.summary() and f"{last.num_levels} levels" in met.summary()


def test_progress_says_what_grows(shown):
    draws, said = shown
    record = draws.plan.accuracy
    lines = [text for text in said if "trial" in text]
    assert len(lines) == len(record.trials) and lines[-1].endswith(record.stopped)
    before, after = (one.num_levels for one in record.trials[:2])
    assert f"; levels {before} -> {after}" in lines[0] and "batches" in lines[0]


def test_progress_changes_no_number(met):
    silent = run(method=MIXTURE_METHOD, tolerance=TOLERANCE)
    np.testing.assert_array_equal(silent.position, met.position)
    np.testing.assert_array_equal(silent.log_weight, met.log_weight)
    assert silent.plan == met.plan and silent.num_evals == met.num_evals


def test_each_level_has_its_record(met):
    record = met.plan.accuracy.trials[met.plan.accuracy.chosen]
    assert len(record.num_batches) == len(record.level_evals) == record.num_levels + 1
    noise = np.asarray(met.info.noise_kl)
    assert noise.shape == (record.num_levels + 1,) and np.isnan(noise[-1])
    # of the reported ensembles, as the pilot predicted, level by level
    np.testing.assert_allclose(noise[:-1], record.noise_kl, rtol=0.3)
    assert np.sum(noise[:-1]) < met.kl_limit
    assert met.plan.accuracy.spent == max(met.num_evals)
    made = np.maximum(met.info.num_evals.logdensity, met.info.num_evals.gradient)
    assert sum(g.evals for g in met.plan.accuracy.trials) + np.sum(made) <= max(met.num_evals)


def test_draws_of_the_larger_method_are_those_of_the_target(met):
    assert abs(met.log_normalizer + 2.0) < 4 * met.log_normalizer_error
    mean, error = met.expectation(lambda x: x)
    assert np.all(np.abs(mean - [1.0, 0.7]) < 4 * error)
    # of unweighted draws the certificate holds, with the noise of as many exact draws on top
    left = np.mean(np.asarray(met.position)[:, 0] < 0.0)
    exact = np.dot(WEIGHT, norm.cdf(np.array([2.5, -2.5]) / np.sqrt([1.0, 0.6])))
    assert abs(left - exact) < met.tv_limit + 3 * np.sqrt(exact * (1 - exact) / met.num_samples)


def test_a_budget_that_is_too_small_is_reported():
    draws = run(method=MIXTURE_METHOD, tolerance=0.1, max_evals=8e5)
    assert draws.total_evals <= 8e5 and draws.tv_limit > 0.1
    assert "R114" in [code for code, _ in draws.findings()]
    assert draws.plan.accuracy.stopped == "the next size would exceed max_evals"
