"""The samplers that benchmarks compare with: right laws, log Z and counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.baselines import BASELINES, Result, langevin, make_target, parallel
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
    log_weight = np.zeros(NUM) if result.log_weight is None else np.asarray(result.log_weight)
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum()


@pytest.mark.parametrize(
    ("name", "size", "inefficiency"),
    # chains: draws of one chain are a few moves apart
    [("MALA", 2000, 1.5), ("SMC MALA", 30, 2.0), ("parallel tempering", 3000, 1.5)],
)
def test_a_gaussian_has_its_moments(name, size, inefficiency):
    result = run(name, size)
    weight = weights_of(result)
    x = np.asarray(jax.vmap(TARGET.to_position)(result.position), float)
    z = (x - np.array([0.3, -30.0])) / np.array([0.1, 10.0])
    error = np.sqrt(inefficiency * np.sum(weight**2))
    assert np.all(np.abs(weight @ z) < 4 * error)
    assert np.all(np.abs(weight @ z**2 - 1) < 4 * np.sqrt(2) * error)
    if result.log_normalizer is not None:
        # .9 of the particles survive each of some six re-weightings: 1/9 each, over NUM draws
        assert abs(result.log_normalizer - LOG_Z) < 4 * np.sqrt(6 / 9 / NUM)


def test_parallel_tempering_crosses_between_modes():
    position = jax.vmap(MODES.to_position)(run("parallel tempering", 3000, MODES).position)
    share = float(jnp.mean(jnp.sum(position, axis=1) < 0))
    # a round trip takes some moves, so four draws of a ladder count as one
    assert abs(share - 2 / 3) < 4 * np.sqrt(2 / 9 / NUM * 4)


def test_counts_are_those_of_the_algorithms():
    chains = run("MALA", 200)
    assert chains.num_gradient == langevin.NUM_CHAINS * (1 + 100 + 10 * 10)
    ladders = run("parallel tempering", 300)
    levels = parallel.num_temperatures(2)
    moves = 150 + 100 * 1
    assert ladders.num_gradient == parallel.NUM_LADDERS * levels * (1 + moves)
