"""Replicates help each other where one's pool lacks what another one's saw, and nowhere else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import pool_of

from rdmc_jax.draws.plan import Plan
from rdmc_jax.planning.defaults import DEFAULT_SIZES, most_evals, preparation_evals
from rdmc_jax.pools.pilot import Pilot
from rdmc_jax.pools.pool import known_points
from rdmc_jax.runs.exchange import (
    exchange_pools,
    joined_pool,
    missing_share,
    seen_once,
    shared_pools,
)
from rdmc_jax.runs.run import run_plan
from rdmc_jax.samplers.core import Preparation, Recipe
from rdmc_jax.samplers.finishes import annealed_finish
from rdmc_jax.samplers.mixture import candidates, mixture
from rdmc_jax.samplers.noised_pool import noised_pool
from rdmc_jax.samplers.sampler import rdmc
from rdmc_jax.types import Evaluations, Laplace

GENERATOR = np.random.default_rng(0)


def prepared_of(points, location=0.0, scale=1.0):
    """A preparation of points in the user's coordinates."""
    dim = points.shape[1]
    u = (points - location) / scale
    location, scale = (jnp.full(dim, value, jnp.float32) for value in (location, scale))
    return Preparation(location, scale, pool_of(u), jnp.zeros(2))


def wide(count, dim=5):
    return GENERATOR.standard_normal((count, dim))


def narrow(count, dim=5):
    return 1.8 + 0.2 * GENERATOR.standard_normal((count, dim))


@pytest.mark.parametrize("dim", [1, 2, 8, 32])
def test_pools_of_one_law_lack_nothing(dim):
    first = prepared_of(np.concatenate([wide(1000, dim), narrow(500, dim)]), 3.0, 2.0)
    second = prepared_of(np.concatenate([wide(700, dim), narrow(900, dim)]), -1.0, 0.5)
    assert missing_share([first], second) == missing_share([second], first) == 0.0
    same, said = exchange_pools([first, second])
    assert same[0] is first and same[1] is second and said == ()


@pytest.mark.parametrize("num_seen", [0, 3])
def test_a_missed_mode_is_given_by_the_replicate_that_saw_it(num_seen):
    blind = prepared_of(np.concatenate([wide(1500), narrow(num_seen)]), 3.0, 2.0)
    seeing = prepared_of(np.concatenate([wide(800), narrow(800)]), -1.0, 0.5)
    assert missing_share([seeing], blind) == 0.0
    # the ball around a member at the rim of the narrow mode may reach into the wide one
    assert 0.45 < missing_share([blind], seeing) <= 0.51
    (first, second), said = exchange_pools([blind, seeing])
    assert second is seeing and len(said) == 1
    assert "replicate 0 lacked" in said[0] and "what replicate 1 saw" in said[0]
    own, count = np.asarray(blind.pool.position), 1500 + num_seen
    np.testing.assert_array_equal(first.pool.position[:count], own)
    # as many of the other pool's points, at equal steps, in the same places of the user's space
    other = np.asarray(seeing.pool.position)[np.arange(count) * 1600 // count]
    np.testing.assert_allclose(
        first.pool.position[count:] * 2.0 + 3.0, other * 0.5 - 1.0, atol=1e-5
    )


def test_each_pool_has_half_the_weight_and_evaluations_stay_where_they_were_made():
    spent = Evaluations(jnp.asarray(7), jnp.asarray(5))
    first, second = prepared_of(wide(300)), prepared_of(narrow(200))
    first = first._replace(pool=pool_of(first.pool.position, 4.0 * np.ones(300)))
    first = first._replace(pool=first.pool._replace(num_evals=spent))
    joined = joined_pool(first, [second]).pool
    weight = np.exp(joined.log_weight)
    np.testing.assert_allclose([weight[:300].sum(), weight[300:].sum()], [1.0, 1.0], rtol=1e-5)
    assert joined.num_evals == spent
    # several others: fewer points of each, so that one program serves all
    joined = joined_pool(first, [second, second, second]).pool
    assert joined.position.shape == (600, 5)
    np.testing.assert_array_equal(joined.position[:300], first.pool.position)
    weight = np.exp(joined.log_weight)
    parts = [weight[:300], *weight[300:].reshape(3, 100)]
    np.testing.assert_allclose([one.sum() for one in parts], 1.0, rtol=1e-5)
    # one that saw nothing takes no weight from the others
    nothing = second._replace(pool=second.pool._replace(log_weight=np.full(200, -np.inf)))
    log_weight = joined_pool(first, [nothing]).pool.log_weight
    assert np.all(np.isneginf(log_weight[300:])) and np.all(np.isfinite(log_weight[:300]))


@pytest.mark.parametrize("is_full", [True, False])
def test_gaussians_at_modes_are_given_in_the_place_and_width_that_they_have(is_full):
    def with_laplace(location, scale):
        made = prepared_of(wide(60), location, scale)
        factor = GENERATOR.standard_normal((4, 5, 5) if is_full else (4, 5))
        laplace = Laplace(*(jnp.asarray(a, jnp.float32) for a in (wide(4), factor)))
        return made._replace(pool=made.pool._replace(laplace=laplace))

    own, other, third = (with_laplace(*a) for a in ((3.0, 2.0), (-1.0, 0.5), (0.0, 4.0)))
    joined = joined_pool(own, [other]).pool.laplace
    np.testing.assert_array_equal(joined.mean[:4], own.pool.laplace.mean)
    np.testing.assert_array_equal(joined.factor[:4], own.pool.laplace.factor)
    given = other.pool.laplace
    np.testing.assert_allclose(joined.mean[4:] * 2 + 3, given.mean * 0.5 - 1, atol=1e-5)
    np.testing.assert_allclose(joined.factor[4:] * 2, given.factor * 0.5, atol=1e-5)
    # as many of two others as of one, so that one program serves all
    both = joined_pool(own, [other, third]).pool.laplace
    np.testing.assert_allclose(both.factor[4:6] * 2, given.factor[::2] * 0.5, atol=1e-5)
    np.testing.assert_allclose(both.factor[6:] * 2, third.pool.laplace.factor[::2] * 4, atol=1e-5)


def test_gaussians_at_modes_keep_their_covariance_between_rotated_coordinates():
    covariance, mean = np.diag([4.0, 1.0, 0.25, 1.0, 9.0]), np.arange(5.0)
    searches = []
    for _ in range(2):
        scale = np.eye(5) + 0.4 * GENERATOR.standard_normal((5, 5))
        location = GENERATOR.standard_normal(5)
        factor = np.linalg.solve(scale, np.sqrt(covariance))
        laplace = Laplace(np.linalg.solve(scale, mean - location)[None], factor[None])
        laplace = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), laplace)
        one = prepared_of(wide(60))._replace(
            location=jnp.asarray(location, jnp.float32), scale=jnp.asarray(scale, jnp.float32)
        )
        searches.append(one._replace(pool=one.pool._replace(laplace=laplace)))
    own, other = searches
    joined = joined_pool(own, [other]).pool.laplace
    for m, a in zip(joined.mean, joined.factor, strict=True):
        back = np.asarray(own.scale) @ a
        np.testing.assert_allclose(back @ back.T, covariance, atol=0.01)
        np.testing.assert_allclose(np.asarray(own.scale) @ m + own.location, mean, atol=0.01)


