"""Grids of times: ends, spacing and refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

from rdmc_jax.diffusion import log_snr_grid, ornstein_uhlenbeck, time_grid, variance_exploding
from rdmc_jax.diffusion.estimators import importance
from rdmc_jax.samplers import levels


@pytest.mark.parametrize("process", [ornstein_uhlenbeck(), variance_exploding()])
def test_log_snr_grid_is_equally_spaced_in_log_snr(process):
    times = log_snr_grid(20, low=-6.0, high=4.0, process=process)
    assert isinstance(times, tuple) and len(times) == 21
    log_snr = process.log_snr(jnp.asarray(times))
    np.testing.assert_allclose(log_snr, np.linspace(-6.0, 4.0, 21), atol=3e-6)


def test_time_grid_is_equally_spaced_in_time_and_ends_exactly():
    times = time_grid(7, horizon=2.1, end=0.1)
    assert (times[0], times[-1]) == (2.1, 0.1)
    np.testing.assert_allclose(times, np.linspace(2.1, 0.1, 8), rtol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: log_snr_grid(0),
        lambda: log_snr_grid(4, low=1.0, high=1.0),
        lambda: time_grid(0, horizon=1.0),
        lambda: time_grid(3, horizon=1.0, end=1.0),
        lambda: time_grid(3, horizon=1.0, end=-0.1),
    ],
)
def test_grids_that_do_not_lead_from_noise_to_data_are_refused(make):
    with pytest.raises(ValueError, match="grid needs"):
        make()


@pytest.mark.parametrize("times", [(0.1, 0.5), (1.0, 0.5, 0.5), ()])
def test_levels_refuses_times_that_do_not_decrease(times):
    with pytest.raises(ValueError, match="decreasing times"):
        levels(times, importance())
