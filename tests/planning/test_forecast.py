"""What discarded draws foresee of a run: sizes that are needed, and affordable."""

import math

import pytest

from rdmc_jax.draws.plan import Trial
from rdmc_jax.planning.forecast import predicted

RUN = {
    "tolerance": 0.1,
    "num_prepared": 1000,
    "num_replicates": 2,
    "num_ensembles": 1,
    "num_samples": 2000,
}


def trial(relative_variance, tv_limit):
    return Trial(1, 0, relative_variance, 500.0, 0.3, 0.9 * tv_limit, tv_limit, 0)


def test_forecast_grows_no_more_than_needed_and_affordable():
    found = predicted(trial(0.05, 0.08), max_evals=None, **RUN)
    assert (found.num_candidates, found.num_temperatures) == (1, 0)
    assert found.is_met and found.tv_limit == pytest.approx(0.08)
    # a pilot, a pool and an ensemble of each replicate; nothing is discarded but the fit
    assert found.evals_per_sample == 2 * (1000 + 1000) / 2000
    # a limit of .2 with one candidate: .2/√6 = .082 with six, .1 > .09 with four
    rough = trial(0.5, 0.2)
    found = predicted(rough, max_evals=None, **RUN)
    assert (found.num_candidates, found.num_temperatures) == (6, 0)
    assert found.tv_limit == pytest.approx(0.2 / math.sqrt(6)) and found.is_met
    assert found.evals_per_sample == 2 * (1000 + 2 * 6000) / 2000
    capped = predicted(rough, max_evals=20_000.0, **RUN)
    assert capped.num_candidates == 4 and capped.evals_per_sample <= 10
    assert not capped.is_met and capped.tv_limit == pytest.approx(0.1)
    nothing = predicted(rough, max_evals=4000.0, **RUN)
    assert (nothing.num_candidates, nothing.tv_limit, nothing.is_met) == (1, 0.2, False)


def test_equal_weights_have_no_distance():
    found = predicted(trial(0.0, 0.0), max_evals=None, **RUN)
    assert found.tv_limit == 0.0 and found.is_met and found.num_candidates == 1


def test_forecast_without_any_weight_promises_nothing():
    none = Trial(1, 0, math.inf, 0.0, math.inf, 1.0, 1.0, 0)
    found = predicted(none, max_evals=None, **RUN)
    assert not found.is_met and not found.tv_limit < 1.0
