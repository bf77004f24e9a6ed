"""Images are what they say, and modes that are images of each other are found."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdmc_jax.pools.pilot import climbing_pilot
from rdmc_jax.pools.symmetry import exchanged, images, reflected, tree_exchanges
from rdmc_jax.target.flat import flatten


def orders_of(dim, num=4000):
    u = jax.random.uniform(jax.random.key(0), (num, 5))
    return {tuple(one) for one in np.asarray(jax.vmap(lambda u: exchanged(u, dim))(u)).tolist()}


@pytest.mark.parametrize("dim", [1, 2, 7, 20])
def test_exchanges_are_orders_that_undo_themselves(dim):
    for order in map(np.asarray, orders_of(dim)):
        np.testing.assert_array_equal(order[order], np.arange(dim))


def test_layouts_of_components_are_among_the_exchanges():
    assert orders_of(2) == {(1, 0)}
    found = orders_of(7)
    assert (1, 0, 3, 2, 5, 4, 6) in found  # two values of each of three parameters, one left over
    assert (3, 4, 5, 0, 1, 2, 6) in found  # three parameters of each of two components
    assert (0, 2, 1, 4, 3, 6, 5) in found  # what is left over comes first
    assert (0, 1, 4, 5, 2, 3) in orders_of(6)  # the last two of three components


def test_reflections_turn_one_some_and_all():
    u = jax.random.uniform(jax.random.key(1), (2000, 3))
    signs = {tuple(one) for one in np.asarray(jax.vmap(lambda u: reflected(u, 4))(u)).tolist()}
    one = {tuple(1 - 2 * row) for row in np.eye(4)}
    assert one < signs and (-1.0,) * 4 in signs and (1.0, -1.0, -1.0, 1.0) in signs
    assert (1.0,) * 4 not in signs


def test_exchanges_of_a_tree_are_joint_and_alone():
    tree = {"loading": jnp.zeros((3, 2)), "mean": jnp.zeros(3), "noise": jnp.zeros(())}
    rows = np.arange(6).reshape(3, 2)
    expected = [np.concatenate([rows[:, ::-1].ravel(), np.arange(6, 10)])]  # the axis of two
    for first, joint in itertools.product((0, 1), ((True, True), (True, False), (False, True))):
        order = np.arange(3)
        order[[first, first + 1]] = first + 1, first
        loading = rows[order] if joint[0] else rows
        mean = 6 + (order if joint[1] else np.arange(3))
        expected.append(np.concatenate([loading.ravel(), mean, [9]]))
    found = tree_exchanges(tree)
    assert found.shape == (7, 10)
    assert {tuple(one) for one in found.tolist()} == {tuple(one.tolist()) for one in expected}
    assert tree_exchanges(jnp.zeros(())).shape == (0, 1)
    many = tree_exchanges(jnp.zeros(3000))
    assert 0 < many.size <= 2**18


def test_images_of_points_are_exchanges_or_reflections():
    x = jnp.arange(1.0, 6.0)[None]
    found = np.asarray(images(jax.random.key(0), x, tree_exchanges(x[0]), 400))
    np.testing.assert_array_equal(np.sort(np.abs(found), axis=1), np.repeat(x, 400, axis=0))
    turned = np.any(found < 0, axis=1)
    assert 0.15 < np.mean(turned) < 0.35
    np.testing.assert_array_equal(np.abs(found[turned]), np.repeat(x, turned.sum(), axis=0))


@pytest.mark.parametrize("is_tree", [False, True])
def test_the_image_of_a_narrow_mode_is_found(is_tree):
    """Two labels, four parameters each: both modes in every search, though each is a needle."""
    place = {"a": jnp.array([-3.0, 5.0]), "b": jnp.array([4.0, -6.0]), "c": jnp.array([2.0, 7.0])}

    def distance2(x, y):
        return sum(jnp.sum((x[name] - y[name]) ** 2) for name in "abc")

    def density(x):
        if not is_tree:
            x = dict(zip("abc", x.reshape(3, 2), strict=True))
        turned = {name: leaf[::-1] for name, leaf in place.items()}
        both = jnp.stack([distance2(x, one) for one in (place, turned)])
        return jax.nn.logsumexp(-0.5 * both / 0.02**2)

    position = place if is_tree else jnp.concatenate(list(place.values()))
    flat = flatten(density, position)
    pilot = climbing_pilot(
        num_rounds=3,
        num_starts=16,
        num_iterations=12,
        num_candidates=32,
        num_chains=64,
        num_steps=2,
    )
    exchanges = tree_exchanges(position)
    run = jax.jit(lambda key: pilot(key, flat.logdensity_fn, flat.position, None, exchanges).points)
    for seed in range(4):
        first = np.asarray(run(jax.random.key(seed)))[:, 0]
        assert 0.2 < np.mean(first < 0) < 0.8
