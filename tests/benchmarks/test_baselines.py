"""The samplers that benchmarks compare with: right laws, log Z and counts."""

from math import gamma

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.baselines import BASELINES, Result, make_target, parallel
from benchmarks.baselines.target import EACH, Target
from rdmc_jax import problems

NUM = 1000
GAUSSIAN = problems.gaussian_scales((0.1, 10.0), 3.0)._replace(mode_weights=None)
LOG_Z = 2.0


def scaled(problem):
    """The problem times e²."""
    return problem._replace(logdensity_fn=lambda x: problem.logdensity_fn(x) + LOG_Z)


TARGET = make_target(scaled(GAUSSIAN))
MODES = make_target(problems.two_modes(2))


def run(name, size, target=TARGET, seed=0) -> Result:
    one = BASELINES[name]
    return one.run(
        jax.random.key(seed), target, NUM, size, one.tune(jax.random.key(9), target, NUM)
    )


def weights_of(result):
    log_weight = (
        np.zeros(len(result.position))
        if result.log_weight is None
        else np.asarray(result.log_weight)
    )
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum()


# draws of long chains are a few moves apart; dead points are correlated by the volumes they share;
# unadjusted chains have variances up to a tenth too large
CASES = {
    "MALA": ((100, 2000), 1.5, 0.0),
    "MALA, short": ((EACH, 60), 1.0, 0.0),
    "ULA": ((EACH, 300), 1.0, 0.1),
    "underdamped": ((EACH, 100), 1.0, 0.1),
    "NUTS": ((EACH, 15), 1.0, 0.0),
    "SMC MALA": ((30, 1), 2.0, 0.0),
    "SMC MALA, more particles": ((10, 4), 3.0, 0.0),
    "SMC HMC": ((5, 1), 2.0, 0.0),
    "nested slice": ((500, 3), 3.0, 0.0),
    "parallel tempering": (3000, 1.5, 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_a_gaussian_has_its_moments(case):
    size, inefficiency, bias = CASES[case]
    name = case.split(",")[0]
    result = run(name, size)
    weight = weights_of(result)
    x = np.asarray(jax.vmap(TARGET.to_position)(result.position), float)
    z = (x - np.array([0.3, -30.0])) / np.array([0.1, 10.0])
    error = np.sqrt(inefficiency * np.sum(weight**2))
    assert np.all(np.abs(weight @ z) < 4 * error)
    assert np.all(np.abs(weight @ z**2 - 1) < 4 * np.sqrt(2) * error + bias)
    if name == "nested slice":
        # information H = log(1.5²) - 1 + 1/1.5² nats per two dimensions, over 500 live points
        assert abs(result.log_normalizer - LOG_Z) < 4 * np.sqrt(2 * 0.3 / 500)
    elif result.log_normalizer is not None:
        # .9 of the particles survive each of some six re-weightings: 1/9 each, over NUM draws
        assert abs(result.log_normalizer - LOG_Z) < 4 * np.sqrt(6 / 9 / NUM)


def test_no_nuts_chain_is_stuck_where_the_target_is_narrow_and_steep():
    # exp(-Σ z⁴/4), whose steps are far too long for a start where z is 20: E z² = 2 Γ(¾)/Γ(¼)
    dim, width = 5, 0.05
    target = Target(lambda y: -0.25 * jnp.sum((y / width) ** 4), dim, lambda y: y)
    z = np.asarray(run("NUTS", (50, 40), target).position, float) / width
    second = 2 * gamma(0.75) / gamma(0.25)
    assert np.all(np.abs(z.mean(0)) < 4 * np.sqrt(1.5 * second / NUM))
    assert np.all(np.abs((z**2).mean(0) - second) < 4 * np.sqrt(1.5 * (1 - second**2) / NUM))


def test_parallel_tempering_crosses_between_modes():
    found = [run("parallel tempering", 3000, MODES, seed).position for seed in range(4)]
    position = jax.vmap(MODES.to_position)(jnp.concatenate(found))
    share = float(jnp.mean(jnp.sum(position, axis=1) < 0))
    # a round trip takes some moves, so four draws of a ladder count as one
    assert abs(share - 2 / 3) < 4 * np.sqrt(2 / 9 / len(position) * 4)


def test_counts_are_those_of_the_algorithms():
    assert run("MALA", (100, 200)).num_gradient == 100 * (1 + 100 + 10 * 10)
    assert run("MALA", (EACH, 60)).num_gradient == NUM * (1 + 60)
    once, fourfold = (run("SMC MALA", (10, factor)).num_gradient for factor in (1, 4))
    assert once % NUM == 0 and once // NUM % 10 == 1  # one look, and ten moves at each temperature
    assert 3 * once < fourfold < 5 * once
    ladders = run("parallel tempering", 300)
    levels = parallel.num_temperatures(2)
    moves = 150 + 100 * 1
    assert ladders.num_gradient == parallel.NUM_LADDERS * levels * (1 + moves)
