"""The same function and the same plan never compile twice."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import CALLS, CHEAP_METHOD, ORIGIN, cheap, default, density, target

import rdmc_jax as rj

pytestmark = pytest.mark.one_program


def added_calls(run):
    before = dict(CALLS)
    run()
    return {name: CALLS[name] - before[name] for name in CALLS}


@pytest.mark.parametrize("run", [cheap, default])
def test_new_keys_data_positions_and_more_draws_trace_nothing(run):
    run(2000)
    none = {"traced": 0, "concrete": 0}
    other = {"seed": 1, "data": target(mean=((2.0, 1.0),)), "position": np.ones(2, np.float32)}
    assert added_calls(lambda: run(2000, **other)) == none
    assert added_calls(lambda: run(10)) == none
    assert added_calls(lambda: run(4001)) == none  # two ensembles in each of four replicates


def test_equal_compositions_share_their_program():
    cheap()
    again = rj.rdmc(
        rj.samplers.gaussian_start(num_particles=64),
        rj.samplers.levels(
            rj.diffusion.log_snr_grid(4, low=-3.0, high=3.0),
            rj.estimators.importance(num_samples=16),
        ),
        rj.samplers.gaussian_finish(),
    )
    assert again == CHEAP_METHOD and hash(again) == hash(CHEAP_METHOD)
    run = functools.partial(
        rj.sample, jax.random.key(5), density, ORIGIN, 64, data=target(), method=again
    )
    assert added_calls(run) == {"traced": 0, "concrete": 0}


def test_core_maps_over_data_in_one_program():
    # in the user's coordinates; half of 1,000 draws in each replicate, in whole ensembles of 64
    plan = rj.plan(dim=2, method=CHEAP_METHOD)
    z = jnp.arange(3.0)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), target())
    many["log_normalizer"] = z
    run = jax.jit(
        jax.vmap(
            lambda key, data: rj.core(key, density, ORIGIN, data, plan=plan), in_axes=(None, 0)
        )
    )
    result = run(jax.random.key(0), many)
    assert result.position.shape == (3, 512, 2) and result.log_weight.shape == (3, 512)
    # the same key on densities that differ by a factor: the same points, and that factor
    np.testing.assert_allclose(result.position[0], result.position[2], atol=1e-3)
    log_z = jax.nn.logsumexp(result.log_weight, axis=1) - jnp.log(512)
    np.testing.assert_allclose(log_z - log_z[0], z, atol=1e-3)
    w = np.exp(np.asarray(result.log_weight[0], float))
    assert abs(w.mean() - 1) < 4 * w.std(ddof=1) / 8
    again = added_calls(lambda: run(jax.random.key(1), many))
    assert again == {"traced": 0, "concrete": 0}
