"""Numbers that judge weights, against closed forms and against blackjax."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.diagnostics import psis_weights
from scipy.special import ndtr
from targets import pool_of

from rdmc_jax.draws.plan import Trial
from rdmc_jax.montecarlo.weights import (
    kl_bound,
    kl_limit,
    log_mean_exp,
    log_normalizer_error,
    pareto_k,
    relative_weights,
    tv_bound,
    tv_limit,
    weight_ess,
)
from rdmc_jax.planning.defaults import DEFAULT_SIZES
from rdmc_jax.planning.restart_sizes import RestartLadder, Sizes, measured, next_sizes
from rdmc_jax.planning.tolerance import search_sizes
from rdmc_jax.samplers.core import EnsembleResult, Preparation
from rdmc_jax.samplers.methods import NUM_PARTICLES, duplicated_restart
from rdmc_jax.samplers.reweighting import pool_from_draws
from rdmc_jax.samplers.sampler import StepInfo
from rdmc_jax.types import Evaluations

pytestmark = pytest.mark.one_program


def two_points(a, b, num=50):
    """``num`` weights a, then as many b."""
    return np.log(np.repeat([a, b], num))


@pytest.mark.parametrize(("a", "b"), [(1.0, 3.0), (2.0, 2.0), (1e-20, 1e20), (1e-300, 1e-300)])
def test_two_point_weights(a, b):
    log_weight = two_points(a, b)
    assert log_mean_exp(log_weight) == pytest.approx(np.log((a + b) / 2), rel=1e-12)
    assert weight_ess(log_weight) == pytest.approx(50 * (1 + b / a) ** 2 / (1 + (b / a) ** 2))
    assert tv_bound(log_weight) == pytest.approx(abs(a - b) / (2 * (a + b)), abs=1e-12)
    kl = np.log((a + b) / 2) - (np.log(a) + np.log(b)) / 2
    assert kl_bound(log_weight) == pytest.approx(kl, abs=1e-12)
    np.testing.assert_allclose(relative_weights(log_weight)[[0, -1]] * (a + b) / 2, [a, b])


def test_a_factor_changes_nothing_but_log_z():
    log_weight = np.random.default_rng(0).normal(size=500)
    shifted = log_weight + 5000.0  # far beyond what exp can hold
    assert log_mean_exp(shifted) == pytest.approx(log_mean_exp(log_weight) + 5000.0)
    replicate = np.arange(500) % 4
    for fn in (weight_ess, tv_bound, kl_bound, pareto_k):
        assert fn(shifted) == pytest.approx(fn(log_weight), abs=1e-9)
    error = log_normalizer_error(log_weight, replicate)
    assert log_normalizer_error(shifted, replicate) == pytest.approx(error)


def test_zero_weights():
    log_weight = np.array([0.0, 0.0, -np.inf, -np.inf])
    assert log_mean_exp(log_weight) == pytest.approx(np.log(0.5))
    assert weight_ess(log_weight) == pytest.approx(2.0)
    assert tv_bound(log_weight) == pytest.approx(0.5)
    assert kl_bound(log_weight) == np.inf
    assert log_mean_exp(np.full(4, -np.inf)) == -np.inf
    nothing = np.full(4, -np.inf)
    assert weight_ess(nothing) == 0
    # nothing is known: neither a bound of zero nor an error of zero
    assert tv_bound(nothing) == 1 and kl_bound(nothing) == np.inf
    assert np.isnan(log_normalizer_error(nothing, np.arange(4) % 2))


def test_error_within_and_between_replicates():
    # replicates that agree: the scatter of the weights; that differ: their own
    a, b, num = 1.0, 3.0, 50
    log_weight = two_points(a, b, num)
    mixed, apart = np.tile([0, 1], num), np.repeat([0, 1], num)
    within = (b - a) / (a + b) * np.sqrt(2 * num / (2 * num - 1)) / np.sqrt(2 * num)
    assert log_normalizer_error(log_weight, mixed) == pytest.approx(within)
    assert log_normalizer_error(log_weight, apart) == pytest.approx((b - a) / (a + b))
    assert log_normalizer_error(log_weight, np.zeros(2 * num)) == pytest.approx(within)
    assert np.isnan(log_normalizer_error(np.zeros(1), np.zeros(1)))


def test_error_covers_the_truth():
    """Lognormal weights with Z = 1: about 68 % of one-error intervals hold it."""
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(300):
        log_weight = rng.normal(-0.125, 0.5, size=2000)
        error = log_normalizer_error(log_weight, np.arange(2000) // 500)
        hits.append(abs(log_mean_exp(log_weight)) < error)
    assert 0.62 < np.mean(hits) < 0.90


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.0, 1.5, 2.5, 4.0])
def test_pareto_k_agrees_with_blackjax(sigma, num=4000):
    """The tail's size is rounded differently, which moves k by a fraction of its error."""
    rng = np.random.default_rng(int(10 * sigma) + num)
    log_weight = sigma * rng.normal(size=num)
    _, expected = psis_weights(jnp.asarray(log_weight, jnp.float32))
    tail = 3 * np.sqrt(num)
    # blackjax leaves out the weak prior k = 1/2 with ten points' worth
    shrunk = (tail * float(expected) + 5) / (tail + 10)
    closest = min(abs(pareto_k(log_weight) - k) for k in (float(expected), shrunk))
    assert closest < 0.25 * (1 + float(expected)) / np.sqrt(tail)


