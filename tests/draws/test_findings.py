"""Each finding is provoked by a record in which just that is wrong, and by nothing healthy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdmc_jax as rj
from rdmc_jax.draws.coverage import Coverage
from rdmc_jax.draws.plan import Accuracy
from rdmc_jax.montecarlo.weights import log_mean_exp
from rdmc_jax.planning.mixture_sizes import MixtureLadder
from rdmc_jax.planning.tolerance import OVER_BUDGET
from rdmc_jax.types import Runaway

pytestmark = pytest.mark.one_program

RNG = np.random.default_rng(0)
NUM = 2000
WITHIN = RNG.normal(0, 0.3, NUM)
"""Healthy log weights, that the hand-made ones start from."""


def with_weights(draws, log_weight):
    log_weight = jnp.asarray(log_weight, jnp.float32)
    return dataclasses.replace(
        draws, log_weight=log_weight, log_normalizer=log_mean_exp(np.asarray(log_weight))
    )


def over_budget(d):
    return dataclasses.replace(d, plan=d.plan._replace(max_evals=d.total_evals - 1))


def interrupted(d):
    return dataclasses.replace(d, complete=False)


def without_weights(d):
    return dataclasses.replace(d, weighted=False, log_normalizer=float("nan"))


def few_effective(d):
    # every fourth of few draws has a weight, all much the same: no tail
    few = dataclasses.replace(d, position=d.position[::10], replicate=d.replicate[::10])
    return with_weights(few, np.where(np.arange(NUM // 10) % 4 == 0, WITHIN[::10], -8.0))


def heavy_tail(d):
    # the quantiles of a Pareto law, for both replicates
    exponential = -np.log1p(-(np.arange(NUM // 2) + 0.5) / (NUM // 2))
    return with_weights(d, 0.78 * np.concatenate([exponential, exponential]))


def disagreeing(d):
    return with_weights(d, WITHIN + 0.4 * np.asarray(d.replicate))


def collapsed(d):
    info = d.info._replace(ess_median=np.full_like(d.info.ess_median, 1.2))
    return dataclasses.replace(d, info=info)


def nonfinite(d):
    # one in twenty of the evaluations that made the draws
    info = d.info._replace(num_nonfinite=np.asarray(d.info.num_evals.logdensity) // 20)
    return dataclasses.replace(d, info=info)


def coarse(d):
    return dataclasses.replace(d, largest_logdensity=3e6)


def alone(d):
    return dataclasses.replace(d, replicate=jnp.zeros_like(d.replicate))


def seen_by_one(d):
    return dataclasses.replace(d, coverage=Coverage(np.array([0.35, 0.0]), 0.3))


def elsewhere(d):
    # one replicate has twice the weight on the right, the same weight in total
    right = np.asarray(d.position)[:, 0] > 0
    is_first = np.asarray(d.replicate) == 0
    log_weight = np.where(is_first & right, np.log(2.0), np.where(is_first, -3.0, 0.0))
    for label in (0, 1):
        own = np.asarray(d.replicate) == label
        log_weight[own] -= log_mean_exp(log_weight[own])
    return with_weights(d, log_weight)


def broken(d):
    return dataclasses.replace(d, num_nan_weights=3)


def asked(d, requested, predicted):
    accuracy = Accuracy(requested, predicted, (), 0, "met by the last trial")
    return dataclasses.replace(d, plan=d.plan._replace(accuracy=accuracy), tv_limit=0.2)


def not_met(d):
    return asked(d, 0.1, 0.19)


def small_pilot(d):
    return asked(d, 0.3, 0.1)


def differing_searches(d):
    exchanged_pools = ("replicate 1 lacked 45% of what replicate 0 saw",)
    return dataclasses.replace(d, plan=d.plan._replace(exchanged_pools=exchanged_pools))


def blind(d):
    never = np.full_like(d.detection.log_excess, -99.0)
    detection = d.detection._replace(log_excess=never, log_overlap=never)
    return dataclasses.replace(d, detection=detection)


def endless(d):
    runaway = Runaway(np.asarray(3), np.asarray([4e7, 1.0]), np.asarray(2e7))
    return dataclasses.replace(d, runaway=runaway)


CASES = [
    ("R101", interrupted, ["2000 draws"]),
    ("R102", without_weights, ["no weights", "sample()"]),
    ("R103", few_effective, ["effective sample size of", "of 200", "tolerance=0.1"]),
    ("R104", heavy_tail, ["Pareto k", "0.7", "tolerance=0.1"]),
    ("R105", disagreeing, ["replicates disagree", "standard errors", "known_positions"]),
    ("R106", collapsed, ["inner ESS 1.2", "step 1 of 1", "log-SNR"]),
    ("R107", nonfinite, ["5 %", "zero density"]),
    ("R108", coarse, ["3.0e+06", "jax_enable_x64"]),
    ("R109", alone, ["one replicate", "num_replicates=2"]),
    ("R110", over_budget, ["evaluations were spent", "max_evals=", "Lower max_evals"]),
    ("R111", seen_by_one, ["30%", "only one", "pilot and known points 35%", "known_positions"]),
    ("R113", broken, ["3 of 2000", "nan"]),
    ("R114", not_met, ["0.200", "0.1 was asked", "Raise num_samples"]),
    ("R115", small_pilot, ["pilot too small", "0.100", "replicates"]),
    ("R116", differing_searches, ["replicate 1 lacked 45%", "were added", "num_replicates"]),
    ("R117", blind, ["half as wide", "probability 0.00", "search_evals"]),
    ("R119", endless, ["3 climbs", "4.e+07", "2e+07", "missing prior"]),
    ("R112", elsewhere, ["where the mass is", "standard errors"]),
]


def test_the_remedy_is_one_that_helps(gaussian_draws):
    draws = heavy_tail(gaussian_draws)

    def remedy(**changes):
        (found,) = dataclasses.replace(draws, plan=draws.plan._replace(**changes)).findings()
        return found.message

    plan = rj.plan(dim=6, num_samples=2000, max_evals=5e4)  # lowered to fit
    assert plan.is_limited and not rj.plan(dim=6, num_samples=2000, max_evals=1e9).is_limited
    assert "Raise max_evals=5e+06." in remedy(max_evals=5e6, is_limited=True)
    # all that there is fits: raising it would change nothing
    assert "max_evals" not in remedy(max_evals=5e6)
    assert "more temperatures or inner samples" in remedy(pool_sources=())

    met = Accuracy(0.5, 0.4, (), 0, "met by the last trial")
    ended = Accuracy(0.5, 0.6, (), 0, MixtureLadder.exhausted)
    capped = ended._replace(stopped=OVER_BUDGET)
    draws = dataclasses.replace(draws, tv_limit=0.45)
    assert "smaller tolerance" in remedy(accuracy=met)
    assert "more draws" in remedy(accuracy=ended)
    assert "Raise max_evals=5e+06." in remedy(accuracy=capped, max_evals=5e6)


@pytest.mark.parametrize(("code", "provoke", "words"), CASES, ids=[case[0] for case in CASES])
def test_finding(gaussian_draws, code, provoke, words):
    draws = provoke(gaussian_draws)
    found = draws.findings()
    assert [one.code for one in found] == [code]
    assert all(word in found[0].message for word in words), found[0].message
    assert f"[{code}]" in draws.summary()
    with pytest.warns(rj.RDMCWarning, match=rf"\[{code}\]"):
        assert draws.check() == found


def test_a_healthy_run_has_no_findings(gaussian_draws):
    assert gaussian_draws.findings() == []
    assert with_weights(gaussian_draws, WITHIN).findings() == []


def test_a_tolerance_that_is_met_is_no_finding(gaussian_draws):
    assert asked(gaussian_draws, 0.3, 0.19).findings() == []


def test_the_interval_of_log_z_is_wider_by_the_t_quantile(gaussian_draws):
    low, high = gaussian_draws.log_normalizer_interval(0.95)
    reach = 12.706 * gaussian_draws.log_normalizer_error  # two replicates: one degree of freedom
    np.testing.assert_allclose((high - low) / 2, reach, rtol=1e-3)
    assert low < 0.0 < high
    assert np.isinf(alone(gaussian_draws).log_normalizer_interval()).all()


def test_resampling_does_not_heal(gaussian_draws):
    draws = interrupted(disagreeing(gaussian_draws))
    again = draws.resample(jax.random.key(0)).resample(jax.random.key(1), 100)
    codes = [one.code for one in again.findings()]
    assert sorted(codes) == ["R101", "R105"]
    assert "no weights" not in again.summary()


def test_what_the_pilot_alone_met_is_shown_but_no_finding(gaussian_draws):
    draws = dataclasses.replace(gaussian_draws, num_nonfinite=max(gaussian_draws.num_evals) // 20)
    assert draws.findings() == []
    assert f"{draws.num_nonfinite:,} density values" in draws.summary()


def test_few_resampled_draws_have_not_cost_more(gaussian_draws):
    asked = gaussian_draws.plan._replace(max_evals=gaussian_draws.total_evals + 1)
    draws = dataclasses.replace(gaussian_draws, plan=asked)
    assert draws.findings() == draws.resample(jax.random.key(0), 10).findings() == []


def test_double_precision_is_fine_enough(gaussian_draws):
    double = dataclasses.replace(
        coarse(gaussian_draws), log_weight=np.asarray(gaussian_draws.log_weight, np.float64)
    )
    assert double.findings() == []


def test_draws_that_all_have_zero_density_are_no_healthy_run(gaussian_draws):
    draws = with_weights(gaussian_draws, np.full(NUM, -np.inf))
    assert "R103" in [one.code for one in draws.findings()]
    mean, error = draws.expectation(lambda x: {"x": x, "first": x[0]})
    assert np.isnan(mean["x"]).all() and mean["x"].shape == error["x"].shape == (2,)
    assert np.isnan(mean["first"]) and np.isnan(error["first"])


def test_a_tolerance_that_was_not_met_names_what_would_help(gaussian_draws):
    def message(stopped, tv_bound):
        draws = not_met(dataclasses.replace(gaussian_draws, tv_bound=tv_bound))
        accuracy = draws.plan.accuracy._replace(stopped=stopped)
        plan = draws.plan._replace(accuracy=accuracy)
        (found,) = dataclasses.replace(draws, plan=plan).findings()
        return found.message

    # the bound itself is too high, and nothing can grow: more draws would not lower it
    assert "Raise" not in message(MixtureLadder.exhausted, 0.15)
    assert "Raise num_samples, or" in message(MixtureLadder.exhausted, 0.08)
    assert "Raise max_evals or num_samples" in message(OVER_BUDGET, 0.15)


def test_the_budget_of_a_method_of_ones_own_names_its_sizes(gaussian_draws):
    draws = over_budget(gaussian_draws)
    own = dataclasses.replace(draws, plan=draws.plan._replace(pool_sources=()))
    (found,) = own.findings()
    assert "fewer levels" in found.message and "tempering" not in found.message
    # what was spent on draws that were never made is no excess
    assert [one.code for one in interrupted(draws).findings()] == ["R101"]


def test_a_replicate_without_weight_disagrees(gaussian_draws):
    draws = with_weights(
        gaussian_draws, np.where(np.asarray(gaussian_draws.replicate) == 0, -np.inf, WITHIN)
    )
    assert "R105" in [one.code for one in draws.findings()]


def test_several_findings_come_together(gaussian_draws):
    draws = interrupted(alone(nonfinite(gaussian_draws)))
    assert sorted(one.code for one in draws.findings()) == ["R101", "R107", "R109"]


def test_what_the_pilots_of_several_searches_found_is_not_seen_by_one(gaussian_draws):
    few_points_of_tempering = Coverage(np.array([0.0, 0.35]), 0.3)
    d = dataclasses.replace(gaussian_draws, coverage=few_points_of_tempering)
    assert "R111" not in [code for code, _ in d.findings()]
    single = d.plan._replace(num_replicates=1)
    assert "R111" in [code for code, _ in dataclasses.replace(d, plan=single).findings()]
