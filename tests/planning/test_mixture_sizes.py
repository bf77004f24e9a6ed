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
    mean_log_weights,
    measured,
    next_sizes,
    predicted_variance,
    sizes_of,
    worst_of,
)
from rdmc_jax.planning.tolerance import OVER_BUDGET, search_sizes, with_trials
from rdmc_jax.samplers import mixture_draws
from rdmc_jax.samplers.core import EnsembleResult, Preparation
from rdmc_jax.samplers.finishes import annealed_finish
from rdmc_jax.samplers.methods import NUM_PARTICLES
from rdmc_jax.samplers.sampler import StepInfo
from rdmc_jax.types import Evaluations

ONE = Sizes(1, 0)


def trial(variance, sizes=ONE, pareto_k=0.3, ess=500.0, tv_limit=0.2):
    """What a trial might have shown."""
    count, num_temperatures, is_restart = sizes
    limits = (0.9 * tv_limit, tv_limit)
    return Trial(count, num_temperatures, variance, ess, pareto_k, *limits, 0, is_restart)


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
    assert found[2:] == (math.inf, 0.0, math.inf, 1.0, 1.0, 0, False) and not is_reliable(found)
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
def test_a_variance_that_is_not_believed_leads_to_a_restart_from_the_noised_pool(bad):
    assert next_sizes([trial(2.9, **bad)], None, ensemble_evals) == Sizes(1, 16, True)
    found = next_sizes([trial(2.9, **bad)], None, ensemble_evals, least=64)
    assert found == Sizes(1, 64, True)


def test_a_restart_gets_as_many_temperatures_as_its_variance_asks_for():
    # 6 / 1.5: four times as many
    assert next_sizes([trial(6.0, Sizes(1, 32, True))], None, ensemble_evals) == (1, 128, True)
    # no more than a draw may cost, or the budget allows
    assert next_sizes([trial(40.0, Sizes(1, 32, True))], None, ensemble_evals) == (1, 256, True)
    assert next_sizes([trial(6.0, Sizes(1, 256, True))], None, ensemble_evals) is None
    affordable = ensemble_evals(Sizes(1, 64, True))
    found = next_sizes([trial(6.0, Sizes(1, 32, True))], None, ensemble_evals, affordable)
    assert found == (1, 64, True)
    # for a tolerance by the square: 2 (.09/.2)² = .405 for 2
    found = next_sizes([trial(2.0, Sizes(1, 256, True))], 0.1, ensemble_evals)
    assert found == (1, 1024, True)


def test_means_of_fresh_weights_are_the_weights_of_candidates():
    log_weight = 1.2 * np.random.default_rng(0).normal(size=4000)
    single, several = (measured([mean_log_weights(log_weight, m)], ONE, 0) for m in (1, 6))
    # χ²/6, of 1,000 means: the variance of their squares is about twice that
    error = np.sqrt(2 / 1000) * single.relative_variance / 6
    assert abs(several.relative_variance - single.relative_variance / 6) < 4 * error
    assert mean_log_weights(np.full(10, np.nan), 3).tolist() == [-np.inf] * NUM_PARTICLES


def test_the_replicate_with_the_worst_weights_is_tried():
    even, uneven = np.zeros(50), np.where(np.arange(50) < 3, 4.0, 0.0)
    assert worst_of([even, uneven, even]) == 1
    assert worst_of([even, uneven, np.full(50, -np.inf)]) == 2


def test_sizes_grow_as_far_as_the_budget_goes():
    rough = [trial(30.0)]
    # nothing is good enough: the cheapest of those that are nearly the best, 3.64 and 3.75
    assert next_sizes(rough, None, ensemble_evals, affordable=10_000) == Sizes(1, 4)
    assert next_sizes(rough, None, ensemble_evals, affordable=2500) == Sizes(2, 0)
    assert next_sizes(rough, None, ensemble_evals, affordable=1999) is None
    most = [trial(30.0, Sizes(1024, 512))]
    assert next_sizes(most, 0.1, ensemble_evals) is None


def test_without_a_tolerance_a_draw_has_a_price():
    rough = [trial(1e5, tv_limit=1.0)]
    found = next_sizes(rough, None, ensemble_evals)
    assert found is not None and ensemble_evals(found) <= 300 * NUM_PARTICLES
    assert ensemble_evals(next_sizes(rough, 0.001, ensemble_evals)) > 300 * NUM_PARTICLES


def test_larger_sizes_are_better_than_those_that_were_tried():
    # 274,448 for a draw of each particle; of what else is allowed, nothing is better
    assert next_sizes([trial(30.0, Sizes(1, 256))], None, ensemble_evals) is None


def test_a_tolerance_lowers_the_variance_by_its_square():
    # .5 (.09/.2)² = .101: 6 candidates leave .083, four .125; 2 of 4 temperatures cost more
    assert next_sizes([trial(0.5)], 0.1, ensemble_evals) == Sizes(6, 0)
    # a loose one asks for no more than none does
    assert next_sizes([trial(30.0, tv_limit=0.9)], 0.9, ensemble_evals) == Sizes(3, 4)


