"""Equal calls give the same object, so that equal methods share compiled programs."""

import pytest

import rdmc_jax as rj


def make_method():
    estimator = rj.chains(rj.mala, num_chains=4, num_steps=3, start=rj.importance_start())
    stages = rj.levels(rj.log_snr_grid(5, low=-2.0), estimator, rj.ancestral)
    return rj.rdmc(rj.gaussian(num_particles=8), stages, rj.annealed(num_temperatures=3))


def test_equal_compositions_are_equal_and_hash_alike():
    assert make_method() == make_method()
    assert hash(make_method()) == hash(make_method())


def test_unequal_compositions_differ():
    other = rj.rdmc(rj.gaussian(num_particles=9), make_method().levels, make_method().finish)
    assert make_method() != other


@pytest.mark.parametrize(
    "make",
    [
        rj.ornstein_uhlenbeck,
        rj.variance_exploding,
        rj.identity,
        rj.gaussian_finish,
        rj.warm_start,
        rj.known_points,
        rj.no_levels,
        lambda: rj.annealed(rj.hmc, num_temperatures=4),
        lambda: rj.importance(num_samples=12),
        lambda: rj.gaussian(num_particles=12),
        lambda: rj.langevin(rj.importance(), num_particles=4, num_steps=2, step_size=0.1),
        lambda: rj.noised_pool(rj.union(rj.known_points()), num_particles=12),
        lambda: rj.time_grid(4, horizon=2.0),
    ],
)
def test_equal_calls_give_the_identical_parts(make):
    first, second = make(), make()
    assert first == second and hash(first) == hash(second)
    assert first is second


@pytest.mark.parametrize(
    "calls",
    [
        (lambda: rj.importance(), lambda: rj.importance(num_samples=64)),
        (
            lambda: rj.chains(num_chains=4, num_steps=2),
            lambda: rj.chains(num_steps=2, num_chains=4),
        ),
    ],
    ids=["defaults written out", "order of keywords"],
)
def test_the_way_of_writing_a_call_does_not_matter(calls):
    assert calls[0]() is calls[1]()
