"""Every law that can be drawn exactly, held against its own density and its own modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from rdmc_jax import problems

NUM_DRAWS = 4000

DRAWN = [
    problems.gmm4(),
    problems.gmm8(),
    problems.gmm40(),
    problems.gmm40(dim=50),
    problems.two_modes(8),
    problems.unequal_mixture(8),
    problems.unequal_mixture(20),
    problems.spike_slab(4),
    problems.concentric_spike(5),
    problems.separation(3.0),
    problems.gaussian(2),
    problems.gaussian_scales(),
    problems.gaussian_rotated(5),
    problems.funnel(),
    problems.rings(),
    problems.rosenbrock(),
    problems.bananas(),
    problems.exoplanet(),
    problems.many_well(3),
    problems.phi4_chain(8),
    problems.mixture_posterior(3),
    problems.shells(2),
    problems.shells(5),
]


@pytest.fixture(scope="module", params=DRAWN, ids=lambda problem: problem.name)
def drawn(request):
    """One compiled program per problem: the example position and exact draws, with gradients."""
    problem = request.param

    @jax.jit
    def program(rng_key):
        drawn = problem.sample(rng_key, NUM_DRAWS)
        position = jax.tree.map(
            lambda example, rest: jnp.concatenate([jnp.asarray(example)[None], rest]),
            problem.position,
            drawn,
        )
        value, gradient = jax.vmap(jax.value_and_grad(problem.logdensity_fn))(position)
        mode = None if problem.mode_fn is None else jax.vmap(problem.mode_fn)(position)
        flat = jax.vmap(lambda tree: ravel_pytree(tree)[0])
        return flat(position), value, flat(gradient), mode

    position, value, gradient, mode = program(jax.random.key(7))
    assert value.dtype == jnp.result_type(float)
    for array in (position, value, gradient):
        assert np.all(np.isfinite(array))
    mode = None if mode is None else np.asarray(mode)[1:]
    return problem, np.asarray(position, float)[1:], np.asarray(gradient, float)[1:], mode


def within_four_standard_errors(terms, expected):
    error = terms.std(0, ddof=1) / np.sqrt(len(terms))
    np.testing.assert_array_less(np.abs(terms.mean(0) - expected), 4.0 * error + 1e-6)


def test_draws_have_the_structure_of_the_example_position(drawn):
    problem, *_ = drawn
    example = jax.eval_shape(lambda key: problem.sample(key, 3), jax.random.key(0))
    assert jax.tree.structure(example) == jax.tree.structure(problem.position)
    shapes = jax.tree.map(lambda leaf: (3, *leaf.shape), problem.position)
    assert jax.tree.map(lambda leaf: leaf.shape, example) == shapes


def test_score_has_mean_zero(drawn):
    _, _, gradient, _ = drawn
    within_four_standard_errors(gradient, 0.0)


def test_stein_identity_fixes_location_and_scale(drawn):
    # E[(x_i - c_i) d_j log p] = -1 where i = j and 0 elsewhere: wrong scales, signs and rotations
    # all show. Neighbouring pairs suffice.
    _, position, gradient, _ = drawn
    centered = position - position.mean(0)
    within_four_standard_errors(centered * gradient, -1.0)
    within_four_standard_errors(np.roll(centered, 1, axis=1) * gradient, 0.0)


def test_mode_weights_are_the_frequencies_of_draws(drawn):
    problem, _, _, mode = drawn
    if mode is None:
        assert problem.mode_weights is None
        return
    weights = problem.mode_weights
    assert np.all((mode >= 0) & (mode < len(weights)))
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)
    frequency = np.bincount(mode, minlength=len(weights)) / NUM_DRAWS
    # The Gaussian limit needs counts: the rare modes are judged together.
    rare = weights * NUM_DRAWS < 10.0
    weights, frequency = (np.append(a[~rare], a[rare].sum()) for a in (weights, frequency))
    error = np.sqrt(weights * (1.0 - weights) / NUM_DRAWS)
    np.testing.assert_array_less(np.abs(frequency - weights), 4.0 * error + 1e-3)
