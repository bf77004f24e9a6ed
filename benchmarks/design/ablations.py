"""What the parts of the default are worth: each variant changes one thing of the restart.

For every problem and variant there are ensembles of 1,000 draws from ``--seeds`` independent pools.
Written are the mean and the smallest effective sample size of the weights, the root mean square
error of log Z, and the evaluations per draw (with pilot and pool, without the discarded ensemble).

Usage: python -m benchmarks.design.ablations [--problems funnel,...] [--seeds 6]
[--output benchmarks/results/ablations.json]
"""

import argparse
import dataclasses
import functools
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax as rj
from benchmarks.harness.cases import PROBLEMS
from benchmarks.harness.report import chosen, environment, line, markdown, write
from rdmc_jax.diffusion.transitions import predictive_variance
from rdmc_jax.montecarlo.weights import log_mean_exp, weight_ess
from rdmc_jax.planning.defaults import DEFAULT_SIZES
from rdmc_jax.samplers.core import ensemble, prepare
from rdmc_jax.samplers.methods import NUM_PARTICLES
from rdmc_jax.samplers.noised_pool import LARGEST_NOISE
from rdmc_jax.types import Kernel

CHOSEN = (
    "gmm40_2",
    "bananas",
    "unequal_mixture_8",
    "galaxy_unequal",
    "funnel",
    "two_modes_32",
    "exoplanet",
)
COLUMNS = ("problem", "variant", "ESS mean", "ESS min", "log Z rmse", "evaluations per draw")


def sizes_of(dim):
    return DEFAULT_SIZES[1 if dim <= 2 else 2 if dim <= 16 else 3]


def pool_of(sizes, *, chains=True, tempered=True, known=True, em=True):
    parts = [rj.pools.known_points()] if known else []
    if chains:
        parts.append(rj.pools.broad_chains(num_chains=sizes.num_pool, num_steps=sizes.num_steps))
    if tempered:
        parts.append(rj.pools.tempered_smc(num_particles=sizes.num_pool))
    pool = rj.pools.union(*parts)
    if em:
        pool = rj.samplers.reweighted(pool, finish_of(sizes), num_particles=sizes.num_reweighted)
    return pool


def finish_of(
    sizes,
    kernel=rj.kernels.mala,
    factor=1.0,
    reference=rj.samplers.shrunk_covariance,
    acceptance=0.6,
):
    return rj.samplers.annealed_finish(
        kernel,
        num_temperatures=max(1, round(factor * sizes.num_temperatures)),
        target_acceptance=acceptance,
        reference=reference,
    )


def method_of(finish, threshold=25.0, largest_noise=LARGEST_NOISE):
    start = rj.samplers.noised_pool(
        num_particles=NUM_PARTICLES, threshold=threshold, largest_noise=largest_noise
    )
    return rj.rdmc(start, finish=finish)


def leapfrogs(logdensity_fn, step_size):
    # the finish counts its step in the squared units of Langevin kernels
    return rj.kernels.hmc(logdensity_fn, (2 * step_size) ** 0.5, num_integration_steps=4)


class Chain(NamedTuple):
    """A state that hides its gradient, by which `annealed_finish` would tell steep posteriors."""

    position: jax.Array
    logdensity: jax.Array


def one_step_for_all(logdensity_fn, step_size):
    """MALA that finds its gradient anew in each step."""
    kernel = rj.kernels.mala(logdensity_fn, step_size)

    def step(rng_key, state):
        new, info = kernel.step(rng_key, kernel.init(state.position, rng_key))
        return Chain(new.position, new.logdensity), info

    def init(position, rng_key):
        return Chain(position, logdensity_fn(position))

    return Kernel(init, step)


def variances_only(moments, scale):
    return rj.samplers.shrunk_covariance(moments._replace(covariance=None), scale)


def without_draws(pool):
    """The pool, whose weights are moved, without the draws of the restart that moved them."""

    def generate(rng_key, logdensity_fn, known):
        made = pool(rng_key, logdensity_fn, known)
        return made._replace(log_weight=jnp.where(made.source < 0, -jnp.inf, made.log_weight))

    return generate


def unmeasured(pool):
    """The pool, not knowing what noise is too coarse."""

    def generate(rng_key, logdensity_fn, known):
        made = pool(rng_key, logdensity_fn, known)
        return made._replace(largest_useful_noise=jnp.zeros_like(made.largest_useful_noise))

    return generate


