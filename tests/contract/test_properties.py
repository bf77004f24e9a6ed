"""Laws that hold for trees of any structure, numbers of any size and weights of any shift."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rdmc_jax.diffusion.estimators.importance import self_normalised
from rdmc_jax.montecarlo.resampling import multinomial, systematic
from rdmc_jax.montecarlo.weights import (
    kl_bound,
    log_mean_exp,
    log_normalizer_error,
    pareto_k,
    tv_bound,
    weight_ess,
)
from rdmc_jax.target.bijections import box, half_line, unconstrained
from rdmc_jax.target.flat import (
    bind,
    dimension,
    from_standard,
    log_det,
    ravel_ensemble,
    standardised,
    to_standard,
)

few = settings(max_examples=20, deadline=None, derandomize=True, database=None)
SCALES = st.integers(-20, 20).map(lambda k: 2.0**k)
"""1e-6 ... 1e6; powers of two, by which products are exact."""
UNIT = st.floats(-1.0, 1.0, width=32, allow_subnormal=False)


@st.composite
def leaves(draw, dtypes):
    shape = draw(st.sampled_from([(), (1,), (2,), (2, 1)]))
    dtype = draw(st.sampled_from(dtypes))
    return (draw(hnp.arrays(np.float32, shape, elements=UNIT)) * draw(SCALES)).astype(dtype)


def trees(*dtypes):
    """Positions: lists, tuples and dicts within each other, with one to five arrays."""

    def around(children):
        names = st.sampled_from(["b", "a", "sigma"])
        several = st.lists(children, min_size=1, max_size=2)
        return several | several.map(tuple) | st.dictionaries(names, children, min_size=1)

    return st.recursive(leaves(dtypes), around, max_leaves=5)


def assert_same_tree(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(a, b)


def check_border(tree):
    seen = []

    def density(position):
        seen.append(position)
        return jnp.zeros(())

    flat = bind(density, tree)
    assert flat.position.shape == (dimension(tree),)
    assert_same_tree(flat.unravel(flat.position), tree)
    flat.logdensity_fn(flat.position)
    assert_same_tree(seen[0], tree)  # what the user's density is given
    twice = jax.tree.map(lambda leaf: np.stack([leaf, -leaf]), tree)
    rows = ravel_ensemble(twice)
    np.testing.assert_array_equal(rows, np.stack([flat.position, -flat.position]))


@few
@given(trees(np.float32))
def test_trees_come_back_from_the_border(tree):
    check_border(tree)


@few
@given(trees(np.float32, np.float64))
def test_trees_of_both_precisions_come_back_from_the_border(tree):
    with jax.enable_x64(True):
        check_border(tree)


@few
@given(
    st.tuples(hnp.arrays(np.float32, (3,), elements=UNIT), SCALES),
    hnp.arrays(np.int64, (3,), elements=st.integers(-20, 20)),
    hnp.arrays(np.float32, (3, 3), elements=UNIT),
    hnp.arrays(np.float32, (2, 3), elements=UNIT),
)
def test_standardised_coordinates_go_there_and_back(location, exponent, mixing, u):
    location = jnp.asarray(location[0] * location[1])
    width = (2.0**exponent).astype(np.float32)
    matrix = width[:, None] * (np.eye(3, dtype=np.float32) + 0.2 * mixing)
    for scale in (jnp.asarray(width), jnp.asarray(matrix)):
        x = from_standard(location, scale, u)
        # what rounding x costs, in units of each coordinate
        lost = np.max(np.abs(x) / width[None, :]) + 1
        close = to_standard(location, scale, x)
        np.testing.assert_allclose(close, u, atol=20 * np.finfo(np.float32).eps * lost)
        full = np.asarray(scale, float)
        expected = np.linalg.slogdet(full if full.ndim == 2 else np.diag(full))[1]
        np.testing.assert_allclose(log_det(scale), expected, rtol=1e-5, atol=1e-5)
        value = standardised(lambda y: y[0] / width[0], location, scale)(u[0])
        terms = [expected, float(x[0, 0]) / width[0]]
        room = 1e-5 * (1 + sum(map(abs, terms)) + lost)
        np.testing.assert_allclose(value, sum(terms), atol=room)


averaged = jax.jit(self_normalised)
POINTS = hnp.arrays(np.float32, (8, 2), elements=UNIT)
LOG_WEIGHTS = hnp.arrays(np.float32, (8,), elements=st.floats(-3.0, 3.0, width=32))


@few
@given(POINTS, LOG_WEIGHTS, SCALES, st.floats(-60.0, 60.0, width=32))
def test_moments_scale_with_the_points_and_not_with_the_weights(points, log_weight, scale, shift):
    scale = np.float32(scale)
    once, scaled = averaged(points, log_weight), averaged(scale * points, log_weight)
    np.testing.assert_allclose(scaled.mean, scale * once.mean, rtol=1e-6, atol=1e-30)
    # squares of the smallest points are zero in single precision
    room = {"rtol": 1e-6, "atol": 1e-30}
    np.testing.assert_allclose(scaled.variance, scale**2 * once.variance, **room)
    shifted = averaged(points, log_weight + np.float32(shift))
    np.testing.assert_allclose(shifted.log_sum - shift, once.log_sum, atol=3e-5)
    np.testing.assert_allclose(shifted.ess, once.ess, rtol=1e-4)
    np.testing.assert_allclose(shifted.mean, once.mean, atol=1e-4)
    swapped = averaged(points[::-1], log_weight[::-1])
    np.testing.assert_allclose(swapped.variance, once.variance, rtol=1e-4, atol=1e-6)


NUM_KEYS, NUM_SAMPLES = 400, 23


@jax.jit
def counts(log_weight):
    """Of each of 8 candidates, for many keys."""

    def one(key, scheme):
        index = scheme(key, log_weight, NUM_SAMPLES)
        return jnp.sum(index[:, None] == jnp.arange(8)[None, :], axis=0)

    keys = jax.random.split(jax.random.key(7), NUM_KEYS)
    schemes = (systematic, multinomial)
    return [jax.vmap(lambda key, s=scheme: one(key, s))(keys) for scheme in schemes]


@few
@given(
    hnp.arrays(np.float32, (8,), elements=st.floats(-30.0, 3.0, width=32) | st.just(-np.inf)),
    st.floats(-1e3, 1e3, width=32),
)
def test_resampling_is_unbiased_for_any_weights(log_weight, shift):
    log_weight[0] = max(log_weight[0], -1.0)  # some weight is not zero
    weight = np.exp(log_weight.astype(float))
    expected = NUM_SAMPLES * weight / weight.sum()
    systematic, multinomial = (
        np.asarray(one) for one in counts(log_weight + np.float32(round(shift)))
    )
    # rounding of the shifted weights
    slack = NUM_SAMPLES * 1e-3
    assert np.all(systematic >= np.floor(expected - slack))
    assert np.all(systematic <= np.ceil(expected + slack))
    assert np.all(systematic.sum(1) == NUM_SAMPLES) and np.all(multinomial.sum(1) == NUM_SAMPLES)
    fraction = expected - np.floor(expected)
    share = expected / NUM_SAMPLES
    for found, variance in (
        (systematic, fraction * (1 - fraction)),
        (multinomial, NUM_SAMPLES * share * (1 - share)),
    ):
        error = np.sqrt(variance / NUM_KEYS)
        # 20 examples of 8 counts each: five standard errors; a rare candidate adds its own
        assert np.all(np.abs(found.mean(0) - expected) < 5 * error + slack)
        assert np.all(found[:, weight == 0] == 0)


@few
@given(st.floats(-10.0, 10.0, width=32), SCALES, hnp.arrays(np.float32, (3,), elements=UNIT))
def test_jacobians_of_bijections_are_those_of_their_maps(offset, width, u):
    low = np.float32(offset * width)
    u = jnp.asarray(6 * u)
    for least, bijection in ((low, box(low, low + width)), (offset, half_line(offset))):
        x = bijection.forward(u)
        assert np.all(x > np.float32(least))
        assert bijection.forward_log_det_jacobian(u).shape == ()
        order = np.argsort(u)
        assert np.all(np.diff(np.asarray(x)[order]) >= 0)
        # autodiff of the map, where it is not rounded to its edges
        slope = jax.vmap(jax.grad(bijection.forward))(u)
        expected = np.sum(np.log(np.asarray(slope, float)))
        np.testing.assert_allclose(bijection.forward_log_det_jacobian(u), expected, atol=2e-3)
        pulled = unconstrained(lambda y: jnp.zeros(()), bijection)(u)
        np.testing.assert_allclose(pulled, expected, atol=2e-3)
    assert np.all(half_line(low).forward(u) > low)
    # there and back, by the inverse of the formula
    x = np.asarray(box(0.0, width).forward(u), float) / width
    np.testing.assert_allclose(np.log(x) - np.log1p(-x), u, atol=1e-3)
    np.testing.assert_allclose(np.log(half_line().forward(u)), u, atol=1e-5)


MEASURES = {
    "ess": weight_ess,
    "total variation": tv_bound,
    "divergence": kl_bound,
    "tail": pareto_k,
    "error": lambda w: log_normalizer_error(w, np.arange(w.size) % 4),
}


@few
@given(
    hnp.arrays(np.float64, (40,), elements=st.floats(-20.0, 5.0, width=32)),
    st.floats(-1e5, 1e5, width=32),
)
def test_no_measure_of_weights_knows_their_size(log_weight, shift):
    log_weight = log_weight + 1e-3 * np.arange(40)  # ties have no tail
    moved = log_weight + shift
    gap = log_mean_exp(moved) - log_mean_exp(log_weight)
    assert gap == pytest.approx(shift, abs=1e-9 * max(1, abs(shift)))
    assert 1 - 1e-9 <= weight_ess(log_weight) <= 40 + 1e-9
    assert 0 <= tv_bound(log_weight) <= 1
    for name, measure in MEASURES.items():
        assert measure(moved) == pytest.approx(measure(log_weight), rel=1e-5, abs=1e-6), name
