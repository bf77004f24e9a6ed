"""Weighted moments: merging is concatenation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rdmc_jax import moments

SIZES = (1, 3, 5)
LOG_WEIGHT = st.one_of(
    st.just(-np.inf), st.floats(-700.0, 700.0, width=32), st.floats(-2.0, 2.0, width=32)
)
POSITION = st.floats(-100.0, 100.0, width=32, allow_subnormal=False)
BATCHES = st.tuples(
    *(
        st.tuples(
            hnp.arrays(np.float32, (size, 2), elements=POSITION),
            hnp.arrays(np.float32, (size,), elements=LOG_WEIGHT),
        )
        for size in SIZES
    )
)
from_samples = jax.jit(moments.from_samples)
merge = jax.jit(moments.merge)


def reference(positions, log_weight):
    """The same statistics in double precision, from the points."""
    positions, log_weight = positions.astype(float), log_weight.astype(float)
    top = log_weight.max()
    weight = np.exp(log_weight - top) if top > -np.inf else np.ones_like(log_weight)

    def under(w):
        mean = np.average(positions, axis=0, weights=w)
        return mean, np.average((positions - mean) ** 2, axis=0, weights=w)

    if top == -np.inf:
        return -np.inf, 0.0, *under(weight), np.zeros(2)
    mean, variance = under(weight)
    share = weight / weight.sum()
    error = np.sqrt(np.sum((share[:, None] * (positions - mean)) ** 2, axis=0))
    return top + np.log(weight.sum()), 1 / np.sum(share**2), mean, variance, error


def assert_agree(sums, expected):
    log_sum, ess, mean, variance, error = expected
    np.testing.assert_allclose(sums.log_weight_sum, log_sum, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moments.ess(sums), ess, rtol=2e-3)
    np.testing.assert_allclose(sums.mean, mean, rtol=1e-3, atol=5e-2)
    np.testing.assert_allclose(sums.variance, variance, rtol=1e-2, atol=1e-1)
    if ess > 0:
        np.testing.assert_allclose(moments.standard_error(sums), error, rtol=1e-2, atol=1e-1)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(BATCHES)
def test_merge_is_concatenation_associative_and_commutative(batches):
    a, b, c = (from_samples(positions, log_weight) for positions, log_weight in batches)
    positions = np.concatenate([one[0] for one in batches])
    log_weight = np.concatenate([one[1] for one in batches])
    expected = reference(positions, log_weight)
    assert_agree(from_samples(positions, log_weight), expected)
    if not np.any(log_weight > -np.inf):
        return
    for merged in (merge(merge(a, b), c), merge(a, merge(b, c)), merge(merge(c, a), b)):
        assert_agree(merged, expected)


def test_merge_of_batches_without_weight_is_concatenation():
    a = from_samples(jnp.zeros((1, 1)), jnp.full(1, -jnp.inf))
    b = from_samples(jnp.ones((3, 1)), jnp.full(3, -jnp.inf))
    merged = merge(a, b)
    np.testing.assert_allclose(merged.mean, [0.75])
    assert moments.ess(merged) == 0.0


def test_second_moments_survive_an_offset_and_a_merge():
    rng = np.random.default_rng(0)
    positions = (1e3 + rng.normal(size=(4, 50, 1))).astype(np.float32)
    log_weight = (80 + rng.normal(size=(4, 50))).astype(np.float32)
    sums = from_samples(positions[0], log_weight[0])
    for k in range(1, 4):
        sums = merge(sums, from_samples(positions[k], log_weight[k]))
    _, ess, mean, variance, error = reference(positions.reshape(-1, 1), log_weight.reshape(-1))
    np.testing.assert_allclose(sums.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(sums.variance, variance, rtol=5e-3)
    np.testing.assert_allclose(moments.standard_error(sums), error, rtol=5e-3)
    np.testing.assert_allclose(moments.ess(sums), ess, rtol=2e-3)


def test_standard_error_is_that_of_the_self_normalised_mean():
    # scatter of many independent means against the error that each of them claims
    keys = jax.random.split(jax.random.key(0), 2000)

    @jax.jit
    @jax.vmap
    def one(key):
        y = jax.random.normal(key, (200, 1))
        sums = moments.from_samples(y, 0.8 * y[:, 0])
        return sums.mean[0], moments.standard_error(sums)[0]

    mean, error = one(keys)
    assert np.std(mean) == pytest.approx(float(jnp.sqrt(jnp.mean(error**2))), rel=0.08)
    np.testing.assert_allclose(np.mean(mean), 0.8, atol=0.02)
