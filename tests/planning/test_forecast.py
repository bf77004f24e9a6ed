"""What a pilot's measurements foresee of a run: sizes that are needed, and affordable."""

import math

import numpy as np
import pytest

from rdmc_jax.planning.defaults import DEFAULT_SIZES
from rdmc_jax.planning.forecast import Measurement, predicted

SIZES = {
    "num_pool": 500,
    "num_prepared": 1000,
    "num_replicates": 2,
    "num_ensembles": 1,
    "num_samples": 2000,
}


def test_forecast_grows_no_more_than_needed_and_affordable():
    enough = Measurement(0.05, 0.08, 0.01, 0.01)
    found = predicted(enough, DEFAULT_SIZES[1], tolerance=0.1, max_evals=None, **SIZES)
    assert (found.num_pool, found.num_temperatures) == (500, 16)
    assert found.is_met and found.tv_limit == 0.08
    # .16 of finish at 16 temperatures: 64 would leave half of the deviation, .1 > .09
    rough = Measurement(0.1, 0.2, 0.16, 0.0)
    found = predicted(rough, DEFAULT_SIZES[1], tolerance=0.1, max_evals=None, **SIZES)
    assert (found.num_pool, found.num_temperatures) == (500, 128)
    assert found.tv_limit == pytest.approx(0.2 / math.sqrt(8)) and found.is_met
    capped = predicted(rough, DEFAULT_SIZES[1], tolerance=0.1, max_evals=100.0, **SIZES)
    assert capped.evals_per_sample <= 100 and not capped.is_met
    assert capped.num_temperatures < found.num_temperatures


def test_forecast_without_variances_has_no_limit():
    none = Measurement(1.0, 1.0, math.inf, math.inf)
    found = predicted(none, DEFAULT_SIZES[1], tolerance=0.1, max_evals=None, **SIZES)
    assert np.isnan(found.tv_limit) and not found.is_met
