"""What `speed` and `gpu` time: MALA, the published algorithm, a composition, the default."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import rdmc_jax as rj
from rdmc_jax.planning.defaults import choose_sizes
from rdmc_jax.samplers import methods
from rdmc_jax.samplers.core import Recipe, core, ensemble, fit, prepare
from rdmc_jax.samplers.methods import published
from rdmc_jax.types import Evaluations

NUM_PARTICLES = 256
"""Of `paper` and `chains`: with 16 chains each, four times as wide as the default's ensemble."""
NUM_CHAINS = 16
MALA = "MALA alone"
STEP_SIZE = 0.1


class Program(NamedTuple):
    """Something to time."""

    name: str
    width: int  # chains side by side
    run: Callable[..., Any]  # of a key, and of the arguments
    arguments: tuple[Any, ...]


def flat(problem):
    """The problem with its density as one of vectors."""
    position, to_position = ravel_pytree(problem.position)
    return problem._replace(
        logdensity_fn=lambda x: problem.logdensity_fn(to_position(x)), position=position
    )


def paper(num_particles=NUM_PARTICLES):
    """The published algorithm; fewer levels than by default, each of the same cost."""
    return published(
        num_particles=num_particles,
        horizon=0.357,
        num_levels=8,
        num_chains=NUM_CHAINS,
        num_steps=16,
        step_size=0.01,
        num_importance=128,
        num_start_steps=8,
        start_step_size=0.1,
        start_scale=1.0,
    )


def warm_chains(num_particles=NUM_PARTICLES):
    """Warm chains of each particle alone, matched moments, annealed finish."""
    return rj.rdmc(
        rj.samplers.gaussian_start(num_particles=num_particles),
        rj.samplers.levels(
            rj.diffusion.log_snr_grid(32),
            rj.estimators.chains(rj.kernels.mala, num_chains=NUM_CHAINS, num_steps=2),
            rj.diffusion.moment_matched(),
        ),
        rj.samplers.annealed_finish(num_temperatures=16),
    )


def default(dim, num_particles=methods.NUM_PARTICLES):
    """The method of the default, for any number of particles."""
    sizes, _ = choose_sizes(dim, methods.NUM_PARTICLES, 1, None)
    method = rj.samplers.mixture_draws(sizes)
    start = dataclasses.replace(method.start, num_particles=num_particles)
    return dataclasses.replace(method, start=start)


METHODS = {
    "paper": lambda dim, size: paper(size),
    "chains": lambda dim, size: warm_chains(size),
    "default": default,
}


def program_of(name, problem, dim, num_particles):
    """A method on the user's coordinates, pilot apart: a program of a key."""
    position = jnp.zeros(dim, jnp.float32)
    recipe = Recipe(METHODS[name](dim, num_particles))

    def run(key):
        return core(key, problem.logdensity_fn, position, plan=recipe)

    return Program(name, num_particles * NUM_CHAINS, run, ())


class Chained(NamedTuple):
    """Chains at their end, with their evaluations where `evaluations_of` looks."""

    position: Any
    num_evals: Evaluations

    @property
    def info(self):
        """Itself: what a sampler's result reports."""
        return self


def mala_of(problem, dim, num_steps=120):
    """The kernel `mala`, nothing else: what accepting and rejecting cost beside the limit."""
    width = NUM_PARTICLES * NUM_CHAINS

    def run(key):
        kernel = rj.kernels.mala(problem.logdensity_fn, STEP_SIZE)
        # the barrier: a constant start would be evaluated by the compiler, in seconds
        start = jax.lax.optimization_barrier(jnp.zeros((width, dim), jnp.float32))
        state = jax.vmap(kernel.init)(start)

        def step(state, key):
            return jax.vmap(kernel.step)(jax.random.split(key, width), state)[0], None

        state, _ = jax.lax.scan(step, state, jax.random.split(key, num_steps))
        count = jnp.asarray(width * (num_steps + 1))
        return Chained(state.position, Evaluations(count, count))

    return Program(MALA, width, run, ())


def preparation_of(problem, dim):
    """Pilot, pool and fit of the default."""
    position, recipe = jnp.zeros(dim, jnp.float32), rj.plan(dim=dim).recipe
    method, density = recipe.method, problem.logdensity_fn

    def run(key):
        one = prepare(key, density, position, None, None, pilot=recipe.pilot, method=method)
        return fit(key, density, position, None, one, method=method)

    return Program("default: preparation", recipe.num_particles, run, ())


def ensemble_of(problem, dim, num_particles, prepared):
    """The default's ensemble for a preparation, or for its shape alone."""
    position, method = jnp.zeros(dim, jnp.float32), default(dim, num_particles)

    def run(key, prepared):
        return ensemble(key, problem.logdensity_fn, position, None, prepared, method=method)

    return Program("default: ensemble", num_particles, run, (prepared,))


def side_by_side(program, num_ensembles):
    """So many ensembles of a program at once, as `rdmc_jax.sample` runs them on an accelerator.

    Each counts its evaluations in 32 bits; together a million particles would not fit in those.
    """

    def run(key, *arguments):
        keys = jax.random.split(key, num_ensembles)
        return jax.vmap(lambda one: program.run(one, *arguments))(keys)

    return program._replace(width=num_ensembles * program.width, run=run)


def programs_of(name, problem, dim):
    """The programs of a method, to be called with a key and their arguments."""
    if name == MALA:
        return [mala_of(problem, dim)]
    if name != "default":
        return [program_of(name, problem, dim, NUM_PARTICLES)]
    preparation = preparation_of(problem, dim)
    prepared = jax.jit(preparation.run)(jax.random.key(0))
    return [preparation, ensemble_of(problem, dim, methods.NUM_PARTICLES, prepared)]


def evaluations_of(result):
    """Evaluations that a `Result` or a `Prepared` reports."""
    evals = result.info.num_evals if hasattr(result, "info") else result.pool.num_evals
    return tuple(int(np.sum(np.asarray(count, np.int64))) for count in evals)
