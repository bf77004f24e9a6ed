"""Where no mixture resembles the target: the restart from larger pools, from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdmc_jax as rj
from rdmc_jax.planning import mixture_sizes
from rdmc_jax.planning.defaults import DEFAULT_SIZES, larger_search_evals
from rdmc_jax.samplers.noised_pool import noised_pool


def density(x):
    """Z = 3 · 2π · .36, twice as much on the right."""
    left, right = (jnp.sum((x - jnp.array([c, 0.0])) ** 2) / 0.36 for c in (-3.0, 3.0))
    return jnp.logaddexp(-0.5 * left, jnp.log(2.0) - 0.5 * right)


@pytest.fixture
def only_restarts_are_believed(monkeypatch):
    monkeypatch.setattr(mixture_sizes, "is_reliable", lambda one: one.is_restart)


def run(path=None, **options):
    return rj.sample(jax.random.key(0), density, jnp.zeros(2), 2000, checkpoint=path, **options)


@pytest.mark.usefixtures("only_restarts_are_believed")
def test_a_restart_is_exact_counted_and_resumed(tmp_path):
    draws = run(tmp_path / "run")
    first, last = draws.plan.trials
    sizes = DEFAULT_SIZES[1]
    assert last.is_restart and last.num_temperatures == sizes.larger.num_temperatures
    assert isinstance(draws.plan.recipe.method.start, noised_pool)
    assert "temperatures from the noised pool" in draws.plan.reason
    assert abs(draws.log_normalizer - np.log(3 * 2 * np.pi * 0.36)) < (
        4 * draws.log_normalizer_error
    )
    assert draws.log_normalizer_error < 0.05
    right, error = draws.expectation(lambda x: x[0] > 0)
    assert abs(right - 2 / 3) < 4 * error
    # two searches and fits, two larger pools, the trial of one replicate, two ensembles
    ensemble = mixture_sizes.ensemble_evals(mixture_sizes.sizes_of(last))
    larger = last.evals - ensemble
    assert 0 < larger <= 2 * larger_search_evals(sizes, 2)
    before = draws.total_evals - last.evals - 2 * ensemble
    assert 10_000 < before < 50_000 and first.evals == 0
    # nothing is computed again, and the bits are the same
    again = run(tmp_path / "run")
    np.testing.assert_array_equal(again.position, draws.position)
    np.testing.assert_array_equal(again.log_weight, draws.log_weight)
    assert again.total_evals == draws.total_evals


@pytest.mark.usefixtures("only_restarts_are_believed")
def test_a_budget_without_room_for_larger_pools_is_kept():
    draws = run(max_evals=100_000)
    assert not any(one.is_restart for one in draws.plan.trials)
    assert draws.total_evals <= 100_000 and draws.plan.is_limited
    assert abs(draws.log_normalizer - np.log(3 * 2 * np.pi * 0.36)) < (
        4 * draws.log_normalizer_error
    )
