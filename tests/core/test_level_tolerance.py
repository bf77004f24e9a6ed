"""A tolerance for a composition: levels, inner samples and temperatures that meet it."""

import contextlib
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_targets import Mixture
from scipy.stats import norm

import rdmc_jax as rj

TOLERANCE = 0.3
WEIGHT = (0.3, 0.7)
METHOD = rj.rdmc(
    rj.gaussian(num_particles=512),
    rj.levels(
        rj.log_snr_grid(6, low=-4.0, high=3.0), rj.importance(num_samples=16, reference_scale=2.0)
    ),
    rj.annealed(num_temperatures=2),
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
        draws = run(method=METHOD, tolerance=TOLERANCE, progress=True)
    return draws, said.getvalue().splitlines()


@pytest.fixture(scope="module")
def met(shown):
    return shown[0]


def test_the_certificate_is_met_where_the_method_alone_did_not(met):
    record = met.plan.accuracy
    first, last = record.generations[0], record.generations[record.chosen]
    assert first.tv_limit > TOLERANCE > last.tv_limit == record.predicted
    assert met.tv_bound < met.tv_limit == record.certified <= TOLERANCE
    assert last.num_levels > first.num_levels and max(last.num_batches) > 1
    assert met.findings() == []
    assert "certified" in met.summary() and f"{last.num_levels} levels" in met.summary()


def test_progress_says_what_grows(shown):
    draws, said = shown
    record = draws.plan.accuracy
    lines = [text for text in said if "generation" in text]
    assert len(lines) == len(record.generations) and lines[-1].endswith(record.stopped)
    before, after = (one.num_levels for one in record.generations[:2])
    assert f"; levels {before} -> {after}" in lines[0] and "batches" in lines[0]


def test_progress_changes_no_number(met):
    silent = run(method=METHOD, tolerance=TOLERANCE)
    np.testing.assert_array_equal(silent.position, met.position)
    np.testing.assert_array_equal(silent.log_weight, met.log_weight)
    assert silent.plan == met.plan and silent.num_evals == met.num_evals


def test_each_level_has_its_record(met):
    record = met.plan.accuracy.generations[met.plan.accuracy.chosen]
    assert len(record.num_batches) == len(record.level_evals) == record.num_levels + 1
    noise = np.asarray(met.info.noise_kl)
    assert noise.shape == (record.num_levels + 1,) and np.isnan(noise[-1])
    # of the reported ensembles, as the pilot predicted, level by level
    np.testing.assert_allclose(noise[:-1], record.noise_kl, rtol=0.3)
    assert np.sum(noise[:-1]) < met.kl_limit
    assert met.plan.accuracy.spent == max(met.num_evals)
    made = np.maximum(met.info.num_evals.logdensity, met.info.num_evals.gradient)
    assert sum(g.evals for g in met.plan.accuracy.generations) + np.sum(made) <= max(met.num_evals)


def test_draws_of_the_larger_method_are_those_of_the_target(met):
    assert abs(met.log_normalizer + 2.0) < 4 * met.log_normalizer_error
    mean, error = met.expectation(lambda x: x)
    assert np.all(np.abs(mean - [1.0, 0.7]) < 4 * error)
    # of unweighted draws the certificate holds, with the noise of as many exact draws on top
    left = np.mean(np.asarray(met.position)[:, 0] < 0.0)
    exact = np.dot(WEIGHT, norm.cdf(np.array([2.5, -2.5]) / np.sqrt([1.0, 0.6])))
    assert abs(left - exact) < met.tv_limit + 3 * np.sqrt(exact * (1 - exact) / met.num_samples)


def test_a_budget_that_is_too_small_is_reported():
    draws = run(method=METHOD, tolerance=0.1, max_evals=400)
    assert draws.evals_per_sample <= 400 and draws.tv_limit > 0.1
    assert "R114" in [code for code, _ in draws.findings()]
    assert draws.plan.accuracy.stopped == "the next size would exceed max_evals"
