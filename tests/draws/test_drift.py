"""Exact draws stay where they are; draws of a funnel without its mouth walk into it."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdmc_jax.draws.drift import Density, drift
from rdmc_jax.problems import funnel, gmm4, two_modes

NUM = 2000
FUNNEL = funnel()


def found(problem, x, seed, log_weight=None):
    weight = jnp.zeros(len(x)) if log_weight is None else log_weight
    return drift(jax.random.key(seed), Density(problem.logdensity_fn), x, weight)


@pytest.mark.parametrize("problem", [gmm4(), two_modes(8), FUNNEL], ids=["gmm4", "modes", "funnel"])
def test_exact_draws_do_not_drift(problem):
    alarms = sum(
        bool(found(problem, problem.sample(jax.random.key(100 + seed), NUM), seed))
        for seed in range(20)
    )
    # about 60 functions and two sides, one in 65,536 each: .002 alarms per test
    assert alarms == 0


def test_a_funnel_without_its_mouth_is_flagged():
    flagged = 0
    for seed in range(20):
        x = FUNNEL.sample(jax.random.key(seed), NUM + 400)
        x = x[x[:, 0] < 1.645 * 3**0.5][:NUM]  # the widest twentieth is missing
        said = found(FUNNEL, x, seed)
        flagged += bool(said)
        assert all(one.code == "R118" and "moved" in one.message for one in said)
    assert flagged >= 18


def test_weights_are_part_of_the_draws():
    """Draws of another law are no drift if their weights are right, and one if they are not."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(0, 1.3, (NUM, 2)), jnp.float32)

    class Normal:
        logdensity_fn = staticmethod(lambda x: -0.5 * jnp.sum(x**2))

    log_weight = -0.5 * jnp.sum(x**2, axis=1) * (1 - 1 / 1.3**2)
    assert not any(found(Normal, x, seed, log_weight) for seed in range(10))
    narrow = 0.5 * x / 1.3
    assert all(found(Normal, narrow, seed) for seed in range(10))


def test_few_effective_draws_are_left_alone_and_a_density_is_needed():
    x = jnp.zeros((NUM, 1))
    heavy = jnp.where(jnp.arange(NUM) == 0, 0.0, -50.0)
    assert found(gmm4(), x, 0, heavy) == []
    loaded = pickle.loads(pickle.dumps(Density(gmm4().logdensity_fn)))
    assert loaded == Density() and hash(loaded) == hash(Density())
    with pytest.raises(ValueError, match="do not have"):
        drift(jax.random.key(0), loaded, x, jnp.zeros(NUM))


def test_fewer_effective_draws_compile_nothing():
    traced = []

    class Normal:
        @staticmethod
        def logdensity_fn(x):
            traced.append(x)
            return -0.5 * jnp.sum(x**2)

    x = jax.random.normal(jax.random.key(0), (NUM, 2))
    assert found(Normal, x, 0) == []
    first = len(traced)
    heavy = jnp.where(jnp.arange(NUM) == 0, jnp.log(20.0), 0.0)  # 202 draws are moved
    assert found(Normal, x, 1, heavy) == [] and len(traced) == first > 0


@pytest.mark.one_program
def test_a_thorough_check_of_a_healthy_run_finds_nothing(gaussian_draws):
    assert gaussian_draws.check(thorough=True) == []
