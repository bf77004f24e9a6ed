"""Records: settings that print as code, compare by value and can be replaced."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import pytest

import rdmc_jax as rj
from rdmc_jax.diffusion.estimators.batches import repeated
from rdmc_jax.diffusion.estimators.chain_starts import standardised_unit
from rdmc_jax.pools.pilot import climbing_pilot, gradient_free_pilot
from rdmc_jax.types import record

estimators, diffusion, pools, kernels = rj.estimators, rj.diffusion, rj.pools, rj.kernels
NAMES = {
    **{name: getattr(room, name) for room in (estimators, diffusion, pools) for name in dir(room)},
    **{name: getattr(kernels, name) for name in ("hmc", "mala", "random_walk", "ula")},
    "inf": math.inf,
    "ones_like": jnp.ones_like,
    "partial": functools.partial,
    "repeated": repeated,
}
PRINTED = {
    "chains()": lambda: estimators.chains(kernels.mala, num_chains=16),
    "chains(hmc, num_chains=4, step_size=0.2)": lambda: estimators.chains(
        kernels.hmc, step_size=0.2, num_chains=4
    ),
    "chains(begin=from_all_particles(threshold=8.0), average=plain_average, unit=ones_like)": (
        lambda: estimators.chains(
            begin=estimators.from_all_particles(threshold=8.0),
            average=estimators.plain_average,
            unit=jnp.ones_like,
        )
    ),
    "chains(begin=from_importance(num_candidates=32))": lambda: estimators.chains(
        begin=estimators.from_importance(num_candidates=32)
    ),
    "importance(reference_scale=2.0)": lambda: estimators.importance(reference_scale=2.0),
    "pooled_importance(reference_scale=inf)": lambda: estimators.pooled_importance(
        reference_scale=math.inf
    ),
    "adaptive(importance(num_samples=16), relative_error=0.05)": lambda: estimators.adaptive(
        estimators.importance(num_samples=16), relative_error=0.05
    ),
    "repeated(importance(), (1, 3))": lambda: repeated(estimators.importance(), (1, 3)),
    "repeated(importance(), (2,))": lambda: repeated(estimators.importance(), (2,)),
    "independent(importance())": lambda: estimators.independent(estimators.importance()),
    "from_last_level()": estimators.from_last_level,
    "ornstein_uhlenbeck()": diffusion.ornstein_uhlenbeck,
    "variance_exploding()": diffusion.variance_exploding,
    "moment_matched()": diffusion.moment_matched,
    "bridge()": diffusion.bridge,
    "union(known_points(), broad_chains(num_chains=9), tempered_smc(hmc, num_particles=8))": (
        lambda: pools.union(
            pools.known_points(),
            pools.broad_chains(num_chains=9),
            pools.tempered_smc(kernels.hmc, num_particles=8),
        )
    ),
    "climbing_pilot(num_rounds=2)": lambda: climbing_pilot(num_rounds=2),
    "gradient_free_pilot()": lambda: gradient_free_pilot(num_particles=1024),
}


@pytest.mark.parametrize("text", PRINTED)
def test_a_record_prints_as_the_call_that_makes_it(text):
    made = PRINTED[text]()
    assert repr(made) == text
    assert eval(text, NAMES) == made


@pytest.mark.parametrize("text", PRINTED)
def test_equal_settings_are_equal_and_hash_alike(text):
    first, second = PRINTED[text](), PRINTED[text]()
    assert first == second and hash(first) == hash(second)
    assert first is not second


def test_unequal_settings_differ():
    made = [make() for make in PRINTED.values()]
    for k, one in enumerate(made):
        assert all(one != other for other in made[k + 1 :])


def test_records_of_two_classes_without_settings_differ():
    assert diffusion.moment_matched() != diffusion.ancestral()
    assert diffusion.ornstein_uhlenbeck() != diffusion.variance_exploding()


def test_the_type_of_a_setting_counts():
    assert estimators.chains(step_size=1) != estimators.chains(step_size=1.0)
    assert repr(estimators.chains(num_steps=2.0)) == "chains(num_steps=2.0)"


def test_partials_print_what_they_bind():
    kernel = functools.partial(kernels.hmc, num_integration_steps=3)
    made = estimators.chains(kernel)
    assert repr(made) == "chains(partial(hmc, num_integration_steps=3))"
    assert repr(eval(repr(made), NAMES)) == repr(made)
    # as Python has it, a partial is equal to itself only
    assert made == estimators.chains(kernel)


def test_settings_can_be_replaced_but_not_changed():
    made = estimators.chains(num_steps=4)
    wider = dataclasses.replace(made, num_chains=64)
    assert wider == estimators.chains(num_steps=4, num_chains=64)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.num_chains = 64
    with pytest.raises(ValueError, match="num_chains >= 2"):
        dataclasses.replace(made, num_chains=1)


def test_the_way_of_writing_a_call_does_not_matter():
    assert estimators.importance() == estimators.importance(num_samples=64)
    assert estimators.chains(unit=standardised_unit) == estimators.chains()


def test_what_cannot_be_hashed_is_equal_to_itself_only():
    @record
    class shifted:
        by: jax.Array

    by = jnp.ones(2)
    assert shifted(by) == shifted(by) and hash(shifted(by)) == hash(shifted(by))
    assert shifted(by) != shifted(jnp.ones(2))


def test_long_grids_are_printed_in_full_for_code_and_in_short_for_reading():
    @record
    class walk:
        times: tuple

    made = walk(diffusion.time_grid(16, horizon=16.0))
    assert eval(repr(made), {"walk": walk}) == made
    assert str(made) == "walk((16.0, 15.0, 14.0, 13.0, 12.0, ..., 0.0))"


def test_equal_records_share_a_compiled_program():
    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def program(process, t):
        traces.append(process)
        return process.alpha(t)

    for _ in range(2):
        program(diffusion.ornstein_uhlenbeck(), 0.5)
    assert len(traces) == 1
    program(diffusion.variance_exploding(), 0.5)
    assert len(traces) == 2
