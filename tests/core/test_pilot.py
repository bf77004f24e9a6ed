"""The pilot finds location and scale of a target that the first guess is far from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_targets import Gaussian

from rdmc_jax.border import flatten
from rdmc_jax.pilot import pilot

SCALES = np.asarray([1e-3, 1.0, 1e3])
TARGET = Gaussian((0.7, -40.0, 2e4), tuple(SCALES**2))


@pytest.fixture(scope="module")
def found():
    flat = flatten(TARGET.logdensity, jnp.zeros(3))
    return jax.jit(lambda key: pilot(key, flat.logdensity_fn, flat.position))(jax.random.key(91))


def test_location_is_within_a_few_scales(found):
    np.testing.assert_array_less(np.abs(found.location - np.asarray(TARGET.mean)) / SCALES, 3.0)


def test_scale_is_right_within_a_factor_two(found):
    ratio = np.asarray(found.scale) / SCALES
    assert np.all((ratio > 0.5) & (ratio < 2.0))


def test_points_come_with_their_density_in_the_coordinates_of_the_user(found):
    assert found.points.shape[1] == 3 and np.all(np.isfinite(found.points))
    value = jax.vmap(TARGET.logdensity)(found.points)
    np.testing.assert_allclose(found.logdensity, value, atol=0.3)
    assert found.num_evals.gradient > 0
