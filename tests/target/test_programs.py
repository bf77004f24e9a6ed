"""Compiled programs are kept for the last few densities, and no longer."""

import gc

import jax
import jax.numpy as jnp

from rdmc_jax.target import programs
from rdmc_jax.target.programs import NUM_KEPT, compiled, compiler_options


def density(shift):
    return lambda x: -0.5 * jnp.sum((x - shift) ** 2)


def test_programs_of_old_densities_are_let_go():
    value = compiled(lambda logdensity_fn, x: logdensity_fn(x))
    densities = [density(float(k)) for k in range(NUM_KEPT + 2)]
    found = [float(value(fn, jnp.zeros(1))) for fn in densities]
    assert found == [-0.5 * k**2 for k in range(NUM_KEPT + 2)]
    assert list(value.programs) == densities[2:]


def test_options_that_a_jaxlib_or_a_device_does_not_have_are_left_out(monkeypatch):
    ask = compiler_options.__wrapped__  # the answer is kept for the process
    assert ask() is None  # the suite asks JAX for less still
    monkeypatch.setattr(jax.config, "read", lambda name: False)
    assert ask() == programs.QUICK  # on a CPU
    monkeypatch.setattr(programs, "QUICK", {"xla_no_such_option": True})
    assert ask() is None
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(programs, "QUICK", {})
    assert ask() is None


def test_a_density_that_is_used_again_soon_compiles_nothing():
    kept, traced = density(1.0), []

    def fn(x, logdensity_fn, *, power):
        traced.append(power)
        return logdensity_fn(x) ** power

    value = compiled(fn, ("power",))
    for k in range(2 * NUM_KEPT):
        value(jnp.zeros(1), density(float(k)), power=1)
        assert float(value(jnp.zeros(1), kept, power=2)) == 0.25
    assert traced.count(2) == 1


def test_shapes_and_traces_are_those_of_the_function():
    value = compiled(lambda logdensity_fn, x: logdensity_fn(x))
    fn = density(0.0)
    assert value.eval_shape(fn, jnp.zeros(3)).shape == ()
    assert value.trace(fn, jnp.zeros(3)).jaxpr.out_avals[0].shape == ()
    assert value.lower(fn, jnp.zeros(3)).compile() is not None


def maps():
    with open("/proc/self/maps") as lines:
        return sum(1 for _ in lines)


def test_a_session_with_many_densities_does_not_grow():
    """Compiled code is mapped into memory, and a process may map only some 65,000 pieces."""

    def fn(logdensity_fn, x):
        for k in range(10):
            x = jnp.sort(x * logdensity_fn(x) + k)
        return x

    value, counts = compiled(fn), []
    for k in range(2 * NUM_KEPT):
        value(density(float(k)), jnp.ones(64))
        gc.collect()
        counts.append(maps())
    first, last = counts[NUM_KEPT - 1] - counts[0], counts[-1] - counts[NUM_KEPT - 1]
    assert first > 4 * NUM_KEPT and last < first / 4, counts
