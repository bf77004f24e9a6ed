"""Accuracy of ``rdmc_jax.sample`` at its defaults on problems with exact truth.

Each problem is sampled ``--seeds`` times. The weighted draws are compared with the truth, and each
distance with its floor: the error that 95 of 100 sets of N exact draws stay below, where N is the
effective sample size of the weights.

- log Z: error of each seed with the reported standard error, and their root mean square;
- modes: total variation of the mode weights, of the average over the seeds and of each seed (mean);
  the floor is of multinomial draws, as many as N of all seeds and as N of one;
- KS: the largest Kolmogorov-Smirnov distance over the coordinates; sliced KS: its mean over random
  directions; sliced W2: 2-Wasserstein distance along random directions. Coordinates are divided by
  their exact standard deviations first. The value is the mean over the seeds; the floor is of
  repetitions with N exact draws, against equally many reference draws;
- evaluations per output draw (the larger of the density and gradient counts, pilot included),
  seconds of the first run (with compilation) and of the later ones, and the findings' codes.

Usage: python -m benchmarks.accuracy.accuracy [--problems gmm4,rings] [--seeds 3]
[--num-samples 2000] [--output benchmarks/results/accuracy.json]

Rows appear on standard error as they are done; the whole table goes to standard output at the end.
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import numpy as np

import rdmc_jax
from benchmarks.harness.cases import PROBLEMS
from benchmarks.harness.report import chosen, codes_text, environment, line, markdown, write
from benchmarks.harness.truth import (
    NUM_MULTINOMIAL,
    NUM_PROJECTIONS,
    NUM_REFERENCE,
    NUM_REPEATS,
    QUANTILE,
    distances_record,
    modes_record,
    rows_of,
)

COLUMNS = (
    "problem",
    "log Z error ± reported, per seed",
    "log Z rmse",
    "modes, average (floor)",
    "modes, per seed (floor)",
    "KS (floor)",
    "sliced KS (floor)",
    "sliced W2 (floor)",
    "ESS",
    "evals",
    "s first / later",
    "findings",
)


def log_normalizer_record(problem, runs):
    errors = [draws.log_normalizer - problem.log_normalizer for draws in runs]
    return {
        "errors": errors,
        "reported_standard_errors": [draws.log_normalizer_error for draws in runs],
        "rmse": float(np.sqrt(np.mean(np.square(errors)))),
    }


def timed_runs(problem, num_seeds, num_samples):
    runs, seconds = [], []
    for seed in range(num_seeds):
        begin = time.perf_counter()
        key = jax.random.key(seed)
        runs.append(rdmc_jax.sample(key, problem.logdensity_fn, problem.position, num_samples))
        seconds.append(time.perf_counter() - begin)
    return runs, seconds


def measure(problem, num_seeds, num_samples):
    """Everything the table says about one problem, as a JSON record."""
    runs, seconds = timed_runs(problem, num_seeds, num_samples)
    return {
        "problem": problem.name,
        "commit": environment()["versions"]["commit"],
        "dim": rows_of(runs[0].position).shape[1],
        "log_normalizer": log_normalizer_record(problem, runs),
        "modes": modes_record(problem, runs),
        "distances": distances_record(problem, runs),
        "ess": [draws.ess for draws in runs],
        "evals_per_sample": [draws.evals_per_sample for draws in runs],
        "seconds": seconds,
        "findings": [[code for code, _ in draws.findings()] for draws in runs],
        "plan": runs[0].plan.reason,
    }


def with_floor(value, floor):
    return f"{value:.3f} ({floor:.3f})"


def cells(record):
    """The record's row of the table."""
    log_z, modes, distance = (record[name] for name in ("log_normalizer", "modes", "distances"))
    pairs = zip(log_z["errors"], log_z["reported_standard_errors"], strict=True)
    first, *later = record["seconds"]
    between = ["–"] * 2
    if modes is not None:
        between = [
            with_floor(modes["average"], modes["average_floor"]),
            with_floor(np.mean(modes["per_seed"]), modes["per_seed_floor"]),
        ]
    clouds = ["–"] * 3
    if distance is not None:
        clouds = [with_floor(one["mean"], one["floor"]) for one in distance.values()]
    return [
        f"`{record['problem']}`",
        ", ".join(f"{error:+.3f} ± {reported:.3f}" for error, reported in pairs),
        f"{log_z['rmse']:.3f}",
        *between,
        *clouds,
        " ".join(f"{ess:.0f}" for ess in record["ess"]),
        f"{np.mean(record['evals_per_sample']):.0f}",
        f"{first:.1f} / {np.mean(later):.1f}" if later else f"{first:.1f}",
        codes_text(record["findings"]),
    ]


def table(records):
    return markdown(COLUMNS, map(cells, records))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(PROBLEMS), help="names with commas")
    parser.add_argument("--seeds", type=int, default=3, help="runs per problem")
    parser.add_argument("--num-samples", type=int, default=2000, help="output draws per run")
    parser.add_argument("--output", type=Path, help="JSON file, written after each problem")
    options = parser.parse_args()
    options.problems = chosen(parser, options.problems, PROBLEMS, "problems")
    return options


def main():
    options = arguments()
    report = environment()
    report["settings"] = {
        "num_seeds": options.seeds,
        "num_samples": options.num_samples,
        "num_reference": NUM_REFERENCE,
        "num_projections": NUM_PROJECTIONS,
        "num_floor_repeats": NUM_REPEATS,
        "num_multinomial": NUM_MULTINOMIAL,
        "floor_quantile": QUANTILE,
    }
    report["records"] = []
    for name in options.problems:
        # programs of earlier problems would pile up until the process has no memory maps left
        jax.clear_caches()
        report["records"].append(measure(PROBLEMS[name](), options.seeds, options.num_samples))
        print(line(cells(report["records"][-1])), file=sys.stderr, flush=True)
        write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
