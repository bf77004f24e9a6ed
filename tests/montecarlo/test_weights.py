"""Numbers that judge weights, against closed forms and against blackjax."""

import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.diagnostics import psis_weights
from scipy.special import ndtr

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
    # one replicate with weights is enough to know something
    some = np.append(nothing, np.zeros(10))
    assert tv_limit(some, np.repeat([0, 1], 10)).estimate == pytest.approx(0.5)
