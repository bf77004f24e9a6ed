"""Candidates and temperatures from weights that are known."""

import math

import numpy as np
import pytest

import rdmc_jax as rj
from rdmc_jax.draws.plan import Trial
from rdmc_jax.planning.defaults import DEFAULT_SIZES
from rdmc_jax.planning.mixture_sizes import (
    MixtureLadder,
    Sizes,
    ensemble_evals,
    is_reliable,
    measured,
    next_sizes,
    predicted_variance,
)
from rdmc_jax.planning.tolerance import OVER_BUDGET, search_sizes, with_trials
from rdmc_jax.samplers import mixture_draws
from rdmc_jax.samplers.core import EnsembleResult, Preparation
from rdmc_jax.samplers.methods import NUM_PARTICLES
from rdmc_jax.samplers.sampler import StepInfo
from rdmc_jax.types import Evaluations

ONE = Sizes(1, 0)


def trial(variance, sizes=ONE, pareto_k=0.3, ess=500.0, tv_limit=0.2):
    """What a trial might have shown."""
    return Trial(*sizes, variance, ess, pareto_k, 0.9 * tv_limit, tv_limit, 0)


def test_a_trial_measures_the_weights_of_all_replicates():
    # half of the weights 1, half of them 3, unevenly spread over replicates
    weights = [np.log([1.0, 3.0, 3.0]), np.log([3.0, 1.0, 1.0])]
    found = measured([np.tile(one, 200) for one in weights], Sizes(3, 8), 7000)
    assert (found.num_candidates, found.num_temperatures, found.evals) == (3, 8, 7000)
    assert found.relative_variance == pytest.approx(0.25) and found.ess == pytest.approx(
        1200 / 1.25
    )
    assert found.tv_bound == pytest.approx(0.25) and found.tv_limit > 0.25
    assert is_reliable(found)
    # a constant factor is no error
    shifted = measured([np.tile(one, 200) + 100.0 for one in weights], Sizes(3, 8), 7000)
    assert shifted.relative_variance == pytest.approx(0.25)


def test_weights_of_nothing_know_nothing():
    found = measured([np.full(100, -np.inf), np.full(100, np.nan)], ONE, 0)
    assert found[2:] == (math.inf, 0.0, math.inf, 1.0, 1.0, 0) and not is_reliable(found)
    # nan is no weight: half of the draws have all
    half = measured([np.zeros(100), np.full(100, np.nan)], ONE, 0)
    assert half.relative_variance == pytest.approx(1.0) and half.ess == pytest.approx(100)


@pytest.mark.parametrize(("pareto_k", "ess"), [(0.75, 500.0), (0.3, 40.0)])
def test_heavy_tails_and_few_effective_draws_are_not_believed(pareto_k, ess):
    assert is_reliable(trial(2.0)) and not is_reliable(trial(2.0, pareto_k=pareto_k, ess=ess))


def test_evaluations_are_those_of_the_finish():
    assert ensemble_evals(ONE) == 1000 and ensemble_evals(Sizes(5, 0)) == 5000
    # five of each path and of the 64 copies, and one look
    assert ensemble_evals(Sizes(1, 4)) == 5 * 1064 + 1000
    assert ensemble_evals(Sizes(3, 4), 10) == 3 * (5 * 20 + 10)


def test_candidates_divide_the_variance_and_temperatures_its_logarithm():
    first = trial(math.expm1(2.0))
    assert predicted_variance([first], Sizes(4, 0)) == pytest.approx(math.expm1(2.0) / 4)
    assert predicted_variance([first], Sizes(1, 3)) == pytest.approx(math.expm1(2.0 / 4**0.5))
    # a trial of several candidates is one of a larger variance
    several = trial(math.expm1(2.0) / 5, Sizes(5, 0))
    assert predicted_variance([several], Sizes(2, 3)) == pytest.approx(math.expm1(1.0) / 2)


