"""Calibration: how often intervals and limits hold, over many small runs.

For each problem ``--runs`` runs of ``--num-samples`` draws with different seeds:

- how often the 95 % interval of log Z (t quantile, replicates - 1 degrees of freedom) covers the
  truth, beside the 99 % binomial interval of the nominal count;
- the mean of Ẑ/Z with its standard error: Ẑ is unbiased;
- how often the one-sided 95 % limits of the total variation and of the Kullback-Leibler divergence
  cover what they limit. These are distances of the law of an unweighted draw on the space of paths,
  ``½ E|w/Z - 1|`` and ``log Z - E log w``, here with the exact Z and all runs together;
- how often the limits cover the distances of the draws themselves, which are below those of paths
  by data processing. Measured are total variation and divergence of the shares of cells (each mode
  cut in four by two random lines), of the unweighted draws of all runs, less what chance alone
  makes.

Usage: python -m benchmarks.accuracy.calibration [--problems gmm4,...] [--runs 100]
[--num-samples 2000] [--output benchmarks/results/calibration.json]
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binom

import rdmc_jax as rj
from benchmarks.harness.report import chosen, environment, line, markdown, write
from benchmarks.harness.truth import rows_of
from rdmc_jax import problems

LEVEL = 0.95
NUM_EXACT = 200_000


def by_levels():
    """A composition, small enough for a hundred runs."""
    estimator = rj.estimators.chains(
        num_chains=16, num_steps=2, begin=rj.estimators.from_all_particles()
    )
    middle = rj.samplers.levels(rj.diffusion.log_snr_grid(16, low=-6.0, high=5.0), estimator)
    return rj.rdmc(
        rj.samplers.gaussian_start(num_particles=500),
        middle,
        rj.samplers.annealed_finish(num_temperatures=8),
    )


CASES = {
    "gmm4": (problems.gmm4, None),
    "gmm8": (problems.gmm8, None),
    "gaussian_10": (lambda: problems.gaussian(10), None),
    "two_modes_8": (lambda: problems.two_modes(8), None),
    "galaxy_equal": (lambda: problems.galaxy(3, True), None),
    "funnel": (problems.funnel, None),
    "gmm4 by levels": (problems.gmm4, by_levels),
}
COLUMNS = (
    "problem",
    "log Z covered",
    "of (99 %)",
    "mean Ẑ/Z",
    "TV of paths",
    "mean limit",
    "covered",
    "KL of paths",
    "covered",
    "TV of cells",
    "covered",
    "KL of cells",
    "covered",
)


def cells_of(problem, x, position):
    """Number of the cell that each draw lies in."""
    directions = np.random.default_rng(0).normal(size=(2, x.shape[1]))
    side = (x - np.median(x, axis=0)) @ directions.T > 0
    quarter = side[:, 0] + 2 * side[:, 1]
    if problem.mode_fn is None:
        return quarter
    return quarter + 4 * np.asarray(jax.vmap(problem.mode_fn)(position))


def distances_of_cells(problem, positions):
    """Distances of the cells' shares, less what chance alone makes; None without exact draws.

    Total variation, and Kullback-Leibler divergence of the draws from the target.
    """
    if problem.sample is None:
        return None, None
    own = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *positions)
    exact = problem.sample(jax.random.key(2**31), NUM_EXACT)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, jnp.asarray(b)]), own, exact)
    cells = cells_of(problem, np.asarray(rows_of(both), np.float64), both)
    count = len(cells) - NUM_EXACT
    shares = [
        np.bincount(part, minlength=cells.max() + 1) / part.size
        for part in (cells[:count], cells[count:])
    ]
    spread = 1 / count + 1 / NUM_EXACT
    noise = 0.5 * np.sum(np.sqrt(2 / np.pi * shares[1] * (1 - shares[1]) * spread))
    variation = 0.5 * np.sum(np.abs(shares[0] - shares[1])) - noise
    is_there = (shares[0] > 0) & (shares[1] > 0)
    ratio = np.log(shares[0][is_there] / shares[1][is_there])
    divergence = shares[0][is_there] @ ratio - 0.5 * (is_there.sum() - 1) * spread
    return float(max(variation, 0.0)), float(max(divergence, 0.0))


def measure(name, options):
    problem_fn, method_fn = CASES[name]
    problem = problem_fn()
    position = jax.tree.map(jnp.asarray, problem.position)
    method = None if method_fn is None else method_fn()
    truth, begin = problem.log_normalizer, time.perf_counter()
    runs = []
    for seed in range(options.runs):
        draws = rj.sample(
            jax.random.key(seed),
            problem.logdensity_fn,
            position,
            options.num_samples,
            method=method,
            num_replicates=options.num_replicates,
        )
        runs.append(draws)
    log_ratio = np.concatenate([np.asarray(d.log_weight, np.float64) for d in runs]) - truth
    tv = float(0.5 * np.mean(np.abs(np.expm1(log_ratio))))
    kl = float(-np.mean(log_ratio))
    intervals = [d.log_normalizer_interval(LEVEL) for d in runs]
    ratios = np.exp([d.log_normalizer - truth for d in runs])
    cells, kl_cells = distances_of_cells(problem, [d.position for d in runs])
    low, high = binom.interval(0.99, options.runs, LEVEL)
    return {
        "problem": name,
        "commit": environment()["versions"]["commit"],
        "runs": options.runs,
        "covered": sum(a <= truth <= b for a, b in intervals),
        "binomial": [int(low), int(high)],
        "mean_half_width": float(np.mean([0.5 * (b - a) for a, b in intervals])),
        "mean_ratio": [float(np.mean(ratios)), float(np.std(ratios, ddof=1) / len(runs) ** 0.5)],
        "tv": tv,
        "mean_tv_limit": float(np.mean([d.tv_limit for d in runs])),
        "tv_covered": sum(d.tv_limit >= tv for d in runs),
        "kl": kl,
        "mean_kl_limit": float(np.mean([d.kl_limit for d in runs])),
        "kl_covered": sum(d.kl_limit >= kl for d in runs),
        "cells": cells,
        "cells_covered": None if cells is None else sum(d.tv_limit >= cells for d in runs),
        "kl_cells": kl_cells,
        "kl_cells_covered": None if cells is None else sum(d.kl_limit >= kl_cells for d in runs),
        "evals_per_sample": float(np.mean([d.evals_per_sample for d in runs])),
        "codes": {
            c: sum(c in [x for x, _ in d.findings()] for d in runs)
            for c in sorted({x for d in runs for x, _ in d.findings()})
        },
        "seconds": time.perf_counter() - begin,
    }


def cells(record):
    of = record["runs"]
    mean, error = record["mean_ratio"]
    seen, kl_seen = record["cells"], record.get("kl_cells")
    return [
        f"`{record['problem']}`",
        f"{record['covered']} of {of}",
        "{}–{}".format(*record["binomial"]),
        f"{mean:.4f} ± {error:.4f}",
        f"{record['tv']:.3f}",
        f"{record['mean_tv_limit']:.3f}",
        f"{record['tv_covered']}",
        f"{record['kl']:.3f}" if record["kl"] < 1000 else f"{record['kl']:.0e}",
        f"{record['kl_covered']}",
        "–" if seen is None else f"{seen:.3f}",
        "–" if seen is None else f"{record['cells_covered']}",
        "–" if kl_seen is None else f"{kl_seen:.4f}",
        "–" if kl_seen is None else f"{record['kl_cells_covered']}",
    ]


def table(records):
    return markdown(COLUMNS, map(cells, records))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(CASES))
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--num-replicates", type=int, default=4)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    names = chosen(parser, options.problems, CASES, "problems")
    settings = {k: getattr(options, k) for k in ("runs", "num_samples", "num_replicates")}
    report = {**environment(), "settings": settings, "records": []}
    for name in names:
        jax.clear_caches()
        report["records"].append(measure(name, options))
        print(line(cells(report["records"][-1])), file=sys.stderr, flush=True)
        write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