@pytest.mark.parametrize("k", [0.3, 0.7, 1.2])
def test_pareto_k_of_pareto_weights(k):
    weight = np.random.default_rng(2).pareto(1 / k, size=20000) + 1
    error = (1 + k) / np.sqrt(3 * np.sqrt(20000))
    assert abs(pareto_k(np.log(weight)) - k) < 3 * error


def test_pareto_k_where_there_is_no_tail():
    assert np.isnan(pareto_k(np.zeros(24)))
    assert pareto_k(np.zeros(1000)) == -np.inf
    assert pareto_k(np.random.default_rng(3).uniform(-1e-3, 1e-3, 1000)) < 0.5


# Upper limits of the bounds, against lognormal weights whose bounds are known.


SIGMA = 0.4
TV = 2 * ndtr(SIGMA / 2) - 1
KL = SIGMA**2 / 2


def test_limits_cover_the_truth_at_least_at_their_level():
    rng = np.random.default_rng(0)
    for num_replicates in (2, 4):
        replicate = np.arange(400) % num_replicates
        covered = np.zeros(2)
        for _ in range(300):
            log_weight = SIGMA * rng.normal(size=400) - KL
            pair = tv_limit(log_weight, replicate), kl_limit(log_weight, replicate)
            covered += [pair[0].upper >= TV, pair[1].upper >= KL]
        # 0.95 less three binomial errors
        assert np.all(covered / 300 > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 300))


def test_the_standard_error_is_that_of_the_estimate():
    rng = np.random.default_rng(1)
    found = [tv_limit(SIGMA * rng.normal(size=400), np.zeros(400)) for _ in range(400)]
    scatter = np.std([one.estimate for one in found])
    assert abs(np.mean([one.standard_error for one in found]) / scatter - 1) < 0.15


def test_the_limit_of_kl_is_infinite_where_a_weight_is_zero():
    log_weight = np.append(np.zeros(9), -np.inf)
    assert kl_limit(log_weight, np.zeros(10)).upper == np.inf
    assert tv_limit(log_weight, np.zeros(10)).upper < 0.3


def test_without_any_weight_nothing_is_certified():
    nothing = np.full(10, -np.inf)
    assert tv_limit(nothing, np.arange(10) % 2)[::2] == (1.0, 1.0)
    assert measured([nothing, nothing]) == (1.0, 1.0, np.inf, np.inf)
    # one replicate with weights is enough to know something
    some = np.append(nothing, np.zeros(10))
    assert tv_limit(some, np.repeat([0, 1], 10)).estimate == pytest.approx(0.5)


def test_pairs_tell_the_finish_from_the_pool():
    rng = np.random.default_rng(2)
    shared = np.tile(0.3 * rng.normal(size=5000), 2)
    ensembles = [shared + 0.1 * rng.normal(size=10000) for _ in range(2)]
    _, _, finish, pool = measured(ensembles)
    assert abs(finish / 0.01 - 1) < 0.1 and abs(pool / 0.09 - 1) < 0.1


def test_what_contributes_most_grows_as_far_as_the_budget_goes():
    start = Sizes(1, 16)
    pool = Trial(1000, 25.0, 16, 0.12, 0.13, 0.001, 0.09, 0)
    assert next_sizes(start, pool, 0.1, sum) == (4, 16)
    finish = pool._replace(finish_variance=0.09, pool_variance=0.001)
    assert next_sizes(start, finish, 0.1, sum) == (1, 64)
    assert next_sizes(start, finish, 0.1, sum, affordable=35) == (1, 32)
    assert next_sizes(start, finish, 0.1, sum, affordable=17) is None
    assert next_sizes(Sizes(64, 1024), pool, 0.1, sum) is None
    unknown = pool._replace(finish_variance=np.inf, pool_variance=np.inf)
    assert next_sizes(start, unknown, 0.1, sum) == (4, 32)