def test_of_many_replicates_each_is_compared_with_the_next_three_only():
    rich = prepared_of(np.concatenate([wide(500), narrow(500)]))
    poor = [prepared_of(wide(900)) for _ in range(5)]
    found, said = exchange_pools([poor[0], rich, *poor[1:]])
    helped = [one.pool.position.shape[0] > 1000 for one in found]
    assert helped == [True, False, False, False, True, True] and len(said) == 3


def test_what_only_one_search_saw_is_told_until_another_one_sees_it():
    blind = [prepared_of(wide(900), 3.0, 2.0) for _ in range(2)]
    seeing = [prepared_of(np.concatenate([wide(500), narrow(500)])) for _ in range(3)]
    assert seen_once([blind]) == seen_once([seeing]) == seen_once([blind[:1]]) == ()
    said = seen_once([[blind[0], seeing[0]]])
    assert len(said) == 1 and "replicate 1 saw" in said[0] and "no other search" in said[0]
    # a further round sees it again: nothing of the newest searches is new
    assert seen_once([[blind[0], seeing[0]], [seeing[1], seeing[2]]]) == ()
    assert len(seen_once([blind, [blind[0], seeing[0]]])) == 1
    # of two replicates that see it, neither is alone
    assert seen_once([[seeing[0], seeing[1], blind[0]]]) == ()


def test_points_of_tempering_are_not_judged_between_searches():
    seeing = prepared_of(np.concatenate([wide(500), narrow(500)]))
    source = np.repeat([0, 1], 500)
    seeing = seeing._replace(pool=seeing.pool._replace(source=source))
    blind = prepared_of(wide(900))
    assert missing_share([blind], seeing) > 0.4
    assert missing_share([blind], seeing, of_pilot=True) == 0.0


def test_all_searches_are_in_all_pools():
    first, second, third, fourth = (prepared_of(wide(100) + 100 * k, k, 1.0) for k in range(4))
    pools = shared_pools([[first, second], [third, fourth]])
    for k, one in enumerate(pools):
        near = np.round(np.asarray(one.pool.position)[:, 0] + k, -2)
        assert one.pool.position.shape == (200, 5) and near[0] == 100 * k
        counts = dict(zip(*np.unique(near, return_counts=True), strict=True))
        assert counts.pop(100 * k) == 100 and sorted(counts.values()) == [33, 33, 34]
    # a replicate that is alone keeps its own
    assert shared_pools([[first]]) == [first]


def test_points_without_weight_are_not_seen():
    seeing = prepared_of(np.concatenate([wide(500), narrow(500)]))
    without = np.where(np.arange(1000) < 500, 0.0, -np.inf)
    blind = seeing._replace(pool=pool_of(seeing.pool.position, without))
    assert missing_share([blind], seeing) > 0.4 and missing_share([seeing], blind) == 0.0


