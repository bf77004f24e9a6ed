"""Theory against closed forms: on a Gaussian every term that a bound is about can be computed."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import rdmc_jax as rj
from rdmc_jax.planning.theory import (
    BOTH,
    SHARES,
    horizon,
    log10_langevin_steps,
    log_sobolev,
    step_size,
    theory_plan,
)


def noised(variance, t):
    """Variance of each coordinate of the Gaussian at time t."""
    return variance * np.exp(-2 * t) - np.expm1(-2 * t)


def gaussian(tolerance=0.1, dim=2, variance=1.0, mean2=0.0, **options):
    """The theory of N(mean, variance I), whose constants are exact."""
    return theory_plan(
        tolerance,
        dim=dim,
        smoothness=1 / variance,
        convexity=1 / variance,
        second_moment=mean2 + dim * variance,
        **options,
    )


def start_bias(time, dim, variance, mean2):
    v = noised(variance, time)
    return 0.5 * (dim * (v - 1 - np.log(v)) + mean2 * np.exp(-2 * time))


def step_bias(eta, num_levels, dim, variance):
    """``Σ_k ∫ E‖s_t - s_k‖² dt`` with ``s(x) = -x/v`` and correlations of the process."""
    fraction = (np.arange(64) + 0.5) / 64
    u_k = eta * np.arange(num_levels, 0, -1)[:, None]
    tau = eta * fraction
    v_k, v_t = noised(variance, u_k), noised(variance, u_k - tau)
    return float(np.sum(dim * (1 / v_t + 1 / v_k - 2 * np.exp(-tau) / v_k)) * eta / 64)


@pytest.mark.parametrize(
    ("dim", "variance", "mean2"), [(2, 1.0, 900.0), (5, 4.0, 0.0), (1, 0.01, 9)]
)
def test_start_bias_is_below_its_share(dim, variance, mean2):
    share = 0.02
    time = horizon(share, dim, mean2 + dim * variance)
    bias = start_bias(time, dim, variance, mean2)
    assert bias <= share
    if mean2 > 100:  # nothing lost: a factor of two or a sign would show
        assert bias > 0.99 * share


@pytest.mark.parametrize("variance", [0.05, 1.0, 20.0])
def test_step_bias_is_below_its_share(variance):
    share, dim, time = 0.01, 3, 2.5
    num_levels = math.ceil(time / step_size(share, dim, 1 / variance, time))
    bias = step_bias(time / num_levels, num_levels, dim, variance)
    assert bias <= share
    if variance == 1:
        assert bias > 0.2 * share


def test_all_parts_together_stay_below_the_tolerance():
    dim, variance, mean2 = 3, 0.5, 4.0
    found = gaussian(0.2, dim, variance, mean2, failure=0.3)
    share = 2 * 0.2**2 / SHARES
    t = found.step_size * np.arange(found.num_levels, 0, -1)
    s2 = np.expm1(2 * t)
    num_inner = np.interp(t[::-1], found.time[::-1], found.num_inner[::-1])[::-1]
    spread = np.exp(-2 * t) / np.expm1(-2 * t) ** 2 * dim / (1 / s2 + 1 / variance) / num_inner
    scores = found.step_size * np.sum(spread)
    assert scores < 0.3 * share / BOTH / 4
    steps = step_bias(found.step_size, found.num_levels, dim, variance)
    total = start_bias(found.horizon, dim, variance, mean2) + BOTH * (steps + 2 * scores / 0.3)
    assert total < 2 * 0.2**2


def test_inner_accuracy_uses_all_of_its_share():
    found = gaussian(0.1, 2, 0.5, 1.0, failure=0.2)
    # a Gaussian posterior that is shifted by Δ is μ Δ²/2 nats away
    shift2 = 2 * found.inner_accuracy / found.log_sobolev
    alpha2, sigma2 = np.exp(-2 * found.time), -np.expm1(-2 * found.time)
    share = 2 * 0.1**2 / SHARES
    each = alpha2 / sigma2**2 * shift2
    np.testing.assert_allclose(each * found.horizon, 0.2 * share / BOTH / 4, rtol=1e-9)


def test_log_sobolev_constant_of_a_gaussian_is_its_posteriors_precision():
    process = rj.diffusion.ornstein_uhlenbeck()
    t = np.array([0.01, 0.3, 2.0])
    s2 = (np.asarray(process.sigma(t)) / np.asarray(process.alpha(t))) ** 2
    exact = 1 / (0.25 * s2 / (0.25 + s2))
    np.testing.assert_allclose(log_sobolev(t, 4.0, convexity=4.0), exact, rtol=1e-5)
    # known without convexity up to t = ½ log(1 + 1/L), and Holley-Stroock's factor
    edge = 0.5 * math.log(1.25)
    assert log_sobolev(np.array([0.99 * edge, 1.01 * edge]), 4.0).tolist()[1] == 0
    assert log_sobolev(np.array([0.99 * edge]), 4.0)[0] > 0
    halved = log_sobolev(t, 4.0, convexity=4.0, oscillation=math.log(2))
    np.testing.assert_allclose(halved, exact / 2, rtol=1e-5)


def test_langevin_steps_reach_their_accuracy():
    mu, smoothness, accuracy = 1.0, 3.0, 0.001
    count = 10 ** float(log10_langevin_steps(np.array(accuracy), 1, np.array(smoothness), mu))
    h = mu / smoothness**2 * min(0.25, accuracy / 16)
    variance = 1 / smoothness
    for _ in range(round(count)):
        variance = (1 - h * mu) ** 2 * variance + 2 * h
    assert 0.5 * (mu * variance - 1 - math.log(mu * variance)) < accuracy
    assert np.isinf(log10_langevin_steps(np.array(0.0), 1, np.array(smoothness), np.array(0.0)))


def test_orders_in_the_tolerance_and_the_dimension():
    one = gaussian(0.1, 2, 1.0)
    fine, large = gaussian(0.05, 2, 1.0), gaussian(0.1, 4, 1.0)
    assert fine.horizon - one.horizon == pytest.approx(math.log(2))
    assert large.horizon - one.horizon == pytest.approx(0.5 * math.log(2))

    def per_level(plan):
        return plan.step_size * (1 + 2.5 * plan.horizon)

    # up to the whole number of levels
    assert per_level(one) / per_level(fine) == pytest.approx(4, rel=1e-3)
    assert per_level(one) / per_level(large) == pytest.approx(2, rel=1e-3)
    # the paper's, at the same noise: T η^-3 ε^-2 and T^-4 η^8 ε^4 with η of order ε²
    now, then = one.paper, fine.paper
    assert then.step_size == pytest.approx(now.step_size / 4)
    assert then.horizon - now.horizon == pytest.approx(math.log(2))
    ratio = then.horizon / now.horizon
    mu = fine.log_sobolev[0] / one.log_sobolev[0]
    counts, accuracy = (
        then.num_inner[0] / now.num_inner[0],
        (then.inner_accuracy[0] / now.inner_accuracy[0]),
    )
    assert counts == pytest.approx(256 * ratio / mu)
    assert accuracy == pytest.approx(4.0**-8 * 2.0**-4 * ratio**-4 * mu**2)


def test_levels_that_stand_for_others_sum_to_all():
    found = gaussian(0.05)
    assert found.num_levels > found.time.size and np.sum(found.num_same) == found.num_levels
    t = found.step_size * np.arange(1, found.num_levels + 1)
    allowed = 0.1 * (2 * 0.05**2 / SHARES) / (BOTH * found.horizon)
    alpha2, sigma2 = np.exp(-2 * t), -np.expm1(-2 * t)
    counts = np.ceil(4 * alpha2 / sigma2**2 * np.minimum(2 * np.expm1(2 * t), 2.0) / allowed)
    assert found.log10_inner == pytest.approx(math.log10(np.sum(counts)), abs=0.02)


def test_without_bounds_the_theory_says_so():
    found = theory_plan(0.1, dim=2, smoothness=10.0, second_moment=100.0)
    assert np.isinf(found.log10_evals) and np.isfinite(found.log10_inner)
    assert "no bound" in found.summary() and "10 I" in found.summary()
    blind = theory_plan(0.1, dim=2, smoothness=math.nan, second_moment=100.0)
    assert blind.horizon == found.horizon and blind.num_levels == 0
    assert np.isnan(blind.step_size) and "not known" in blind.summary()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"tolerance": 1.0}, "tolerance=1.0"),
        ({"failure": 0.0}, "failure=0.0"),
        ({"dim": 0}, "dim=0"),
        ({"second_moment": -1.0}, "second_moment=-1.0"),
        ({"smoothness": math.inf}, "smoothness=inf"),
        ({"convexity": 2.0}, "convexity=2.0"),
        ({"oscillation": -1.0}, "oscillation=-1.0"),
    ],
)
def test_constants_out_of_range(options, word):
    given = {"tolerance": 0.1, "dim": 2, "smoothness": 1.0, "second_moment": 2.0} | options
    with pytest.raises(ValueError, match=word):
        theory_plan(given.pop("tolerance"), **given)


def mixture(x):
    """Unequal modes, and correlated: the Hessian is indefinite between them."""
    left = -0.5 * jnp.sum((x - jnp.array([-2.0, 0.0, 0.0])) ** 2 / jnp.array([1.0, 0.3, 4.0]))
    right = -((x[0] - 2 + x[1]) ** 2) - 2.0 * (x[1] - 0.5 * x[2]) ** 2 - 0.1 * jnp.sum(x**2)
    return jnp.logaddexp(left, right - 1.0)
