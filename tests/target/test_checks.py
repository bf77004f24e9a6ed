"""Which densities count as having a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdmc_jax.target.checks import any_has_gradient, has_gradient


def smooth(x):
    return -0.5 * jnp.sum(x**2)


def with_jumps(x):
    return smooth(x) + jnp.where(x[0] > 0.3, 1.0, 0.0)


def on_a_half_space(x):
    return jnp.where(x[0] > 0, smooth(x), -jnp.inf)


def constant_nearby(x):
    return jnp.where(jnp.sum(x**2) < 1e9, 0.0, -jnp.inf)


def rounded(x):
    return jnp.round(4 * smooth(x)) / 4


def foreign(x):
    shape = jax.ShapeDtypeStruct((), x.dtype)
    return jax.pure_callback(
        lambda y: np.float32(-0.5 * np.sum(np.square(y))), shape, x, vmap_method="sequential"
    )


def searched(x):
    # reverse-mode derivatives of a loop of unknown length do not exist
    return -jax.lax.while_loop(lambda y: y < jnp.sum(x**2), lambda y: y + 0.1, 0.0)


@pytest.mark.parametrize("fn", [smooth, with_jumps, on_a_half_space, constant_nearby])
def test_densities_with_a_gradient(fn):
    assert has_gradient(fn, jnp.zeros(2))


@pytest.mark.parametrize("fn", [rounded, foreign, searched])
def test_densities_without(fn):
    assert not has_gradient(fn, jnp.zeros(2))


def test_trees_and_data():
    def fn(position, data):
        return data * jnp.sum(position["a"] ** 2)

    assert has_gradient(fn, {"a": jnp.zeros(3)}, jnp.asarray(-1.0))


@pytest.mark.parametrize(
    ("is_rounded", "expected"),
    [((1.0, 0.0), True), ((0.0, 1.0), True), ((1.0, 1.0), False), ((1.0,), False)],
)
def test_one_of_many_data_sets_with_a_gradient_is_enough(is_rounded, expected):
    def fn(x, data):
        return jnp.where(data > 0, rounded(x), smooth(x))

    assert any_has_gradient(fn, jnp.zeros(2), jnp.asarray(is_rounded)) == expected
