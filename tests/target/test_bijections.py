"""Densities on boxes and half-lines keep their mass on R^d, far out in the tails too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdmc_jax.target.bijections import Bijection, box, half_line, unconstrained


def mass(density, low, high):
    """By sums: equal steps are exact to all orders where the ends have no mass."""
    u = np.linspace(low, high, 20_001)
    value = jax.jit(jax.vmap(density))(jnp.asarray(u, jnp.float32))
    return np.sum(np.exp(np.asarray(value, float))) * (u[1] - u[0])


def test_the_mass_of_a_box_is_its_volume():
    density = unconstrained(lambda x: jnp.zeros(()), box(-1.0, 5.0))
    np.testing.assert_allclose(mass(density, -30, 30), 6.0, rtol=1e-5)


def test_the_mass_of_an_exponential_law_is_one():
    density = unconstrained(lambda x, rate: jnp.log(rate) - rate * (x - 2.0), half_line(2.0))
    np.testing.assert_allclose(mass(lambda u: density(u, jnp.asarray(3.0)), -30, 4), 1.0, rtol=1e-5)


@pytest.mark.parametrize("bijection", [box(-1.0, 5.0), half_line()])
def test_the_jacobian_is_that_of_the_map(bijection):
    u = jnp.asarray([0.3, -1.2])
    jacobian = jax.jacobian(bijection.forward)(u)
    expected = jnp.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(bijection.forward_log_det_jacobian(u), expected, rtol=1e-5)


def test_tails_are_finite():
    density = unconstrained(lambda x: jnp.zeros(()), box(0.0, 1.0))
    for u in (-200.0, 200.0):
        value, slope = jax.value_and_grad(density)(jnp.asarray(u))
        np.testing.assert_allclose(value, -200.0, rtol=1e-5)
        np.testing.assert_allclose(slope, -np.sign(u), rtol=1e-5)


def test_tails_stay_inside():
    u = jnp.asarray([-200.0, -25.0, 17.0, 30.0, 200.0])
    for low, high in ((-1.0, 5.0), (0.1, 0.3), (-7.3, 1e3)):
        x = np.asarray(box(low, high).forward(u))
        assert np.all((x > np.float32(low)) & (x < np.float32(high)))
    assert np.all(half_line(3.0).forward(u[:2]) > 3.0)


def test_a_user_s_own_pair_and_trees():
    double = Bijection(
        lambda u: {"a": 2 * u["a"], "b": u["b"]}, lambda u: u["a"].size * jnp.log(2.0)
    )
    density = unconstrained(lambda x: -jnp.sum(x["a"]) - x["b"], double)
    value = density({"a": jnp.ones(3), "b": jnp.asarray(1.0)})
    np.testing.assert_allclose(value, -7.0 + 3 * np.log(2.0), rtol=1e-6)


def test_empty_and_infinite_boxes_are_refused():
    for low, high in ((1.0, 1.0), (0.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(ValueError, match="finite bounds with low < high"):
            box(low, high)
