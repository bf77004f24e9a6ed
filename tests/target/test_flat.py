"""The border: what is refused, and how the density arrives inside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdmc_jax.target.flat import (
    check_position,
    factors_from_standard,
    factors_to_standard,
    flatten,
    from_standard,
    log_det,
    ravel_ensemble,
    standardised,
    to_standard,
)

TREE = {"a": jnp.asarray(0.5), "b": {"c": jnp.asarray([1.0, 2.0]), "d": jnp.ones((1,))}}


def log_density(tree):
    return -0.5 * tree["a"] ** 2 - jnp.sum(tree["b"]["c"] ** 2) + tree["b"]["d"][0]


def test_flat_density_and_gradient_are_those_of_the_tree():
    flat = flatten(log_density, TREE)
    assert flat.position.shape == (4,)
    back = flat.unravel(flat.position)
    assert jax.tree.structure(back) == jax.tree.structure(TREE)
    assert jax.tree.map(jnp.shape, back) == jax.tree.map(jnp.shape, TREE)
    assert flat.logdensity_fn(flat.position) == log_density(TREE)
    gradient = flat.unravel(jax.grad(flat.logdensity_fn)(flat.position))
    jax.tree.map(np.testing.assert_array_equal, gradient, jax.grad(log_density)(TREE))


def test_data_reaches_the_density():
    flat = flatten(lambda x, data: jnp.sum(x * data), jnp.ones(3), data=jnp.arange(3.0))
    assert flat.logdensity_fn(jnp.ones(3)) == 3.0


def test_ravel_ensemble_keeps_the_particle_axis():
    ensemble = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), TREE)
    np.testing.assert_allclose(ravel_ensemble(ensemble), [[0.5, 1, 2, 1], [1, 2, 4, 2]])


@pytest.mark.parametrize(
    ("fn", "got"),
    [
        (lambda p: p["b"]["c"], r"shape \(2,\)"),
        (lambda p: p["b"]["d"], r"shape \(1,\)"),
        (lambda p: (p["a"], p["a"]), r"a tree with shapes \[\(\), \(\)\]"),
        (lambda p: {"value": p["a"]}, r"shape \(\)"),
    ],
)
def test_a_density_that_is_not_a_scalar_is_refused_with_its_shape_and_leaves(fn, got):
    with pytest.raises(TypeError, match=rf"scalar for one position, but returned {got}.*'c'.*vmap"):
        flatten(fn, TREE)


def test_a_density_of_integers_is_refused():
    with pytest.raises(TypeError, match="real floating-point number, but returned dtype int"):
        flatten(lambda x: jnp.zeros((), jnp.int32), jnp.zeros(2))


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (3, "dtype int32"),
        (True, "dtype bool"),
        (1j, "dtype complex64"),
        (np.arange(3), "dtype int"),
        ("text", "is 'text' of type str"),
        (object(), "of type object"),
    ],
)
def test_leaves_that_are_not_real_numbers_are_refused_by_name(leaf, message):
    with pytest.raises(TypeError, match=rf"position leaf \['b'\]\['c'\].*{message}"):
        check_position({"a": 0.0, "b": {"c": leaf}})


@pytest.mark.parametrize("position", [{}, (), None, {"a": jnp.zeros((0, 3))}])
def test_positions_without_numbers_are_refused(position):
    with pytest.raises(ValueError, match="position holds no numbers"):
        check_position(position)


def test_flat_density_is_guarded():
    flat = flatten(lambda x: jnp.log(x[0]), jnp.ones(1))
    value, gradient = jax.value_and_grad(flat.logdensity_fn)(jnp.asarray([-1.0]))
    assert value == -jnp.inf and np.all(np.isfinite(gradient))


def test_standardised_density_keeps_its_mass_and_its_gradient_scales():
    location, scale = jnp.asarray([3.0, -1.0]), jnp.asarray([20.0, 0.1])

    def fn(x):
        z = (x - location) / scale
        return -0.5 * jnp.sum(z**2) - jnp.sum(jnp.log(scale)) - jnp.log(2 * jnp.pi) + 0.4

    inside = standardised(fn, location, scale)
    u = jnp.asarray([0.3, -0.8])
    np.testing.assert_allclose(inside(u), 0.4 - 0.5 * jnp.sum(u**2) - np.log(2 * np.pi), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(inside)(u), -u, rtol=1e-4)


@pytest.mark.parametrize("scale", [[20.0, 0.1], [[20.0, 1.0], [-0.2, 0.1]]])
def test_inward_undoes_outward_and_the_density_carries_the_jacobian(scale):
    location, scale = jnp.asarray([3.0, -1.0]), jnp.asarray(scale)
    u = jnp.asarray([[0.3, -0.8], [-2.0, 1.5], [0.0, 0.0]])
    x = from_standard(location, scale, u)
    np.testing.assert_allclose(to_standard(location, scale, x), u, atol=1e-5)
    matrix = np.diag(scale) if scale.ndim == 1 else np.asarray(scale)
    np.testing.assert_allclose(x, np.asarray(location) + np.asarray(u) @ matrix.T, rtol=1e-5)
    factor = jnp.asarray([[[1.0, 0.5], [-0.3, 2.0]], [[0.2, 0.0], [4.0, 1.0]]])
    if scale.ndim == 1:
        deviation = jnp.diagonal(factor, axis1=1, axis2=2)
        moved = factors_from_standard(scale, deviation)
        np.testing.assert_allclose(moved, np.asarray(deviation) * np.asarray(scale), rtol=1e-6)
        np.testing.assert_allclose(factors_to_standard(scale, moved), deviation, rtol=1e-6)
    moved = factors_from_standard(scale, factor)
    np.testing.assert_allclose(moved, matrix @ np.asarray(factor), rtol=1e-5)
    np.testing.assert_allclose(factors_to_standard(scale, moved), factor, atol=1e-4)
    expected = np.log(abs(np.linalg.det(matrix)))
    np.testing.assert_allclose(log_det(scale), expected, rtol=1e-5)
    inside = standardised(lambda y: jnp.sum(y), location, scale)
    np.testing.assert_allclose(jax.vmap(inside)(u), jnp.sum(x, axis=1) + expected, rtol=1e-4)