def test_the_power_of_temperatures_is_measured_where_it_can_be():
    first, second = trial(math.expm1(2.0)), trial(math.expm1(0.5) / 2, Sizes(2, 3))
    # four times as many temperatures: a quarter, so another quarter
    found = predicted_variance([first, second], Sizes(1, 15))
    assert found == pytest.approx(math.expm1(0.125))
    # one that is not believed shows no power, and none is beyond what was ever measured
    bad = first._replace(pareto_k=0.9)
    assert predicted_variance([bad, second], Sizes(1, 15)) == pytest.approx(math.expm1(0.25))
    little = trial(math.expm1(1.9), Sizes(1, 3))
    expected = math.expm1(1.9 / 4**0.3)
    assert predicted_variance([first, little], Sizes(1, 15)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("variance", "expected"),
    [
        (2.9, Sizes(2, 0)),  # 1.45 for 2,000; the first temperatures cost 6,320
        (30.0, Sizes(3, 4)),  # 18,960; (24, 0) costs 24,000, (2, 8) 21,152, (1, 16) 19,088
        (1000.0, Sizes(3, 16)),  # 57,264; (16, 4) 101,120, (8, 8) 84,608, (1, 64) 70,160
    ],
)
def test_the_cheapest_sizes_are_chosen_that_are_good_enough(variance, expected):
    assert next_sizes([trial(variance)], None, ensemble_evals) == expected


@pytest.mark.parametrize("bad", [{"pareto_k": 0.8}, {"ess": 20.0}])
def test_a_variance_that_is_not_believed_is_lowered_by_temperatures(bad):
    assert next_sizes([trial(2.9, **bad)], None, ensemble_evals) == (1, 4)
    later = next_sizes([trial(2.9, Sizes(1, 4), **bad)], None, ensemble_evals)
    assert later.num_temperatures > 4


def test_sizes_grow_as_far_as_the_budget_goes():
    rough = [trial(30.0)]
    # nothing is good enough: the cheapest of those that are nearly the best, 3.64 and 3.75
    assert next_sizes(rough, None, ensemble_evals, affordable=10_000) == (1, 4)
    assert next_sizes(rough, None, ensemble_evals, affordable=2500) == (2, 0)
    assert next_sizes(rough, None, ensemble_evals, affordable=1999) is None
    most = [trial(30.0, Sizes(1024, 512))]
    assert next_sizes(most, 0.1, ensemble_evals) is None


def test_without_a_tolerance_a_draw_has_a_price():
    hopeless = [trial(1e9, pareto_k=2.0, ess=1.0)]
    found = next_sizes(hopeless, None, ensemble_evals)
    assert found is not None and ensemble_evals(found) <= 160 * NUM_PARTICLES
    assert ensemble_evals(next_sizes(hopeless, 0.1, ensemble_evals)) > 160 * NUM_PARTICLES


def test_larger_sizes_are_better_than_those_that_were_tried():
    # 138,256 for a draw of each particle; of what else is allowed, nothing is better:
    # (2, 64) would have √2 times the logarithm, 62 in place of 30
    assert next_sizes([trial(30.0, Sizes(1, 128))], None, ensemble_evals) is None


def test_a_tolerance_lowers_the_variance_by_its_square():
    # .5 (.09/.2)² = .101: 6 candidates leave .083, four .125; 2 of 4 temperatures cost more
    assert next_sizes([trial(0.5)], 0.1, ensemble_evals) == (6, 0)
    # a loose one asks for no more than none does
    assert next_sizes([trial(30.0, tv_limit=0.9)], 0.9, ensemble_evals) == (3, 4)


