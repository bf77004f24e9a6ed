"""The paper's algorithm: draws without weights, of the right width and in the right modes.

Settings, by measurement on eight Gaussians of variance .7 at radius 10 with horizon .357:
the chains are unadjusted, so the step must stay below the variance of the inner posterior,
``e^{2t} - 1`` at small times, and follow it down: half the time does. Twenty-four levels and
sixteen chains suffice (twice as many of either change nothing that shows). The start must reach
all modes (7 is the radius of the modes at the horizon) and then settle in them: after 32 steps
some of its points are still on the way, which adds a tenth to the variance, after 64 none.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rdmc_jax as rj

GMM8 = rj.problems.gmm8()
ANGLE = np.arange(8) * np.pi / 4
MEANS = 10 * np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=1)
HORIZON, NUM_LEVELS, NUM = 0.357, 24, 1024


@pytest.fixture(scope="module")
def draws():
    return rj.paper(
        jax.random.key(0),
        GMM8.logdensity_fn,
        GMM8.position,
        NUM,
        horizon=HORIZON,
        num_levels=NUM_LEVELS,
        num_chains=16,
        num_steps=4,
        step_size=optax.linear_schedule(HORIZON / 2, HORIZON / 2 / NUM_LEVELS, NUM_LEVELS - 1),
        num_importance=64,
        num_start_steps=64,
        start_scale=7.0,
    )


def test_unweighted_record(draws):
    assert draws.weighted is False and draws.complete is True
    assert draws.position.shape == (NUM, 2) and draws.position.dtype == jnp.float32
    np.testing.assert_array_equal(draws.log_weight, 0.0)
    for name in ("log_normalizer", "log_normalizer_error", "tv_bound", "kl_bound"):
        value = getattr(draws, name)
        assert type(value) is float and np.isnan(value)
    np.testing.assert_allclose(draws.weights, 1 / NUM)
    assert [one.code for one in draws.findings()] == ["R102"]
    with pytest.warns(rj.RDMCWarning, match=r"\[R102\]"):
        draws.check()
    text = draws.summary()
    assert "no weights" in text and "nan" not in text and "horizon 0.357" in text
    again = draws.resample(jax.random.key(0), 100)
    assert again.num_samples == 100 and not again.weighted
    np.testing.assert_array_equal(again.log_weight, 0.0)


def test_variance_within_modes(draws):
    x = np.asarray(draws.position, float)
    nearest = np.argmin(np.sum((x[:, None] - MEANS) ** 2, axis=-1), axis=1)
    variance = np.mean((x - MEANS[nearest]) ** 2)
    assert abs(variance / 0.70 - 1) < 0.15


def test_mode_weights_are_as_good_as_independent_draws(draws):
    counts = np.random.default_rng(0).multinomial(NUM, np.full(8, 1 / 8), size=20000)
    floor = np.quantile(0.5 * np.sum(np.abs(counts / NUM - 1 / 8), axis=1), 0.95)
    modes = jax.vmap(GMM8.mode_fn)(draws.position)
    assert rj.metrics.mode_weight_error(modes, GMM8.mode_weights) <= floor


def evaluations(num_particles, num_importance, num_chains, start_steps, level_steps):
    """Densities and gradients: candidates, first points of the chains, then their steps.

    Two more rounds of first points, from as many candidates as chains, begin start and levels;
    and every draw is evaluated once.
    """
    updates = len(start_steps) + len(level_steps)
    gradient = num_chains * (updates + 2 + sum(start_steps) + sum(level_steps))
    density = gradient + num_importance * updates + 2 * num_chains + 1
    return rj.types.Evaluations(num_particles * density, num_particles * gradient)


def test_evaluations_are_those_of_the_algorithm(draws):
    assert draws.num_evals == evaluations(NUM, 64, 16, [4] * 64, [4] * NUM_LEVELS)


@pytest.fixture(scope="module")
def scheduled():
    """N(0, 2²) with default sizes, and more inner steps the cleaner the level."""
    return rj.paper(
        jax.random.key(0),
        lambda x: -0.125 * jnp.sum(x**2),
        jnp.zeros(1),
        256,
        num_replicates=1,
        num_steps=lambda level: 16 + level // 4,
    )


def test_schedules_of_steps_change_the_cost_by_what_they_say(scheduled):
    steps = [16 + level // 4 for level in range(32)]
    assert scheduled.num_evals == evaluations(256, 128, 16, [16] * 32, steps)


def test_default_settings_are_stable(scheduled):
    variance = np.mean(np.square(scheduled.position))
    assert abs(variance / 4 - 1) < 0.15 + 4 * np.sqrt(2 / 256)
