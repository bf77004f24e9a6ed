"""What the parts of the default are worth: each variant changes one thing of the mixture draws.

For every problem and variant there are ensembles of 1,000 draws from ``--seeds`` independent pools.
Written are the mean and the smallest effective sample size of the weights, the root mean square
error of log Z, and the evaluations per draw (with pilot, pool and fit).

Usage: python -m benchmarks.design.ablations [--problems funnel,...] [--seeds 6]
[--output benchmarks/results/ablations.json]
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np

import rdmc_jax as rj
from benchmarks.harness.cases import PROBLEMS
from benchmarks.harness.report import chosen, environment, line, markdown, write
from rdmc_jax.montecarlo.weights import log_mean_exp, weight_ess
from rdmc_jax.planning.defaults import choose_sizes
from rdmc_jax.samplers.core import ensemble, fit, prepare
from rdmc_jax.samplers.methods import NUM_PARTICLES
from rdmc_jax.types import FittedStart

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
    return choose_sizes(dim, NUM_PARTICLES, 1, None)[0]


def variants(sizes):
    """Name to method; the first is the default."""
    default = rj.samplers.mixture_draws(sizes)
    known, tempered = default.pool.generators

    def with_start(**settings):
        return dataclasses.replace(default, start=dataclasses.replace(default.start, **settings))

    def with_pool(*generators):
        return dataclasses.replace(default, pool=rj.pools.union(*generators))

    def with_finish(*settings, **more):
        return rj.samplers.mixture_draws(sizes, *settings, **more)

    num = default.start.num_components
    broad = rj.pools.broad_chains(num_chains=sizes.num_pool, num_steps=32)
    return {
        "default": default,
        "4 candidates": with_finish(num_candidates=4),
        "8 temperatures": with_finish(num_temperatures=8),
        "32 temperatures": with_finish(num_temperatures=32),
        "a quarter of the components": with_start(num_components=num // 4),
        "twice the components": with_start(num_components=2 * num),
        "one round, nothing refitted": with_start(num_rounds=1),
        "two rounds": with_start(num_rounds=2),
        "eight rounds": with_start(num_rounds=8),
        "pool of the pilot only": with_pool(known),
        "pool without the pilot": with_pool(tempered),
        "broad chains in the pool": with_pool(known, tempered, broad),
        "restart with 32 temperatures": rj.samplers.restart(),
    }


def measure(name, problem, seeds):
    dim = sum(np.size(leaf) for leaf in jax.tree.leaves(problem.position))
    sizes = sizes_of(dim)
    static = ("logdensity_fn", "method")
    prepared_with = jax.jit(prepare, static_argnames=(*static, "pilot"))
    fitted_to, run = (jax.jit(fn, static_argnames=static) for fn in (fit, ensemble))
    fn, position = problem.logdensity_fn, problem.position
    records = []
    for variant, method in variants(sizes).items():
        ess, errors, evals = [], [], []
        for seed in range(seeds):
            key, run_key = jax.random.split(jax.random.key(seed))
            before = prepared_with(key, fn, position, None, None, pilot=sizes.pilot, method=method)
            if isinstance(method.start, FittedStart):
                before = fitted_to(key, fn, position, None, before, method=method)
            result = run(run_key, fn, position, None, before, method=method)
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
