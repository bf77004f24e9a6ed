"""Tolerance in, certificate out: what was asked, what was met, and what it cost."""

import contextlib
import io
import re

import jax
import numpy as np
import pytest
from targets import GMM4, GMM4_DATA, ORIGIN, TOLERANCE, default, density

import rdmc_jax as rj
from rdmc_jax.planning.defaults import DEFAULT_SIZES, most_evals, preparation_evals
from rdmc_jax.planning.mixture_sizes import Sizes, ensemble_evals

pytestmark = pytest.mark.one_program

BUDGET = most_evals(DEFAULT_SIZES[1], 2, 2000, 2) + 10_000


@pytest.fixture(scope="module")
def shown():
    """The draws, and what the run said on the way."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        draws = default(2000, seed=1, data=GMM4_DATA, tolerance=TOLERANCE, progress=True)
    return draws, said.getvalue()


@pytest.fixture(scope="module")
def met(shown):
    return shown[0]


def test_the_certificate_is_met_by_draws_that_decided_nothing(met):
    record = met.plan.accuracy
    assert record.requested == TOLERANCE and record.predicted <= TOLERANCE
    assert met.tv_bound < met.tv_limit <= TOLERANCE
    assert met.findings() == []
    assert f"{TOLERANCE:g}" in met.summary() and "tolerance" in met.summary()


def test_one_candidate_alone_would_not_have_met_it(met):
    first, *rest = met.plan.accuracy.trials
    assert first[:2] == (1, 0) and first.evals == 0 and first.tv_limit > TOLERANCE
    assert rest and met.plan.trials == met.plan.accuracy.trials


def test_the_law_of_the_unweighted_draws_is_within_the_certificate(met):
    modes = np.asarray(jax.vmap(GMM4.mode_fn)(met.position))
    shares = np.bincount(modes, minlength=4) / modes.size
    # half the sum over modes is below the total variation; noise of equal draws comes on top
    noise = 0.5 * np.sum(np.sqrt(2 / np.pi * shares * (1 - shares) / modes.size))
    distance = 0.5 * np.sum(np.abs(shares - GMM4.mode_weights))
    assert distance < met.tv_limit + 3 * noise
    error = rj.metrics.mode_weight_error(modes, GMM4.mode_weights, log_weight=met.log_weight)
    assert error < 4 * noise
    assert abs(met.log_normalizer) < 4 * met.log_normalizer_error + 0.01


def test_all_evaluations_are_counted(met):
    spent = sum(one.evals for one in met.plan.accuracy.trials)
    record = met.plan.accuracy
    sizes = Sizes(*record.trials[record.chosen][:2])
    # two replicates of one ensemble, as large as those of the trial
    made = int(np.sum(met.info.num_evals.logdensity))
    assert made == record.trials[record.chosen].evals == 2 * ensemble_evals(sizes)
    # the rest are pilots, pools and fits
    search = met.total_evals - spent - made
    assert 0 < search <= 2 * preparation_evals(met.plan.sizes, 2)
    assert met.total_evals == record.spent


def test_a_tolerance_that_the_budget_cannot_meet_is_reported():
    d = default(2000, seed=1, data=GMM4_DATA, tolerance=0.003, max_evals=BUDGET)
    assert d.total_evals <= BUDGET and d.tv_limit > 0.003
    codes = [code for code, _ in d.findings()]
    assert "R114" in codes
    assert "max_evals" in d.plan.accuracy.stopped


def test_progress_has_a_line_for_each_trial(shown):
    draws, said = shown
    record = draws.plan.accuracy
    lines = [text for text in said.splitlines() if "trial" in text]
    for number, (text, one) in enumerate(zip(lines, record.trials, strict=True)):
        assert text.startswith(f"rdmc: trial {number + 1}: TV limit {one.tv_limit:.3f}")
    assert " -> " in lines[0] and lines[-1].endswith(record.stopped)
    spent = [int(re.search(r"([\d,]+) evaluations", text)[1].replace(",", "")) for text in lines]
    assert np.all(np.diff(spent) > 0) and spent[-1] < record.spent
    # the trials are over before the first ensemble of the reported run
    assert said.rindex("trial") < said.index("log Z")


def test_a_plan_foresees_what_the_run_then_needed(met):
    options = {"data": GMM4_DATA, "num_samples": 2000, "tolerance": TOLERANCE}
    found = rj.forecast(jax.random.key(1), density, ORIGIN, **options)
    ahead = found.predicted
    record = met.plan.accuracy
    used = record.trials[record.chosen]
    # one ensemble is half of what the first trial is judged by
    assert ahead.is_met
    assert 0.25 <= ahead.num_candidates / used.num_candidates <= 4
    assert ahead.num_temperatures == used.num_temperatures == 0
    assert 0.4 < ahead.evals_per_sample / met.evals_per_sample < 2.5
