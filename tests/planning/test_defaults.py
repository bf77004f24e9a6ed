"""The measured effective sample size decides how many temperatures there are."""

import numpy as np
import pytest
from scipy.stats import norm

import rdmc_jax as rj
from rdmc_jax.montecarlo.weights import weight_ess
from rdmc_jax.planning.defaults import DEFAULT_SIZES, more_temperatures, predicted_evals
from rdmc_jax.samplers.core import EnsembleResult

PLAN = rj.plan(dim=3, num_samples=2000)
NUM = 20_000


def discarded(variance):
    """Normal log weights: ESS/N is exp(-variance)."""
    comb = (np.arange(NUM) + 0.5) / NUM
    return EnsembleResult(None, np.sqrt(variance) * norm.ppf(comb), None)


@pytest.mark.parametrize(("share", "factor"), [(0.9, 1), (0.55, 1), (0.4, 2), (0.2, 4), (0.03, 8)])
def test_as_many_temperatures_as_the_share_needs(share, factor):
    trial = discarded(-np.log(share))
    assert abs(weight_ess(trial.log_weight) / NUM - share) < 0.02
    method, reason = more_temperatures(PLAN, trial)
    expected = (PLAN.recipe.method, *PLAN.with_more_temperatures)[(1, 2, 4, 8).index(factor)]
    assert method == expected
    assert f"weight ESS {weight_ess(trial.log_weight) / NUM:.2f}" in reason
    assert ("times as many temperatures" in reason) == (factor > 1)


def test_weights_of_nothing_ask_for_the_most():
    method, _ = more_temperatures(PLAN, EnsembleResult(None, np.full(NUM, -np.inf), None))
    assert method == PLAN.with_more_temperatures[-1]


def test_max_evals_limits_what_may_be_chosen():
    cost = predicted_evals(DEFAULT_SIZES[2], 3, 2000, 2, 2)
    plan = rj.plan(dim=3, num_samples=2000, max_evals=cost + 1)
    assert (
        plan.recipe.method == PLAN.recipe.method
        and plan.with_more_temperatures == PLAN.with_more_temperatures[:1]
    )
    method, _ = more_temperatures(plan, discarded(5.0))
    assert method == PLAN.with_more_temperatures[0]


def test_a_method_of_the_callers_is_left_alone():
    plan = rj.plan(dim=3, method=PLAN.recipe.method)
    assert (
        plan.with_more_temperatures == ()
        and more_temperatures(plan, discarded(5.0))[0] == PLAN.recipe.method
    )