def variants(sizes):
    """Name to (pool generator, method); the first is the default."""
    pool, finish = pool_of(sizes), finish_of(sizes)
    return {
        "default": (pool, method_of(finish)),
        "temperatures x 1/4": (pool, method_of(finish_of(sizes, factor=0.25))),
        "temperatures x 4": (pool, method_of(finish_of(sizes, factor=4.0))),
        "HMC, 4 steps, a quarter of the temperatures": (
            pool,
            method_of(finish_of(sizes, leapfrogs, 0.25, acceptance=0.8)),
        ),
        "random walks in the finish": (
            pool,
            method_of(finish_of(sizes, rj.kernels.random_walk, acceptance=0.3)),
        ),
        "one step size for all particles": (pool, method_of(finish_of(sizes, one_step_for_all))),
        "variances of the members only": (
            pool,
            method_of(finish_of(sizes, reference=variances_only)),
        ),
        "one step size and variances only": (
            pool,
            method_of(finish_of(sizes, one_step_for_all, reference=variances_only)),
        ),
        "variance shrunk to the standard Gaussian's": (
            pool,
            method_of(finish_of(sizes, reference=predictive_variance)),
        ),
        "stop at 6 members": (pool, method_of(finish, 6.0)),
        "stop at 12 members": (pool, method_of(finish, 12.0)),
        "stop at 50 members": (pool, method_of(finish, 50.0)),
        "no limit to the noise": (pool, method_of(finish, largest_noise=(1e9, 1e9))),
        "limit not raised where coarse noise was of use": (unmeasured(pool), method_of(finish)),
        "no draws of the first restart in the pool": (without_draws(pool), method_of(finish)),
        "pool not re-weighted": (pool_of(sizes, em=False), method_of(finish)),
        "pool of the pilot only": (
            pool_of(sizes, chains=False, tempered=False),
            method_of(finish),
        ),
        "pool without the pilot": (pool_of(sizes, known=False), method_of(finish)),
    }


def measure(name, problem, seeds):
    dim = sum(np.size(leaf) for leaf in jax.tree.leaves(problem.position))
    sizes = sizes_of(dim)
    prepared_with = jax.jit(prepare, static_argnames=("logdensity_fn", "pilot", "method"))
    run = jax.jit(ensemble, static_argnames=("logdensity_fn", "method"))
    fn, position = problem.logdensity_fn, problem.position
    records = []

    @functools.cache
    def prepared(generator, seed):
        method = dataclasses.replace(method_of(finish_of(sizes)), pool=generator)
        options = {"pilot": sizes.pilot, "method": method}
        return prepared_with(jax.random.key(seed), fn, position, None, None, **options)

    for variant, (generator, method) in variants(sizes).items():
        ess, errors, evals = [], [], []
        for seed in range(seeds):
            before = prepared(generator, seed)
            key = jax.random.key(1000 + seed)
            result = run(key, fn, position, None, before, method=method)
            log_weight = np.asarray(result.log_weight)
            ess.append(weight_ess(log_weight))
            errors.append(log_mean_exp(log_weight) - problem.log_normalizer)
            counts = [before.pool.num_evals, jax.tree.map(np.sum, result.info.num_evals)]
            evals.append(max(int(sum(c[k] for c in counts)) for k in (0, 1)) / log_weight.size)
        records.append(
            {
                "problem": name,
                "commit": environment()["versions"]["commit"],
                "variant": variant,
                "ess": ess,
                "log_normalizer_errors": errors,
                "evals_per_sample": float(np.mean(evals)),
            }
        )
        print(line(cells(records[-1])), file=sys.stderr, flush=True)
    return records


def cells(record):
    rmse = np.sqrt(np.mean(np.square(record["log_normalizer_errors"])))
    return [
        f"`{record['problem']}`",
        record["variant"],
        f"{np.mean(record['ess']):.0f}",
        f"{np.min(record['ess']):.0f}",
        f"{rmse:.3f}",
        f"{record['evals_per_sample']:.0f}",
    ]


def table(records):
    return markdown(COLUMNS, map(cells, records))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(CHOSEN))
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    names = chosen(parser, options.problems, CHOSEN, "problems")
    report = {**environment(), "settings": {"num_seeds": options.seeds}, "records": []}
    for name in names:
        jax.clear_caches()
        report["records"] += measure(name, PROBLEMS[name](), options.seeds)
        write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
