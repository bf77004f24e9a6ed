"""What is compared: ours, the published algorithm, a composition, and the baselines.

``METHODS`` has for each a run, a tuning that is not counted, and sizes, the cheapest first.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax as rj
from benchmarks.baselines import BASELINES, Baseline, Target, untuned
from benchmarks.baselines.langevin import tuned_step
from rdmc_jax.planning.defaults import DEFAULT_SIZES, most_evals, plan

SAMPLE_SIZES = ("least", "default", 0.1)  # smallest budget, none, tolerance
# levels, chains, steps of each, Langevin steps of the start, proposals
PAPER_SIZES = ((8, 4, 2, 8, 16), (12, 8, 4, 16, 64), (24, 16, 4, 64, 64))
COMPOSITION_SIZES = (8, 24)  # levels


class Outcome(NamedTuple):
    """What any method returns: draws as positions, log weights or None, log Z or nan, counts."""

    position: Any
    log_weight: np.ndarray | None
    log_normalizer: float
    evals_per_sample: float


def of_draws(draws, to_position=None):
    position = draws.position if to_position is None else jax.vmap(to_position)(draws.position)
    log_weight = np.asarray(draws.log_weight) if draws.weighted else None
    return Outcome(position, log_weight, draws.log_normalizer, draws.evals_per_sample)


def least_budget(dim, num_samples):
    """The smallest ``max_evals`` that `sample` takes."""
    num_replicates = plan(dim=dim, num_samples=num_samples).num_replicates
    return most_evals(DEFAULT_SIZES[0], dim, num_samples, num_replicates)


def run_sample(key, problem, target, num_samples, size, _):
    options = {"tolerance": size, "max_evals": 4000 * num_samples}
    if size == "least":
        options = {"max_evals": least_budget(target.dim, num_samples)}
    elif size == "default":
        options = {}
    position = jax.tree.map(jnp.asarray, problem.position)
    return of_draws(rj.sample(key, problem.logdensity_fn, position, num_samples, **options))


@functools.cache
def step_schedule(horizon, num_levels, variance):
    """A quarter of the inner posterior's variance where the narrowest mode has ``variance``."""

    def step_size(level):
        noise = jnp.expm1(2 * horizon * (1 - level / num_levels))
        return 0.25 * variance * noise / (variance + noise)

    return step_size


def run_paper(key, problem, target, num_samples, size, variance):
    num_levels, num_chains, num_steps, num_start_steps, num_importance = size
    draws = rj.paper(
        key,
        target.logdensity_fn,
        jnp.zeros(target.dim),
        num_samples,
        horizon=1.0,
        num_levels=num_levels,
        num_chains=num_chains,
        num_steps=num_steps,
        step_size=step_schedule(1.0, num_levels, variance),
        num_importance=num_importance,
        num_start_steps=num_start_steps,
        start_step_size=0.3,
        start_scale=1.0,
    )
    return of_draws(draws, target.to_position)


@functools.cache
def composition(num_levels):
    chains = rj.estimators.chains(
        rj.kernels.mala, begin=rj.estimators.from_all_particles(), num_chains=4, num_steps=2
    )
    return rj.rdmc(
        rj.samplers.gaussian_start(num_particles=1000),
        rj.samplers.levels(
            rj.diffusion.log_snr_grid(num_levels), chains, rj.diffusion.moment_matched()
        ),
        rj.samplers.annealed_finish(num_temperatures=16),
    )


def run_composition(key, problem, target, num_samples, size, _):
    start = jnp.zeros(target.dim)
    method = composition(size)
    return of_draws(
        rj.sample(key, target.logdensity_fn, start, num_samples, method=method), target.to_position
    )


def narrowest(key, target: Target, num_samples):
    """MALA's tuned step: of the order of the narrowest mode's variance."""
    return float(f"{float(tuned_step(key, target, num_samples)):.2g}")


def run_baseline(name):
    def run(key, problem, target, num_samples, size, parameters):
        result = BASELINES[name].run(key, target, num_samples, size, parameters)
        position = jax.vmap(target.to_position)(result.position)
        log_weight = None if result.log_weight is None else np.asarray(result.log_weight)
        log_z = np.nan if result.log_normalizer is None else result.log_normalizer
        evals = max(result.num_logdensity, result.num_gradient) / num_samples
        return Outcome(jax.block_until_ready(position), log_weight, log_z, evals)

    return run


METHODS = {
    "sample": Baseline(run_sample, untuned, SAMPLE_SIZES, True),
    "paper": Baseline(run_paper, narrowest, PAPER_SIZES, True),
    "pooled chains": Baseline(run_composition, untuned, COMPOSITION_SIZES, True),
    **{name: one._replace(run=run_baseline(name)) for name, one in BASELINES.items()},
}
