"""`core` inside other programs: larger jits, double precision, and gradients by the data."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdmc_jax as rj
from rdmc_jax.samplers.core import Recipe

GRID = rj.diffusion.log_snr_grid(6, low=-3.0, high=4.0)
IMPORTANCE = rj.rdmc(
    rj.samplers.gaussian_start(num_particles=256),
    rj.samplers.levels(GRID, rj.estimators.importance(num_samples=32)),
    rj.samplers.gaussian_finish(),
)
LANGEVIN = dataclasses.replace(
    IMPORTANCE,
    levels=rj.samplers.levels(
        GRID,
        rj.estimators.chains(
            rj.kernels.ula, begin=rj.estimators.from_importance(num_candidates=32),
            average=rj.estimators.plain_average,
            num_chains=8, num_steps=4, num_start_steps=0, step_size=lambda level: 0.3,
        ),
    )
)  # fmt: skip
PLANS = {
    "importance": Recipe(IMPORTANCE),
    "langevin": Recipe(LANGEVIN),
}
PRIOR_VARIANCE, NOISE_VARIANCE = 1.0, 0.5
GAIN = PRIOR_VARIANCE / (PRIOR_VARIANCE + NOISE_VARIANCE)
"""Posterior mean of x ~ N(0, 1) from y = x + noise is GAIN y."""


def density(x, y):
    prior = -0.5 * jnp.sum(x**2) / PRIOR_VARIANCE
    return prior - 0.5 * jnp.sum((y - x) ** 2) / NOISE_VARIANCE


def expectation(key, y, plan):
    """Posterior mean of x and log Z, from the weighted draws."""
    found = rj.core(key, density, jnp.zeros(1, y.dtype), y, plan=plan)
    log_z = jax.nn.logsumexp(found.log_weight) - jnp.log(found.log_weight.shape[0])
    weights = jax.nn.softmax(found.log_weight)
    return jnp.sum(weights * found.position[:, 0]), log_z


@pytest.mark.parametrize("name", PLANS)
def test_gradients_by_the_data_agree_with_the_closed_form(name):
    keys, y = jax.random.split(jax.random.key(0), 24), jnp.float32(0.8)
    slopes = jax.jit(
        jax.vmap(jax.jacrev(lambda key, y: expectation(key, y, PLANS[name]), 1), (0, None))
    )
    mean, log_z = (np.asarray(leaf, float) for leaf in slopes(keys, y))
    assert np.all(np.isfinite(mean)) and np.all(np.isfinite(log_z))
    # d log Z/dy of N(y; 0, prior + noise)
    truths = (GAIN, -0.8 / (PRIOR_VARIANCE + NOISE_VARIANCE))
    for found, truth in zip((mean, log_z), truths, strict=True):
        error = found.std(ddof=1) / np.sqrt(found.size)
        assert error < 0.05 * (1 + abs(truth)) and abs(found.mean() - truth) < 4 * error


def test_core_in_a_larger_program_gives_its_own_numbers():
    plan, key, y = PLANS["importance"], jax.random.key(1), jnp.float32(0.8)
    alone = jax.jit(lambda key, y: expectation(key, y, plan))(key, y)[0]

    @jax.jit
    def pipeline(key, y):
        """An optimisation of the data through the posterior mean: three steps of ascent."""

        def step(carry, _):
            value, slope = jax.value_and_grad(lambda one: expectation(key, one, plan)[0])(carry)
            return carry + slope, value

        return jax.lax.scan(step, y, None, length=3)

    end, values = pipeline(key, y)
    np.testing.assert_allclose(values[0], alone, rtol=1e-3, atol=1e-4)
    assert np.all(np.diff(values) > 0) and abs(float(end) - 0.8 - 3 * GAIN) < 0.5


def test_double_precision_end_to_end():
    with jax.enable_x64(True):
        run = jax.jit(lambda key, y: expectation(key, y, PLANS["importance"]))
        y = jnp.asarray(0.8, jnp.float64)
        keys = jax.random.split(jax.random.key(2), 8)
        found = [run(key, y) for key in keys]
        assert all(leaf.dtype == jnp.float64 for leaf in found[0])
    means = np.array([float(mean) for mean, _ in found])
    assert abs(means.mean() - GAIN * 0.8) < 4 * means.std(ddof=1) / np.sqrt(8)


def test_reverse_mode_says_where_it_cannot_go():
    """The default's pilot and pool loop until done: no program can run that backwards."""
    plan = rj.plan(dim=1)
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        jax.eval_shape(
            jax.grad(lambda y: expectation(jax.random.key(0), y, plan)[0]), jnp.float32(0.8)
        )