def pilot_of_one_side(rng_key, logdensity_fn, position, known, exchanges):
    """Sees both modes, or by half the keys the left one only."""
    side_key, point_key = jax.random.split(rng_key)
    sees_both = jax.random.bernoulli(side_key)
    noise = 0.5 * jax.random.normal(point_key, (512, 1))
    right = sees_both & (jnp.arange(512) % 2 == 0)
    points = jnp.where(right, 5.0, -5.0)[:, None] + noise
    zero = jnp.zeros((), jnp.int32)
    unit = jnp.ones(1)
    logdensity = jax.vmap(logdensity_fn)(points)
    return Pilot(0 * unit, unit, unit, points, logdensity, Evaluations(zero, zero), zero)


def two_sides(x):
    """Z = 6: masses 2 on the left and 4 on the right."""
    masses = jnp.log(jnp.array([2.0, 4.0]) / jnp.sqrt(2 * jnp.pi * 0.25))
    return jax.nn.logsumexp(masses - 2.0 * (x[0] - jnp.array([-5.0, 5.0])) ** 2)


def test_a_run_is_right_if_one_replicate_saw_everything():
    restart = noised_pool(num_particles=256)
    finish = annealed_finish(num_temperatures=4, num_pilot=16)
    method = rdmc(restart, finish=finish, pool=known_points())
    plan = Plan(Recipe(method, pilot_of_one_side), 4, "a test")
    for seed in (0, 3, 4):
        draws = run_plan(jax.random.key(seed), two_sides, jnp.zeros(1), 1024, plan)
        assert 0 < len(draws.plan.exchanged_pools) < 4, "a seed must have replicates of both kinds"
        error = abs(draws.log_normalizer - np.log(6.0))
        assert error < 4 * draws.log_normalizer_error < 0.2
        # each replicate by itself, also those that saw one side only
        position, weights = np.asarray(draws.position)[:, 0], np.exp(draws.log_weight)
        for replicate in range(4):
            own = draws.replicate == replicate
            right = np.average(position[own] > 0, weights=weights[own])
            assert abs(right - 2 / 3) < 4 * np.sqrt(2 / 9 / 256)


def counting_pilot(*arguments):
    """`pilot_of_one_side`, for 512 evaluations."""
    found = pilot_of_one_side(*arguments)
    return found._replace(num_evals=Evaluations(jnp.asarray(512), jnp.asarray(0)))


def mixture_run(seed, max_evals=None):
    start = mixture(num_particles=512, num_components=16, num_rounds=2, num_drawn=64)
    method = rdmc(start, finish=candidates(), pool=known_points())
    recipe = Recipe(method, counting_pilot)
    plan = Plan(recipe, 2, "a test", sizes=DEFAULT_SIZES[0], max_evals=max_evals)
    return run_plan(jax.random.key(seed), two_sides, jnp.zeros(1), 1024, plan)


def test_searches_go_on_until_one_sees_nothing_new_and_all_are_counted():
    numbers = []
    for seed in range(6):
        draws = mixture_run(seed)
        searches = (max(draws.num_evals) - 2 * (3 * 64 + 512)) / (2 * 512)
        numbers.append(searches)
        assert searches in (1, 2, 3)
        assert (f"each replicate has made {searches:.0f}" in draws.plan.reason) == (searches > 1)
        right = np.asarray(draws.position)[:, 0] > 0
        if searches > 1:  # one of them saw the right side, so all replicates draw from it
            for replicate in (0, 1):
                weights = np.exp(draws.log_weight) * (draws.replicate == replicate)
                assert abs(np.sum(weights * right) / np.sum(weights) - 2 / 3) < 0.1
            assert abs(draws.log_normalizer - np.log(6.0)) < 4 * draws.log_normalizer_error
    assert 1 in numbers and max(numbers) > 1, "some seeds must have replicates of both kinds"


def test_a_budget_without_room_for_another_search_says_that_they_differed():
    free = {seed: mixture_run(seed) for seed in range(6)}
    seed = next(seed for seed, draws in free.items() if "has made" in draws.plan.reason)
    least = most_evals(DEFAULT_SIZES[0], 1, 2000, 2)
    limited = mixture_run(seed, max_evals=least)
    assert "has made" not in limited.plan.reason and len(limited.plan.exchanged_pools) == 1
    assert "that no other search had seen" in limited.plan.exchanged_pools[0]
    # what one of them saw is still given to the other
    right = np.asarray(limited.position)[:, 0] > 0
    assert all(np.any(right[limited.replicate == replicate]) for replicate in (0, 1))
    room = least + 2 * preparation_evals(DEFAULT_SIZES[0], 1)
    assert "has made 2" in mixture_run(seed, max_evals=room).plan.reason
    assert "has made" not in mixture_run(seed, max_evals=room - 1).plan.reason
    assert mixture_run(seed, max_evals=np.inf).plan.reason == free[seed].plan.reason
