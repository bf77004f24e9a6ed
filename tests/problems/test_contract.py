"""What holds for every problem: finite gradients, identity, precision, errors."""

import jax
import numpy as np
import pytest

from rdmc_jax import problems


def test_singular_points_have_finite_gradients():
    for problem, point in (
        (problems.rings(), np.zeros(2)),
        (problems.shells(3), np.array([3.5, 0.0, 0.0])),
        (problems.gmm40(dim=50), np.full(50, 1e4)),
        (problems.funnel(), np.append(-60.0, np.zeros(9))),
        (problems.galaxy(), problems.galaxy().position),
        (problems.galaxy(3, equal_variances=False), problems.galaxy(3, False).position),
        (problems.eggbox(), problems.eggbox().position),
    ):
        value, gradient = jax.jit(jax.value_and_grad(problem.logdensity_fn))(point)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((value, gradient)))


def test_shells_vanish_outside_of_the_prior():
    value, gradient = jax.value_and_grad(problems.shells(2).logdensity_fn)(np.array([7.0, 0.0]))
    assert value == -np.inf and np.all(gradient == 0.0)


def test_equal_calls_return_the_identical_problem():
    assert problems.gmm40() is problems.gmm40(2) is problems.gmm40(dim=2)
    assert problems.gmm40() is not problems.gmm40(50)
    assert problems.gaussian_scales((1.0, 2.0)) is problems.gaussian_scales(scales=(1.0, 2.0))


def test_precision_follows_the_default_and_the_input():
    def dtype(problem, position):
        return jax.eval_shape(problem.logdensity_fn, position).dtype

    every = (problems.gmm4, problems.exoplanet, problems.galaxy, problems.phi4_chain)
    with jax.enable_x64(False):
        assert problems.gmm4().position.dtype == np.float32
    with jax.enable_x64(True):
        for problem in (make() for make in every):
            double = problem.position
            single = jax.tree.map(lambda leaf: leaf.astype(np.float32), double)
            assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(double))
            assert dtype(problem, double) == np.float64
            assert dtype(problem, single) == np.float32
        draws = jax.eval_shape(lambda key: problems.gmm4().sample(key, 2), jax.random.key(0))
        assert draws.dtype == np.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: problems.gmm40(dim=3), "dim must be one of 2, 50, but got 3"),
        (lambda: problems.unequal_mixture(5), "dim must be one of 8, 20, but got 5"),
        (
            lambda: problems.concentric_spike(2, share=1.0),
            "share must lie between 0 and 1, but got 1.0",
        ),
        (lambda: problems.many_well(31), "num_pairs must be in 1..30, but got 31"),
        (lambda: problems.mixture_posterior(6), "num_components must be in 1..5, but got 6"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
