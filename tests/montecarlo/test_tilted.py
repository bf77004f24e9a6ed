"""Moving a chain's state to another density without a new evaluation of the target."""

from functools import partial

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import Mixture

from rdmc_jax.montecarlo.kernels import hmc, mala, uld
from rdmc_jax.montecarlo.tilted import (
    Tilted,
    acceptance_of,
    adapted,
    retarget,
    target_logdensity,
    tilted_logdensity,
    to_position,
)

TARGET = Mixture((0.4, 0.6), ((-1.0, 0.5), (1.0, -0.5)), ((0.3, 1.0), (0.6, 0.2)), 0.7)
POSITION = jnp.asarray([0.4, -0.3])
UNIT = jnp.asarray([1.5, 0.2])


def gaussian_factor(center, scale):
    return lambda y: -0.5 * jnp.sum(((y - center) / scale) ** 2)


OLD = Tilted(gaussian_factor(0.3, 2.0), jnp.asarray([1.0, 0.0]), UNIT, 0.25)
NEW = Tilted(gaussian_factor(-0.5, 0.7), jnp.asarray([0.0, -2.0]), jnp.asarray([0.4, 0.9]), 1.0)
COLD = OLD._replace(inverse_temperature=0.5)
MOVED = OLD._replace(log_rest=gaussian_factor(0.1, 0.4), inverse_temperature=1.0)
KERNELS = {
    "mala": mala,
    "hmc": hmc,
    "uld": uld,
    "blackjax.mala": blackjax.mala,
    "blackjax.hmc": partial(blackjax.hmc, inverse_mass_matrix=jnp.ones(2), num_integration_steps=3),
}


def state_at(kernel, tilted):
    xi = (POSITION - tilted.shift) / tilted.unit
    return kernel(tilted_logdensity(TARGET.logdensity, tilted), 0.1).init(xi, jax.random.key(0))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("new", [NEW, COLD, MOVED], ids=["all", "temperature", "rest"])
def test_retargeted_state_is_the_state_begun_anew(name, new):
    kernel = KERNELS[name]
    moved, fresh = retarget(state_at(kernel, OLD), OLD, new), state_at(kernel, new)
    assert type(moved) is type(fresh)
    np.testing.assert_allclose(to_position(new, moved.position), POSITION, rtol=1e-5)
    np.testing.assert_allclose(moved.logdensity, fresh.logdensity, rtol=2e-5)
    np.testing.assert_allclose(moved.logdensity_grad, fresh.logdensity_grad, rtol=1e-4, atol=1e-5)
    if name == "uld":
        np.testing.assert_array_equal(moved.momentum, fresh.momentum)


def test_retargeting_there_and_back_restores_the_state():
    state = state_at(mala, OLD)
    back = retarget(retarget(state, OLD, NEW), NEW, OLD)
    for value, expected in zip(back, state, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_target_density_is_recovered_from_the_tilted_one():
    state = state_at(mala, OLD)
    value = target_logdensity(OLD, state.position, state.logdensity)
    np.testing.assert_allclose(value, TARGET.logdensity(POSITION), rtol=1e-5)


def test_zero_density_stays_zero_and_finite_gradients_stay_finite():
    state = state_at(mala, OLD)._replace(logdensity=jnp.asarray(-jnp.inf))
    moved = retarget(state, OLD, NEW)
    assert moved.logdensity == -jnp.inf
    assert np.all(np.isfinite(moved.logdensity_grad))


def test_step_size_follows_the_acceptance_and_ignores_kernels_without_one():
    h = jnp.asarray(0.3)
    assert adapted(h, jnp.asarray(0.9), 0.6) > h > adapted(h, jnp.asarray(0.2), 0.6)
    np.testing.assert_allclose(adapted(h, jnp.asarray(0.6), 0.6), h, rtol=1e-6)
    np.testing.assert_allclose(adapted(h, jnp.asarray(0.8), 0.6, 0.5), 0.3 * np.exp(0.1), rtol=1e-5)
    np.testing.assert_array_equal(adapted(h, jnp.asarray(jnp.nan), 0.6), h)
    assert np.isnan(acceptance_of(object()))
