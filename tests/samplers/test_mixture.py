"""Mixture draws: exact for any mixture, and what the fit makes of a pool."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from targets import assert_mean, normalizer_estimates, pool_of, run_compiled
from wrong_pools import TARGET, fixed_generator, fixed_pool

import rdmc_jax as rj
from rdmc_jax.diffusion.mixture import joined, log_densities, mixture_of
from rdmc_jax.montecarlo.kernels import random_walk
from rdmc_jax.montecarlo.weights import log_mean_exp, log_normalizer_error, weight_ess
from rdmc_jax.samplers import candidates, mixture
from rdmc_jax.types import Laplace

NUM = 20_000
Z = np.exp(TARGET.log_normalizer)
SHARE = np.array([0.5, 0.3, 0.2])
MEAN = np.array([[-1.0, 0.0], [1.5, 0.5], [0.0, 0.0]])
FACTOR = np.array([[[1.0, 0.0], [0.3, 0.9]], [[0.8, 0.0], [-0.4, 1.1]], [[0.3, 0.0], [0.0, 0.2]]])
"""Two wide components in the wrong places, and a narrow one where the target has little mass."""
POOR = mixture_of(jnp.asarray(MEAN, jnp.float32), jnp.asarray(FACTOR, jnp.float32))
POOR = POOR._replace(log_share=jnp.log(jnp.asarray(SHARE, jnp.float32)))
FINISHES = {
    "one": (candidates(), 1, 0),
    "four": (candidates(4), 4, 0),
    "temperatures": (candidates(2, num_temperatures=4), 2, 4),
    "no gradient": (candidates(num_temperatures=12, kernel=random_walk), 1, 12),
}


def drawn_from(fitted, finish, num=NUM, seed=0, logdensity_fn=TARGET.logdensity):
    """Draws of a mixture that is fixed."""
    dim = fitted.mean.shape[1]

    @jax.jit
    def program(key):
        x, t = jnp.zeros((num, dim)), jnp.zeros(num)
        process = rj.diffusion.variance_exploding()
        return finish.sample(key, logdensity_fn, process, x, t, fitted)

    return program(jax.random.key(seed))


def log_poor(x):
    covariance = FACTOR @ np.swapaxes(FACTOR, 1, 2)
    terms = [stats.multivariate_normal(MEAN[k], covariance[k]).pdf(x) for k in range(3)]
    return np.log(SHARE @ np.stack(terms))


@pytest.fixture(scope="module", params=FINISHES)
def finished(request):
    finish, *sizes = FINISHES[request.param]
    return drawn_from(POOR, finish), request.param, *sizes


def test_mean_weight_is_the_normalizer_of_the_target(finished):
    weight = np.exp(np.asarray(finished[0].log_weight, float)) / Z
    assert weight.std() / np.sqrt(NUM) < 0.015
    assert_mean(weight, 1.0)


def test_candidates_are_chosen_so_that_weighted_moments_are_the_target_s(finished):
    weight = np.exp(np.asarray(finished[0].log_weight, float)) / Z
    x, share = np.asarray(finished[0].position, float), np.asarray(TARGET.weight)
    means, variances = np.asarray(TARGET.mean), np.asarray(TARGET.variance)
    assert_mean(weight[:, None] * x, share @ means)
    assert_mean(weight[:, None] * x**2, share @ (means**2 + variances))


def test_evaluations_of_candidates_are_counted(finished):
    drawn, name, count, num_temperatures = finished
    pilot, looks = (64, NUM) if num_temperatures else (0, 0)
    looks = 0 if name == "no gradient" else looks
    expected = count * ((num_temperatures + 1) * (NUM + pilot) + looks)
    gradients = expected if name == "temperatures" else 0
    assert drawn.num_evals == (expected, gradients) and drawn.num_nonfinite == 0


def test_a_weight_has_the_whole_mixture_in_its_denominator():
    drawn = drawn_from(POOR, candidates(), num=500)
    y = np.asarray(drawn.position, float)
    expected = np.asarray(jax.vmap(TARGET.logdensity)(drawn.position)) - log_poor(y)
    np.testing.assert_allclose(drawn.log_weight, expected, atol=1e-3)
    # the own component alone would be another weight, and what follows another variance
    assert np.std(expected) > 0.5


def test_the_variance_of_weights_is_the_divergence_and_falls_like_the_candidates():
    cell = 0.02
    axis = np.arange(-6.0, 6.0, cell)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=2).reshape(-1, 2)
    log_p = np.asarray(jax.jit(jax.vmap(TARGET.logdensity))(jnp.asarray(points, jnp.float32)))
    log_p = np.asarray(log_p, float) - TARGET.log_normalizer
    divergence = np.sum(np.exp(2 * log_p - log_poor(points))) * cell**2 - 1
    assert divergence > 1.0
    for count in (1, 4, 16):
        drawn = drawn_from(POOR, candidates(count), num=NUM // count)
        weight = np.exp(np.asarray(drawn.log_weight, float)) / Z
        assert_mean(count * (weight - 1) ** 2, divergence)


@pytest.mark.parametrize("kernel", [rj.kernels.mala, random_walk])
def test_annealing_is_exact_from_components_of_unlike_width(kernel):
    """Chains move in the coordinates of the component that they come from, fast or slow."""
    two = joined(  # one with a diagonal, one with a matrix
        mixture_of(jnp.zeros((1, 2)), jnp.asarray([[1.5, 1.5]])),
        mixture_of(jnp.zeros((1, 2)), jnp.asarray([[[0.3, 0.0], [0.1, 0.25]]])),
    )
    two = two._replace(log_share=two.log_share - jnp.log(2.0))

    def normal(x):
        return -0.5 * jnp.sum(x**2) - jnp.log(2 * jnp.pi)

    finish = candidates(num_temperatures=16, kernel=kernel)
    drawn = drawn_from(two, finish, logdensity_fn=normal)
    weight = np.exp(np.asarray(drawn.log_weight, float))
    assert weight.std() / np.sqrt(NUM) < 0.006
    assert_mean(weight, 1.0)
    assert_mean(weight[:, None] * np.asarray(drawn.position, float) ** 2, 1.0)


def test_candidates_where_the_density_is_zero_have_no_weight_and_spread_no_nan():
    def half(x):
        return jnp.where(x[0] > 0, TARGET.logdensity(x), -jnp.inf)

    mass = TARGET.weight @ stats.norm.sf(0, [-1.3, 1.3], np.sqrt([0.5, 0.7]))
    for finish in (candidates(), candidates(3), candidates(2, num_temperatures=4)):
        drawn = drawn_from(POOR, finish, logdensity_fn=half)
        weight = np.exp(np.asarray(drawn.log_weight, float)) / Z
        assert np.all(np.isfinite(drawn.position)) and drawn.num_nonfinite > 0
        assert np.all(np.asarray(drawn.position)[weight > 0, 0] > 0)
        assert_mean(weight, mass)


FIT = mixture(num_particles=64, num_components=32, num_rounds=3, num_drawn=2000)


@pytest.fixture(scope="module")
def fitted():
    """A fit to a pool whose proportions are wrong."""
    program = jax.jit(lambda key: FIT.fit(key, TARGET.logdensity, fixed_pool()))
    return program(jax.random.key(3))


def test_a_fit_costs_what_it_draws_and_keeps_the_pool(fitted):
    assert fitted.pool.num_evals == (4 * 2000, 0) and fitted.pool.num_nonfinite == 0
    old, made = fixed_pool(), fitted.pool
    num = old.position.shape[0]
    np.testing.assert_array_equal(made.position[:num], old.position)
    assert made.position.shape == (num + 3 * 2000, 2)  # and the draws, which come from no source
    np.testing.assert_array_equal(made.source[num:], -1)
    share = np.exp(np.asarray(made.log_weight, float))
    np.testing.assert_allclose([share[:num].sum(), share[num:].sum()], [0.25, 0.75], atol=1e-3)
    assert fitted.fresh_log_weight.shape == (2 * 2000,)


def test_the_fitted_mixture_is_near_the_target_and_no_component_is_dropped(fitted):
    made = fitted.pool.mixture
    assert made.mean.shape == (3 * (32 + 16), 2) and made.factor.shape == (144, 2, 2)
    share = np.exp(np.asarray(made.log_share, float))
    np.testing.assert_allclose(share.sum(), 1.0, atol=1e-5)
    is_local = np.arange(144) % 48 < 32
    # half of the draws come from local ones alike, but for a tenth of them from wide ones
    assert np.all(share[is_local] > 0.999 * 0.45 / 96)
    assert np.all(share[~is_local] > 0.999 * 0.05 / 48)
    weight = np.exp(np.asarray(drawn_from(made, candidates()).log_weight, float)) / Z
    assert weight.var() < 0.3
    assert_mean(weight, 1.0)


def test_modes_that_take_turns_in_a_pool_are_all_fitted():
    """As known points of two modes may do: 100 of 800 points at equal steps are of one mode."""
    side = jnp.where(jnp.arange(800) % 2 == 0, -5.0, 5.0)
    x = side[:, None] + 0.5 * jax.random.normal(jax.random.key(1), (800, 1))
    local_gaussians = importlib.import_module("rdmc_jax.samplers.mixture").local_gaussians
    program = jax.jit(lambda key: local_gaussians(key, pool_of(x), 100).mean[:, 0] > 0)
    for seed in range(4):
        assert abs(np.mean(program(jax.random.key(seed))) - 0.5) < 4 * 0.5 / np.sqrt(100)


def test_fresh_weights_are_those_of_draws_of_the_final_mixture(fitted):
    fresh = np.exp(np.asarray(fitted.fresh_log_weight, float)) / Z
    assert_mean(fresh, 1.0)
    drawn = drawn_from(fitted.pool.mixture, candidates())
    weight = np.exp(np.asarray(drawn.log_weight, float)) / Z
    for power in (1, 2):
        gap = np.mean(fresh**power) - np.mean(weight**power)
        error = np.hypot(np.std(fresh**power) / np.sqrt(4000), np.std(weight**power) / np.sqrt(NUM))
        assert abs(gap) < 4 * error
    share = (
        weight_ess(np.asarray(fitted.fresh_log_weight, float)) / 4000,
        weight_ess(np.asarray(drawn.log_weight, float)) / NUM,
    )
    assert abs(share[0] / share[1] - 1) < 0.1


def test_mean_weight_is_the_normalizer_however_small_the_fit():
    start = mixture(num_particles=32, num_components=8, num_rounds=2, num_drawn=32)
    method = rj.rdmc(start, finish=candidates(2), pool=fixed_generator)
    num_runs = 200
    estimates = normalizer_estimates(
        method, TARGET.logdensity, jnp.zeros(2), jax.random.key(72), num_runs
    )
    ratio = estimates / Z
    assert ratio.std(ddof=1) / np.sqrt(num_runs) < 0.03
    assert_mean(ratio, 1.0)


def test_wide_components_are_copies_of_local_ones_wider_by_octaves():
    with_wide = importlib.import_module("rdmc_jax.samplers.mixture").with_wide
    rng = np.random.default_rng(0)
    for shape in ((24, 3), (24, 3, 3)):
        factor = np.abs(rng.normal(size=shape)) + 0.1
        factor = factor if len(shape) == 2 else np.tril(factor)
        local = mixture_of(
            *(jnp.asarray(a, jnp.float32) for a in (rng.normal(size=(24, 3)), factor))
        )
        found = with_wide(local)
        assert found.mean.shape == (40, 3)
        all_of, own = (one.deviation if len(shape) == 2 else one.factor for one in (found, local))
        np.testing.assert_array_equal(all_of[:24], own)
        for k in range(16):
            origin, stretch = k * 24 // 16, 2.0 ** (1 + k % 4)
            np.testing.assert_allclose(found.mean[24 + k], local.mean[origin])
            np.testing.assert_allclose(all_of[24 + k], stretch * own[origin])
            height = local.log_height[origin] - 3 * np.log(stretch)
            np.testing.assert_allclose(found.log_height[24 + k], height, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def rotated():
    """Two Gaussians in 16 dimensions, of unlike orientation, and their Laplace approximations."""
    rng = np.random.default_rng(5)
    width = rng.uniform(0.3, 1.5, (2, 16))
    basis = np.linalg.qr(rng.normal(size=(2, 16, 16)))[0]
    mean, factor = np.array([[-4.0], [4.0]]) * np.ones((1, 16)), basis * width[:, None]
    inverse = np.linalg.inv(factor)
    log_mass = np.log([2.0, 4.0]) - np.log(width).sum(axis=1) - 8 * np.log(2 * np.pi)
    a, m = jnp.asarray(inverse, jnp.float32), jnp.asarray(mean, jnp.float32)

    def logdensity(x):
        z = jnp.einsum("kij,kj->ki", a, x[None] - m)
        return jax.nn.logsumexp(jnp.asarray(log_mass, jnp.float32) - 0.5 * jnp.sum(z**2, axis=1))

    x = mean[:, None] + rng.normal(size=(2, 100, 16)) @ np.swapaxes(factor, 1, 2)
    return logdensity, x.reshape(-1, 16), Laplace(m, jnp.asarray(factor, jnp.float32))


def test_gaussians_at_modes_make_the_fit_good_in_many_dimensions(rotated):
    """The local Gaussians of 200 points have diagonal covariances and means of 25 points."""
    logdensity, x, laplace = rotated
    start = mixture(num_particles=64, num_components=32, num_rounds=3, num_drawn=500)
    shares = {}
    for name, given in (("without", None), ("with", laplace)):
        pool = pool_of(x)._replace(laplace=given)
        fit = jax.jit(lambda key, pool=pool: start.fit(key, logdensity, pool))
        found = fit(jax.random.key(0))
        log_weight = np.asarray(found.fresh_log_weight, float)
        shares[name] = weight_ess(log_weight) / 1000
        assert found.pool.num_evals == (4 * 500, 0)
    assert shares["without"] < 0.1 and shares["with"] > 0.5
    assert_mean(np.exp(log_weight) / 6.0, 1.0)
    # both kinds keep a tenth of the half that is not fitted, whatever the fit says
    made = found.pool.mixture
    share = np.exp(np.asarray(made.log_share, float))
    assert made.deviation.shape == (144, 16) and made.factor.shape == (2, 16, 16)
    is_local = np.arange(144) % 48 < 32
    assert share[144:].min() > 0.999 * 0.5 * 0.9 * 0.1 / 2 and share[144:].sum() > 0.5
    assert share[:144][is_local].min() > 0.999 * 0.5 * 0.9 * 0.1 / 96


@pytest.mark.parametrize("is_full", [True, False])
def test_draws_that_shaped_the_mixture_are_weighted_by_the_law_of_all_rounds(is_full):
    """Gaussians at one mode of two, of which the searching rounds draw 15 %.

    Components shaped by draws that they also weigh bias the mean by .01, with these Gaussians and
    without. With the last round at its searching shares it is off by .08, without the 15 % by .3.
    """
    deviation = jnp.sqrt(jnp.asarray(TARGET.variance[0], jnp.float32))
    factor = jnp.diag(deviation) if is_full else deviation
    one = Laplace(jnp.asarray(TARGET.mean[0], jnp.float32)[None], factor[None])
    fit = jax.jit(
        lambda key: FIT.fit(key, TARGET.logdensity, fixed_pool()._replace(laplace=one)).pool
    )
    means = []
    for seed in range(8):
        pool = fit(jax.random.key(seed))
        is_draw = np.asarray(pool.source) == -1
        weight = np.exp(np.asarray(pool.log_weight, float)[is_draw])
        means.append(np.average(np.asarray(pool.position, float)[is_draw], axis=0, weights=weight))
    means = np.array(means)
    assert np.all(means.std(axis=0, ddof=1) / np.sqrt(8) < 0.01)
    assert_mean(means, TARGET.weight @ np.asarray(TARGET.mean), slack=0.025)


def test_useless_gaussians_at_modes_keep_their_share_and_bias_nothing():
    far = Laplace(jnp.full((3, 2), 50.0), jnp.broadcast_to(jnp.eye(2), (3, 2, 2)))
    pool = fixed_pool()._replace(laplace=far)
    found = jax.jit(lambda key: FIT.fit(key, TARGET.logdensity, pool))(jax.random.key(3))
    share = np.exp(np.asarray(found.pool.mixture.log_share, float))
    # a tenth of what is not wide, in the half that is not fitted
    np.testing.assert_allclose(share[144:].sum(), 0.5 * 0.9 * 0.1, rtol=0.02)
    weight = np.exp(np.asarray(found.fresh_log_weight, float)) / Z
    assert weight.std() / np.sqrt(weight.size) < 0.015
    assert_mean(weight, 1.0)


def test_a_light_mode_around_a_spike_keeps_its_tenth():
    """The pool has points of the spike only: wide components meet the rest."""
    problem = rj.problems.concentric_spike(5)
    pool = pool_of(0.1 * np.random.default_rng(0).normal(size=(256, 5)))
    start = mixture(num_particles=2000, num_components=64)
    fit = jax.jit(lambda key: start.fit(key, problem.logdensity_fn, pool).pool.mixture)
    log_weight, is_broad, replicate = [], [], []
    for seed in range(3):
        made = fit(jax.random.key(seed))
        drawn = drawn_from(
            made, candidates(), num=2000, seed=seed, logdensity_fn=problem.logdensity_fn
        )
        log_weight.append(np.asarray(drawn.log_weight, float))
        is_broad.append(np.asarray(jax.vmap(problem.mode_fn)(drawn.position)) == 0)
        replicate.append(np.full(2000, seed))
    log_weight, is_broad, replicate = map(np.concatenate, (log_weight, is_broad, replicate))
    error = log_normalizer_error(log_weight, replicate)
    # without the broad mode log Z would be -.105
    assert error < 0.02 and abs(log_mean_exp(log_weight)) < 4 * error
    weight = np.exp(log_weight)
    share = np.average(is_broad, weights=weight)
    own = weight * (is_broad - share) / weight.mean()
    truth = problem.mode_weights[0]
    assert abs(share - truth) < 4 * own.std() / np.sqrt(own.size) < 0.05


def test_no_density_at_all_leaves_numbers():
    def nowhere(x):
        return -jnp.inf + 0 * jnp.sum(x)

    small = mixture(num_particles=8, num_components=4, num_rounds=2, num_drawn=8)
    found = jax.jit(lambda key: small.fit(key, nowhere, fixed_pool()))(jax.random.key(0))
    assert np.all(np.isneginf(found.fresh_log_weight)) and found.pool.num_nonfinite == 24
    made = found.pool.mixture
    assert np.all(np.isfinite(made.mean)) and np.all(np.isfinite(made.factor))
    assert np.all(np.isfinite(log_densities(made, fixed_pool().position)))


def test_densities_without_gradient_are_drawn_from():
    def stepped(x):
        return jnp.round(4 * TARGET.logdensity(x)) / 4

    start = mixture(num_particles=500, num_components=16, num_rounds=2, num_drawn=200)
    method = rj.rdmc(
        start,
        finish=candidates(2, num_temperatures=4, kernel=random_walk, target_acceptance=0.3),
        pool=fixed_generator,
    )
    _, found, info = run_compiled(method, stepped, jnp.zeros(2), jax.random.key(0))
    assert int(jnp.sum(info.num_evals.gradient)) == 0
    # the fit, and two candidates of four steps, with the copies that find the step
    assert int(jnp.sum(info.num_evals.logdensity)) == 3 * 200 + 2 * 5 * (500 + 64)
    weight = np.exp(np.asarray(found.log_weight, float)) / Z
    assert abs(weight.mean() - 1) < 4 * weight.std() / np.sqrt(500) + 0.02  # steps of an eighth


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rj.rdmc(FIT, finish=rj.samplers.gaussian_finish()), "belong together.*gaussian"),
        (lambda: rj.rdmc(FIT), "belong together"),
        (
            lambda: rj.rdmc(rj.samplers.noised_pool(num_particles=8), finish=candidates()),
            "belong together.*noised_pool",
        ),
        (lambda: mixture(num_particles=0), "num_particles must be at least 1, but got 0"),
        (lambda: mixture(num_particles=8, num_rounds=0), "num_rounds must be at least 1"),
        (lambda: mixture(num_particles=8, num_drawn=-1), "num_drawn must be at least 1"),
        (lambda: candidates(0), "num_candidates >= 1 .* got 0 and 0"),
        (lambda: candidates(1, num_temperatures=-1), "got 1 and -1"),
    ],
)
def test_what_makes_no_method_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
