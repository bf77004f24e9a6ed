"""Positions of any structure and precision come back as they were given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from api_targets import CALLS, CHEAP_METHOD, TREE_KNOWN, TREE_POSITION, tree_density, tree_run

import rdmc_jax as rj


def test_nested_trees_with_scalars_come_back_with_a_leading_axis(tree_draws):
    assert jax.tree.structure(tree_draws.position) == jax.tree.structure(TREE_POSITION)
    shapes = jax.tree.map(jnp.shape, tree_draws.position)
    assert shapes == {"mu": (300,), "rest": [(300, 1), {"b": (300, 2, 1)}]}
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(tree_draws.position))


def test_expectations_of_trees(tree_draws):
    mean, error = tree_draws.expectation(lambda tree: tree)
    assert jax.tree.structure(mean) == jax.tree.structure(TREE_POSITION)
    assert mean["rest"][1]["b"].shape == (2, 1)
    for one, width in zip(jax.tree.leaves(mean), jax.tree.leaves(error), strict=True):
        assert np.all(np.abs(one - 300.0) < 4 * width)
    assert abs(tree_draws.log_normalizer - 1.0) < 4 * tree_draws.log_normalizer_error + 0.02


def test_double_precision_stays_double():
    with jax.enable_x64(True):
        position = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), TREE_POSITION)
        d = rj.sample(jax.random.key(4), tree_density, position, 256, method=CHEAP_METHOD)
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(d.position))
        assert d.log_weight.dtype == jnp.float64
        assert abs(d.log_normalizer - 1.0) < 4 * d.log_normalizer_error + 0.02
        mean, error = d.expectation(lambda tree: tree["mu"])
        assert abs(mean - 300.0) < 4 * error


def test_scalars_of_python_and_arrays_share_a_program(tree_draws):
    before = dict(CALLS)
    again = tree_run(jax.tree.map(jnp.asarray, jax.tree.map(np.float32, TREE_POSITION)))
    assert before == CALLS
    np.testing.assert_array_equal(again.log_weight, tree_draws.log_weight)


def test_known_positions_that_are_not_finite(tree_draws):
    known = {**TREE_KNOWN, "mu": np.array([300.0, np.nan])}
    with pytest.raises(ValueError, match=r"known_positions.*mu.*nan"):
        tree_run(known=known)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_precision_follows_the_position_when_both_are_enabled(dtype):
    with jax.enable_x64(True):
        position = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), TREE_POSITION)
        plan = rj.make_plan(dim=4)
        result = jax.eval_shape(
            lambda key: rj.core(key, tree_density, position, plan=plan), jax.random.key(0)
        )
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(result.position))
    assert result.log_weight.dtype == dtype
