"""The composed sampler: its protocol, its refusals and its unweighted draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.util import run_inference_algorithm
from targets import Gaussian, assert_mean, exact_estimator, pool_of, run_compiled

import rdmc_jax as rj
from rdmc_jax.target.flat import ravel_ensemble

TARGET = Gaussian((0.5, -0.3), (0.4, 1.6), 1.1)
POSITION = {"a": jnp.zeros(()), "b": {"c": jnp.zeros((2,)), "d": jnp.zeros((1,))}}
TREE_MEAN, TREE_SCALE = 0.4, 0.7


def tree_density(tree):
    """Independent normals with mean 0.4 and deviation 0.7 in every coordinate; Z = e^0.5."""
    flat = jnp.concatenate([tree["a"][None], tree["b"]["c"], tree["b"]["d"]])
    z = (flat - TREE_MEAN) / TREE_SCALE
    return 0.5 - jnp.sum(0.5 * z**2 + jnp.log(TREE_SCALE) + 0.5 * jnp.log(2 * jnp.pi))


def small(num_particles=256, num_levels=6, finish=None):
    return rj.rdmc(
        rj.samplers.gaussian_start(num_particles=num_particles),
        rj.samplers.levels(
            rj.diffusion.log_snr_grid(num_levels, low=-3.0, high=3.0),
            rj.estimators.importance(num_samples=64, reference_scale=2.0),
        ),
        rj.samplers.gaussian_finish() if finish is None else finish,
    )


@pytest.fixture(scope="module")
def history():
    sampler = small(1024)(tree_density)
    return sampler, run_inference_algorithm(
        jax.random.key(61),
        sampler,
        sampler.num_steps,
        initial_position=POSITION,
    )


def test_runs_under_blackjax_with_tree_positions(history):
    sampler, (state, (states, info)) = history
    assert sampler.num_steps == 7
    assert jax.tree.structure(state.position) == jax.tree.structure(POSITION)
    shapes = jax.tree.map(lambda leaf: (1024, *leaf.shape), POSITION)
    assert jax.tree.map(jnp.shape, state.position) == shapes
    assert states.log_weight.shape == (7, 1024) and info.log_snr.shape == (7,)


def test_weighted_draws_and_normalizer_are_those_of_the_target(history):
    _, (state, _) = history
    weight = np.exp(np.asarray(state.log_weight, float) - 0.5)
    assert_mean(weight, 1.0, errors=3.5)
    assert weight.std() / np.sqrt(len(weight)) < 0.04
    flat = np.asarray(ravel_ensemble(state.position), float)
    assert_mean(weight[:, None] * (flat - TREE_MEAN), 0.0)
    assert_mean(weight[:, None] * (flat - TREE_MEAN) ** 2, TREE_SCALE**2)


def test_info_tells_levels_and_evaluations(history):
    _, (_, (_, info)) = history
    np.testing.assert_allclose(info.log_snr[:6], np.linspace(-3.0, 2.0, 6), atol=1e-4)
    np.testing.assert_allclose(info.log_snr[6], 3.0, atol=1e-4)
    expected = [1024 * 64] * 6 + [1024 * 65]
    np.testing.assert_array_equal(info.num_evals.logdensity, expected)
    np.testing.assert_array_equal(info.num_evals.gradient, 0)
    np.testing.assert_array_equal(info.num_nonfinite, 0)
    assert np.all(np.asarray(info.ess_low) <= np.asarray(info.ess_median))


@pytest.mark.parametrize(
    ("transition", "num_levels", "slack"),
    [
        (rj.diffusion.exponential(), 160, 0.03),
        (rj.diffusion.moment_matched(), 8, 0.0),
        (rj.diffusion.bridge(), 8, 0.0),
    ],
)
def test_unweighted_draws_have_the_variance_of_the_target(transition, num_levels, slack):
    # a score step off by a factor 2 changes the variance by tens of percent
    method = rj.rdmc(
        rj.samplers.gaussian_start(num_particles=10000),
        rj.samplers.levels(
            rj.diffusion.time_grid(num_levels, horizon=4.0, end=0.02),
            exact_estimator(TARGET),
            transition,
        ),
        rj.samplers.identity_finish(),
    )
    key = jax.random.key(62)
    _, last, _ = run_compiled(method, TARGET.logdensity, jnp.zeros(2), key)
    draws = np.asarray(last.position, float)
    noise = np.expm1(2 * 0.02)  # what the identity finish leaves on the draws
    assert_mean(draws, TARGET.mean, slack=0.01)
    variance = np.asarray(TARGET.variance) + noise
    assert_mean((draws - np.asarray(TARGET.mean)) ** 2, variance, slack=slack * variance + 1e-3)


def test_only_a_transition_that_needs_a_draw_is_given_one():
    @rj.types.record
    class undrawn(exact_estimator):
        def draw(self, rng_key, state):
            raise NotImplementedError

    def first_step(transition):
        times = rj.diffusion.log_snr_grid(2)
        method = rj.rdmc(
            rj.samplers.gaussian_start(num_particles=4),
            rj.samplers.levels(times, undrawn(TARGET), transition),
            rj.samplers.identity_finish(),
        )
        sampler = method(TARGET.logdensity)
        state = sampler.init(jnp.zeros(2), jax.random.key(0))
        return jax.eval_shape(sampler.step, jax.random.key(1), state)

    first_step(rj.diffusion.moment_matched())
    with pytest.raises(NotImplementedError):
        first_step(rj.diffusion.bridge())


def test_langevin_start_draws_the_noised_target_and_gives_no_weight():
    start = rj.samplers.langevin_start(
        exact_estimator(TARGET), num_particles=20000, num_steps=60, step_size=0.05
    )
    process, t = rj.diffusion.ornstein_uhlenbeck(), 0.5

    @jax.jit
    def program(key):
        return start.sample(key, TARGET.logdensity, process, t, pool_of(np.zeros((1, 2))))

    drawn = program(jax.random.key(63))
    assert drawn.log_density is None
    mean, variance = (np.asarray(a, float) for a in TARGET.noised(process, t))
    assert_mean(drawn.x, mean, slack=0.01)
    # the unadjusted chain widens the variance by the factor 1/(1 - h/(2 v))
    widened = variance / (1 - 0.05 / (2 * variance))
    assert_mean((np.asarray(drawn.x) - mean) ** 2, widened, slack=0.02)
    np.testing.assert_allclose(drawn.time, t)


def test_langevin_start_counts_its_evaluations():
    start = rj.samplers.langevin_start(
        rj.estimators.importance(num_samples=4), num_particles=8, num_steps=3, step_size=0.1
    )
    known, process = pool_of(np.zeros((1, 2))), rj.diffusion.ornstein_uhlenbeck()
    sample = jax.jit(lambda key: start.sample(key, TARGET.logdensity, process, 0.7, known))
    assert sample(jax.random.key(0)).num_evals.logdensity == 8 * 4 * 3


def test_gaussian_start_knows_its_density():
    start = rj.samplers.gaussian_start(num_particles=5, scale=1.7)
    process = rj.diffusion.ornstein_uhlenbeck()
    drawn = start.sample(
        jax.random.key(0), TARGET.logdensity, process, 0.7, pool_of(np.zeros((1, 3)))
    )
    assert drawn.x.shape == (5, 3)
    z2 = np.sum((np.asarray(drawn.x) / 1.7) ** 2, axis=1)
    expected = -0.5 * z2 - 3 * np.log(1.7) - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(drawn.log_density, expected, rtol=1e-5)
    np.testing.assert_allclose(drawn.time, 0.7)


def test_identity_is_refused_behind_a_start_that_stops_adaptively():
    start = rj.samplers.noised_pool(num_particles=8)
    with pytest.raises(ValueError, match="identity finish"):
        rj.rdmc(start, finish=rj.samplers.identity_finish())
    rj.rdmc(start, finish=rj.samplers.gaussian_finish())


def test_init_without_a_key_is_refused():
    with pytest.raises(ValueError, match="with a key"):
        small()(TARGET.logdensity).init(jnp.zeros(2))


def test_init_checks_the_position_and_the_density():
    with pytest.raises(TypeError, match="dtype int32"):
        small()(TARGET.logdensity).init(jnp.zeros(2, jnp.int32), jax.random.key(0))
    with pytest.raises(TypeError, match="must return a scalar"):
        small()(lambda x: x).init(jnp.zeros(2), jax.random.key(0))


@pytest.mark.parametrize(
    "make", [rj.samplers.gaussian_start, lambda num_particles: small(num_particles)]
)
def test_an_ensemble_of_none_is_refused(make):
    with pytest.raises(ValueError, match="at least 1"):
        make(num_particles=0)


def test_runs_repeat_by_key_and_follow_the_data():
    method, shift = small(1024, 3), jnp.asarray([0.3, -0.2])

    @jax.jit
    def program(key, data):
        sampler = method(lambda x, data: TARGET.logdensity(x - data), data=data)
        init_key, run_key = jax.random.split(key)
        keys = jax.random.split(run_key, sampler.num_steps)
        first = sampler.init(jnp.zeros(2), init_key)
        return jax.lax.scan(lambda state, key: sampler.step(key, state), first, keys)[0]

    one, same = (program(jax.random.key(1), shift) for _ in range(2))
    np.testing.assert_array_equal(one.log_weight, same.log_weight)
    other = program(jax.random.key(2), shift)
    assert np.all(np.asarray(one.log_weight) != np.asarray(other.log_weight))
    for state, data in ((one, shift), (program(jax.random.key(1), 0 * shift), 0 * shift)):
        weight = np.exp(np.asarray(state.log_weight, float) - TARGET.log_normalizer)
        assert_mean(weight, 1.0)
        mean = np.asarray(TARGET.mean) + np.asarray(data)
        assert_mean(weight[:, None] * (np.asarray(state.position) - mean), 0.0)


def test_a_half_space_of_zero_density_loses_no_mass_and_makes_no_nan():
    def fn(x):
        return jnp.where(x[0] > TARGET.mean[0], TARGET.logdensity(x), jnp.nan)

    method = small(4096, 4)
    _, last, info = run_compiled(method, fn, jnp.zeros(2), jax.random.key(7))
    log_weight = np.asarray(last.log_weight, float)
    assert not np.any(np.isnan(log_weight))
    assert int(np.sum(info.num_nonfinite)) > 0
    assert_mean(np.exp(log_weight - TARGET.log_normalizer), 0.5)
    assert np.all(np.asarray(last.position)[log_weight > -np.inf, 0] > TARGET.mean[0])


def test_double_precision_is_kept_where_it_is_asked_for():
    with jax.enable_x64(True):
        method = small(8, 2, rj.samplers.annealed_finish(num_temperatures=2, num_pilot=4))
        position = jnp.zeros(2, jnp.float64)
        _, last, _ = run_compiled(method, TARGET.logdensity, position, jax.random.key(0))
        assert last.position.dtype == last.log_weight.dtype == jnp.float64