class World:
    """Runs that are made up: single draws have log weights of a variance that falls with T."""

    def __init__(self, variance, first_variance=None):
        self.rng, self.variance = np.random.default_rng(0), variance
        self.runs, self.recipes = [], []
        firsts = np.broadcast_to(first_variance or variance, 2)
        fresh = [self.weights(one, 1, 2000) for one in firsts]
        pool = type("", (), {"num_evals": Evaluations(5000, 4000)})
        prepares = [Preparation(None, None, pool, None, one) for one in fresh]
        sizes = DEFAULT_SIZES[0]
        self.ladder = MixtureLadder(
            prepares,
            self.run,
            self.prepare,
            sizes=sizes,
            num_ensembles=1,
            larger_evals=50_000,
        )

    def weights(self, variance, count, num):
        single = np.sqrt(variance) * self.rng.normal(size=(num, count)) - variance / 2
        return np.log(np.mean(np.exp(single), axis=1))

    def prepare(self, recipe):
        self.recipes.append(recipe)
        pool = type("", (), {"num_evals": Evaluations(30_000, 20_000)})
        return [Preparation(None, None, pool, None, None) for _ in range(2)]

    def run(self, replicate, number, prepared, method):
        finish = method.finish
        is_restart = isinstance(finish, annealed_finish)
        count = 1 if is_restart else finish.num_candidates
        sizes = Sizes(count, finish.num_temperatures, is_restart)
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


def test_candidates_need_no_trial_as_their_weights_are_means():
    world = World(1.5)  # χ² = 3.5
    found, _ = world.search(None)
    first, last = found.trials
    assert world.runs == [] and last.evals == 0 and last.num_temperatures == 0
    assert 1 < last.num_candidates < 6 and last.pareto_k == first.pareto_k
    error = 4 * first.relative_variance / last.num_candidates / np.sqrt(NUM_PARTICLES / 10)
    assert abs(last.relative_variance - first.relative_variance / last.num_candidates) < error
    assert found.chosen == 1 and found.stopped == "met by the last trial"
    assert found.method == world.ladder.method(Sizes(last.num_candidates, 0))
    plan = with_trials(rj.plan(dim=2), found, None)
    assert f"{last.num_candidates} candidates and 0 temp" in plan.reason


def test_temperatures_are_tried_by_the_replicate_with_the_worst_weights():
    world, sizes = World(1.2, first_variance=(1.0, 1.4)), Sizes(2, 8)
    world.ladder.trial(ONE, None)
    alone = world.ladder.trial(sizes, None)
    assert [run[:3] for run in world.runs] == [(1, 1, sizes)]
    assert alone.evals == ensemble_evals(sizes) and alone.relative_variance < 1.0
    # with a tolerance all do, as its limit comes from their scatter
    assert world.ladder.trial(sizes, 0.1).evals == 2 * ensemble_evals(sizes)
    assert [run[:2] for run in world.runs[1:]] == [(0, 2), (1, 2)]
    assert len(world.ladder.discarded) == 3


def test_a_heavy_tail_leads_to_larger_pools_that_are_made_once():
    world = World(1.0, first_variance=40.0)
    found, _ = world.search(None)
    first, restart = found.trials
    least = DEFAULT_SIZES[0].larger.num_temperatures
    assert not is_reliable(first) and sizes_of(restart) == Sizes(1, least, True)
    assert len(world.recipes) == len(world.runs) == 1
    assert restart.evals == 2 * 30_000 + ensemble_evals(Sizes(1, least, True))
    assert [one.fresh_log_weight for one in found.prepares] == [None, None]
    pilot = world.recipes[0].pilot
    assert (
        pilot.num_chains == DEFAULT_SIZES[0].larger.num_chains > DEFAULT_SIZES[0].pilot.num_chains
    )
    assert "from the noised pool" in with_trials(rj.plan(dim=2), found, None).reason


def test_a_restart_must_afford_its_larger_pools():
    # two preparations of 50,000 at most after two of 5,000, a trial and two ensembles
    needed = 2 * 5000 + 2 * 50_000 + 3 * ensemble_evals(Sizes(1, 16, True))
    found, _ = World(1.0, first_variance=40.0).search(None, max_total=needed - 1)
    assert not any(one.is_restart for one in found.trials)
    # candidates and temperatures are cheaper, and better than nothing
    assert sizes_of(found.trials[-1]) != ONE
    found, _ = World(1.0, first_variance=40.0).search(None, max_total=needed)
    assert found.trials[-1].is_restart


def test_a_budget_ends_the_search():
    world = World(1.5)
    # preparations of 10,000; the run of two replicates would need 4,000 or more
    found, _ = world.search(None, max_total=13_999)
    assert world.runs == [] and found.stopped == OVER_BUDGET
    plan = with_trials(rj.plan(dim=2), found, None)
    assert plan.is_limited and plan.is_capped and found.method == mixture_draws(DEFAULT_SIZES[0])
    assert World(1.5).search(None, max_total=14_001)[0].trials[1].num_candidates == 2


def test_a_tolerance_is_met_by_trials_that_are_told():
    world = World(0.4)
    found, said = world.search(0.1)
    assert len(said) == len(found.trials) >= 2 and found.trials[found.chosen].tv_limit <= 0.09
    assert said[0].startswith("trial 1: TV limit") and "candidates 1 -> " in said[0]
    assert said[-1].endswith("met by the last trial")
    plan = with_trials(rj.plan(dim=2), found, 0.1)
    assert plan.accuracy.requested == 0.1 and plan.accuracy.trials == plan.trials == found.trials
    assert plan.accuracy.predicted == found.trials[found.chosen].tv_limit