def test_pairs_of_equal_draws_count_once():
    rng = np.random.default_rng(3)
    log_weight, replicate = 0.3 * rng.normal(size=500), np.arange(500) % 2
    once = tv_limit(log_weight, replicate)
    pair = np.tile(np.arange(500), 2)
    twice = tv_limit(np.tile(log_weight, 2), np.tile(replicate, 2), pair=pair)
    np.testing.assert_allclose(twice, once, rtol=1e-12)
    assert tv_limit(np.tile(log_weight, 2), np.tile(replicate, 2)).upper < once.upper


def refined(first, run, tolerance, tell):
    """Two replicates grown without a cap."""
    ladder = RestartLadder([first, first], run, sizes=DEFAULT_SIZES[0], num_ensembles=1)
    return search_sizes(ladder, tolerance=tolerance, max_total=np.inf, tell=tell)


def test_draws_with_named_parts_become_points_of_a_larger_pool():
    """Ensembles that are made up: log w varies with the pool until that has grown."""
    rng = np.random.default_rng(0)
    location, scale = np.array([1.0, -2.0]), np.array([[2.0, 0.0], [1.0, 3.0]])
    first = Preparation(location, scale, pool_of(np.zeros((8, 2))), np.zeros(2))
    made, told = [], []

    def run(replicate, number, prepared, method):
        u = rng.standard_normal((NUM_PARTICLES, 2)).astype(np.float32)
        x = location + u @ scale.T
        spread = 0.5 if prepared.pool.position.shape[0] == 8 else 0.01
        shared = spread * np.tile(rng.standard_normal(NUM_PARTICLES // 2), 2)
        made.append((replicate, u))
        info = StepInfo(*[np.nan] * 6, Evaluations(10, 5), 0)
        return EnsembleResult({"a": x[:, 0], "b": [x[:, 1:]]}, shared, info)

    found = refined(first, run, 0.1, told.append)
    one, last = found.accuracy.trials
    size = last.num_pool // NUM_PARTICLES
    assert one.num_pool == 8 and size >= 4 and found.accuracy.chosen == 1
    for replicate, prepared in enumerate(found.prepares):
        own = np.concatenate([u for k, u in made if k == replicate][:size])
        np.testing.assert_allclose(prepared.pool.position[:-8], own, atol=1e-4)
        np.testing.assert_array_equal(prepared.pool.position[-8:], 0.0)
    assert len(found.discarded) == len(made) and sum(g.evals for g in (one, last)) == 10 * len(made)
    assert told[0].endswith(f"ensembles in the pool 1 -> {size}")
    assert told[1].endswith("met by the pilot") and len(told) == 2


def test_pools_grow_by_draws_of_the_fewest_temperatures_that_will_do():
    """Ensembles that are made up: the finish is good from the start, pools of any size are not."""
    rng = np.random.default_rng(6)
    first = Preparation(np.zeros(1), np.eye(1), pool_of(np.zeros((8, 1))), np.zeros(1))
    made = []

    def run(replicate, number, prepared, method):
        size = len([one for one in made if one[0] == replicate]) + 1
        made.append((replicate, method))
        own = 0.4 * rng.standard_normal(NUM_PARTICLES) / size
        shared = 0.6 * np.tile(rng.standard_normal(NUM_PARTICLES // 2), 2) / np.sqrt(size)
        position = rng.standard_normal((NUM_PARTICLES, 1))
        return EnsembleResult(
            position, own + shared, StepInfo(*[np.nan] * 6, Evaluations(10, 5), 0)
        )

    found = refined(first, run, 0.03, lambda line: None)
    fewest = DEFAULT_SIZES[0].num_temperatures
    measured_at = [one.num_temperatures for one in found.accuracy.trials]
    sizes = [round(one.threshold / 25) for one in found.accuracy.trials]
    assert len(sizes) >= 3 and sizes[-1] > sizes[1] and measured_at[1] > fewest
    # between two measured ensembles, the pool's own
    for before, now in itertools.pairwise(sizes):
        own = [method for replicate, method in made if replicate == 0]
        assert own.count(duplicated_restart(DEFAULT_SIZES[0], before, fewest)) >= now - before - 1


def test_draws_in_a_grown_pool_vouch_for_no_generator():
    old = pool_of(np.zeros((3, 1)))._replace(
        source=jnp.arange(3), largest_useful_noise=jnp.asarray(7.0)
    )
    pool = pool_from_draws(old, np.ones((4, 1)), np.zeros(4), 1000)
    np.testing.assert_array_equal(pool.source, [-1, -1, -1, -1, 0, 1, 2])
    assert float(pool.largest_useful_noise) == 7.0