class World:
    """Runs that are made up: single draws have log weights of a variance that falls with T."""

    def __init__(self, variance, first_variance=None):
        self.rng, self.variance, self.runs = np.random.default_rng(0), variance, []
        fresh = [self.weights(first_variance or variance, 1, 2000) for _ in range(2)]
        pool = type("", (), {"num_evals": Evaluations(5000, 4000)})
        prepares = [Preparation(None, None, pool, None, one) for one in fresh]
        sizes = DEFAULT_SIZES[0]
        self.ladder = MixtureLadder(prepares, self.run, sizes=sizes, num_ensembles=1)

    def weights(self, variance, count, num):
        single = np.sqrt(variance) * self.rng.normal(size=(num, count)) - variance / 2
        return np.log(np.mean(np.exp(single), axis=1))

    def run(self, replicate, number, prepared, method):
        finish = method.finish
        sizes = Sizes(finish.num_candidates, finish.num_temperatures)
        self.runs.append((replicate, number, sizes, method))
        variance = self.variance / np.sqrt(1 + sizes.num_temperatures)
        log_weight = self.weights(variance, sizes.num_candidates, NUM_PARTICLES)
        evals = Evaluations(ensemble_evals(sizes), 0)
        return EnsembleResult(None, log_weight, StepInfo(*[np.nan] * 6, evals, 0))

    def search(self, tolerance, max_total=math.inf):
        said = []
        found = search_sizes(
            self.ladder, tolerance=tolerance, max_total=max_total, tell=said.append
        )
        return found, said


def test_good_weights_need_no_trial():
    world = World(0.3)
    found, said = world.search(None)
    assert world.runs == [] and found.discarded == [] and said == []
    assert found.stopped == "met by the last trial" and found.trials[0].evals == 0
    assert found.method == mixture_draws(DEFAULT_SIZES[0])
    plan = with_trials(rj.plan(dim=2), found, None)
    assert plan.trials == found.trials and plan.accuracy is None and not plan.is_limited
    # exp(.3) - 1: 74 % are effective
    assert "discarded draws had 7" in plan.reason and "so the run" not in plan.reason


def test_unequal_weights_get_what_lowers_their_variance():
    world = World(1.5)  # χ² = 3.5
    found, _ = world.search(None)
    replicates, numbers, sizes, methods = zip(*world.runs, strict=True)
    assert replicates[:2] == (0, 1) and set(numbers) == set(range(1, 1 + len(numbers) // 2))
    last = found.trials[-1]
    assert found.chosen == len(found.trials) - 1 and found.stopped == "met by the last trial"
    assert last.relative_variance <= 2.0 and sizes[-1] == last[:2] != ONE
    assert last.evals == 2 * ensemble_evals(sizes[-1])
    assert found.method == methods[-1]
    assert found.method.start == mixture_draws(DEFAULT_SIZES[0]).start
    plan = with_trials(rj.plan(dim=2), found, None)
    assert f"{last.num_candidates} candidates and {last.num_temperatures} temp" in plan.reason


def test_a_budget_ends_the_search():
    world = World(1.5)
    # preparations of 10,000; the trial and the run of two replicates would need 8,000 or more
    found, _ = world.search(None, max_total=17_999)
    assert world.runs == [] and found.stopped == OVER_BUDGET
    plan = with_trials(rj.plan(dim=2), found, None)
    assert plan.is_limited and plan.is_capped and found.method == mixture_draws(DEFAULT_SIZES[0])
    assert World(1.5).search(None, max_total=18_001)[0].trials[1].num_candidates == 2


def test_a_tolerance_is_met_by_trials_that_are_told():
    world = World(0.4)
    found, said = world.search(0.1)
    assert len(said) == len(found.trials) >= 2 and found.trials[found.chosen].tv_limit <= 0.09
    assert said[0].startswith("trial 1: TV limit") and "candidates 1 -> " in said[0]
    assert said[-1].endswith("met by the last trial")
    plan = with_trials(rj.plan(dim=2), found, 0.1)
    assert plan.accuracy.requested == 0.1 and plan.accuracy.trials == plan.trials == found.trials
    assert plan.accuracy.predicted == found.trials[found.chosen].tv_limit
