"""Records: equal settings are equal, print as code, and share compiled programs."""

import pytest

import rdmc_jax as rj


def make_method():
    estimator = rj.estimators.chains(
        rj.kernels.mala, num_chains=4, num_steps=3, begin=rj.estimators.from_importance()
    )
    stages = rj.samplers.levels(
        rj.diffusion.log_snr_grid(5, low=-2.0), estimator, rj.diffusion.ancestral()
    )
    return rj.rdmc(
        rj.samplers.gaussian_start(num_particles=8),
        stages,
        rj.samplers.annealed_finish(num_temperatures=3),
    )


def test_equal_compositions_are_equal_and_hash_alike():
    assert make_method() == make_method()
    assert hash(make_method()) == hash(make_method())


def test_unequal_compositions_differ():
    other = rj.rdmc(
        rj.samplers.gaussian_start(num_particles=9), make_method().levels, make_method().finish
    )
    assert make_method() != other


@pytest.mark.parametrize(
    "make",
    [
        rj.diffusion.ornstein_uhlenbeck,
        rj.diffusion.variance_exploding,
        rj.samplers.identity_finish,
        rj.samplers.gaussian_finish,
        rj.estimators.from_last_level,
        rj.pools.known_points,
        lambda: rj.samplers.annealed_finish(rj.kernels.hmc, num_temperatures=4),
        lambda: rj.estimators.importance(num_samples=12),
        lambda: rj.samplers.gaussian_start(num_particles=12),
        lambda: rj.samplers.langevin_start(
            rj.estimators.importance(), num_particles=4, num_steps=2, step_size=0.1
        ),
        lambda: rj.samplers.noised_pool(num_particles=12),
        lambda: rj.samplers.mixture(num_particles=12, num_rounds=2),
        lambda: rj.samplers.candidates(2, num_temperatures=4),
        lambda: rj.diffusion.time_grid(4, horizon=2.0),
    ],
)
def test_equal_calls_give_equal_parts(make):
    first, second = make(), make()
    assert first == second and hash(first) == hash(second)


@pytest.mark.parametrize(
    "calls",
    [
        (lambda: rj.estimators.importance(), lambda: rj.estimators.importance(num_samples=64)),
        (
            lambda: rj.estimators.chains(num_chains=4, num_steps=2),
            lambda: rj.estimators.chains(num_steps=2, num_chains=4),
        ),
    ],
    ids=["defaults written out", "order of keywords"],
)
def test_the_way_of_writing_a_call_does_not_matter(calls):
    assert calls[0]() == calls[1]()
