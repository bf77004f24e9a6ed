"""Sizes of the automatic method, by dimension and by what they may cost."""

import pytest

import rdmc_jax as rj
from rdmc_jax.planning.defaults import (
    DEFAULT_SIZES,
    GRADIENT_FREE_SIZES,
    at_least,
    choose_sizes,
    larger_search_evals,
    most_evals,
    pilot_evals,
    preparation_evals,
)
from rdmc_jax.samplers import mixture_draws
from rdmc_jax.samplers.methods import larger_pilot

PLAN = rj.plan(dim=3, num_samples=2000)


@pytest.mark.parametrize("has_gradient", [True, False])
def test_more_dimensions_have_more_points_and_no_less_cost(has_gradient):
    plans = [rj.plan(dim=dim, has_gradient=has_gradient) for dim in (1, 2, 4, 8, 16, 50)]
    choices = DEFAULT_SIZES if has_gradient else GRADIENT_FREE_SIZES
    numbers = [[at_least(one) for one in choices].index(at_least(plan.sizes)) for plan in plans]
    # the smallest is for budgets only
    assert numbers == sorted(numbers) and set(numbers) == set(range(1, len(choices)))
    for plan in plans:
        assert plan.recipe.method == mixture_draws(plan.sizes)
        assert plan.recipe.pilot == plan.sizes.pilot and plan.sizes.has_gradient == has_gradient
        assert not plan.is_limited and plan.trials == ()
    costs = [preparation_evals(sizes, 5) for sizes in choices]
    assert costs == sorted(set(costs))


def test_the_cost_of_a_run_counts_its_parts():
    sizes = GRADIENT_FREE_SIZES[0]
    # a first look and 40 temperatures of the pilot, the pool, and five rounds of draws of the fit
    pilot, fit = sizes.pilot, 5 * sizes.num_drawn
    pool = sizes.num_pool * (1 + sizes.num_steps * sizes.max_rounds)
    search = pilot.num_particles * (1 + 40 * pilot.num_steps) + pool + fit
    assert preparation_evals(sizes, 7) == search
    # whole ensembles: 1,001 draws of a replicate need two
    assert most_evals(sizes, 7, 2000, 2) == 2 * (search + 1000)
    assert most_evals(sizes, 7, 2002, 2) == 2 * (search + 2000)
    with_gradient = DEFAULT_SIZES[0]
    pilot = max(with_gradient.pilot.evaluations(7), with_gradient.pilot.most_evals)
    one = with_gradient
    pool = one.num_pool * (1 + one.num_steps * one.max_rounds)
    assert preparation_evals(one, 7) == pilot + pool + 5 * one.num_drawn


@pytest.mark.parametrize("has_gradient", [True, False])
def test_a_budget_buys_the_largest_sizes_that_fit_it(has_gradient):
    choices = DEFAULT_SIZES if has_gradient else GRADIENT_FREE_SIZES
    costs = [most_evals(at_least(sizes), 40, 2000, 2) for sizes in choices]
    for k, cost in enumerate(costs):
        sizes, reason = choose_sizes(40, 2000, 2, cost, has_gradient)
        assert at_least(sizes) == at_least(choices[k]) and most_evals(sizes, 40, 2000, 2) <= cost
        # a search that cannot go on for something new is limited, too
        assert ("max_evals=" in reason) == (k < len(costs) - 1 or has_gradient)
        if k:
            smaller = choose_sizes(40, 2000, 2, cost - 1, has_gradient)[0]
            assert at_least(smaller) == at_least(choices[k - 1])
    with pytest.raises(ValueError, match=f"{costs[0]:,}. Raise max_evals to that"):
        choose_sizes(40, 2000, 2, costs[0] - 1, has_gradient)
    # in fewer dimensions a large budget changes nothing
    assert choose_sizes(1, 2000, 2, 1e9, has_gradient)[0] == choices[1]


def test_a_plan_says_what_it_is_limited_by():
    cost = most_evals(at_least(DEFAULT_SIZES[0]), 3, 2000, 2)
    limited = rj.plan(dim=3, num_samples=2000, max_evals=cost)
    assert limited.is_limited and limited.is_capped and limited.max_evals == cost
    assert (
        at_least(limited.sizes) == at_least(DEFAULT_SIZES[0])
        and f"max_evals={cost:g}" in limited.reason
    )
    assert not PLAN.is_limited and "dimension 3" in PLAN.reason


def test_a_method_of_the_callers_is_left_alone():
    plan = rj.plan(dim=3, method=PLAN.recipe.method)
    assert plan.sizes is None and plan.recipe.method == PLAN.recipe.method
    assert plan.trials == () and not plan.is_limited and plan.pool_sources == ()


def test_the_cost_of_a_larger_pool_counts_its_parts():
    sizes = DEFAULT_SIZES[1]
    pilot = pilot_evals(larger_pilot(sizes), 2)
    broad, tempered = 256 * (32 + 1), 256 * (1 + 4 * 100)
    # 16 temperatures, of as many particles as the pool and 64 that find the step, and a look
    assert larger_search_evals(sizes, 2) == pilot + broad + tempered + 17 * (256 + 64) + 256
    walks = GRADIENT_FREE_SIZES[1]
    pilot = 1024 * (1 + 40 * walks.pilot.num_steps)
    tempered = 1024 * (1 + 8 * 100)
    assert larger_search_evals(walks, 2) == pilot + tempered + 129 * (512 + 64) + 512


@pytest.mark.parametrize("has_gradient", [True, False])
@pytest.mark.parametrize("asked", [1_500, 30_000, 10**6, 10**8])
def test_search_evals_is_what_all_pilots_together_may_spend(asked, has_gradient):
    sizes, reason = choose_sizes(3, 2000, 2, None, has_gradient, asked)
    spent = 2 * pilot_evals(sizes.pilot, 3)
    assert 0.8 * asked <= spent <= asked and f"search_evals={asked:g}" in reason
    if has_gradient:
        assert sizes.pilot.least_evals == sizes.pilot.most_evals


def test_too_few_search_evals_are_refused_with_the_number_that_is_enough():
    with pytest.raises(ValueError, match="Raise search_evals to ") as refused:
        choose_sizes(3, 2000, 2, None, True, 100)
    enough = int(str(refused.value).split("search_evals to ")[1].split(",")[0].replace(",", ""))
    assert pilot_evals(choose_sizes(3, 2000, 2, None, True, enough)[0].pilot, 3) <= enough / 2
