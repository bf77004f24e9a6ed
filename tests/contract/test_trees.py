"""Positions of any structure and precision come back as they were given."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from targets import CALLS, CHEAP_METHOD, TREE_KNOWN, TREE_POSITION, tree_density, tree_run

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


def test_resampled_trees_are_trees_with_the_same_means(tree_draws):
    # weights that are far from equal, and alike in all replicates
    ramp = np.random.default_rng(0).permutation(np.linspace(-2.0, 1.0, 300, dtype=np.float32))
    deep = {"z": (tree_draws.position, [ramp.astype(np.float16)]), "a": {"one": ramp[:, None]}}
    d = dataclasses.replace(tree_draws, position=deep, log_weight=ramp)
    for count in (None, 2000, 7):
        again = d.resample(jax.random.key(5), count)
        assert jax.tree.structure(again.position) == jax.tree.structure(deep)
        leaves = zip(jax.tree.leaves(again.position), jax.tree.leaves(deep), strict=True)
        for leaf, source in leaves:
            assert leaf.dtype == source.dtype
            assert leaf.shape == (count or 300, *source.shape[1:])
        np.testing.assert_array_equal(again.weights, 1 / (count or 300))
        # every leaf has been indexed alike
        one, two = again.position["z"][1][0], again.position["a"]["one"]
        np.testing.assert_array_equal(one, np.asarray(two)[:, 0].astype(np.float16))
    mean, error = d.expectation(lambda tree: tree)
    found, _ = d.resample(jax.random.key(5), 2000).expectation(lambda tree: tree)
    for a, b, width in zip(*map(jax.tree.leaves, (found, mean, error)), strict=True):
        # the noise of 2,000 teeth of a comb is less than that of 300 weighted draws
        assert np.all(np.abs(a - b) < width)
    gap = mean["a"]["one"] - np.mean(ramp)
    assert np.all(gap > 10 * error["a"]["one"])  # the weights matter


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
        plan = rj.plan(dim=4)
        result = jax.eval_shape(
            lambda key: rj.core(key, tree_density, position, plan=plan), jax.random.key(0)
        )
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(result.position))
    assert result.log_weight.dtype == dtype
