"""How the default scales: with the dimension, the number of draws and the number of modes.

``rdmc_jax.sample`` at its defaults, ``--seeds`` runs in each row. The series:

- `two_modes`: two Gaussians in 2 to 128 dimensions, their distance growing with the root of it;
- `many_well`: products of 2 to 30 double wells, 4 to 60 dimensions, as many as 2^30 modes;
- `phi4_chain`: a correlated field of 8 to 64 sites with two modes;
- `num_samples`: two modes in 8 dimensions, 10^2 to 10^5 draws (``--num-draws`` for others);
- `num_modes`: 1 to 64 unit Gaussians of equal weight in the plane, on a spiral (`spiral_mixture`).

Of each row: evaluations per draw, seconds of the first run (with compilation) and of the later
ones, error of log Z of each seed with the reported standard error, effective sample size over the
draws, total variation of the mode weights (mean over the seeds, beside the 95 % quantile of exact
draws; only where there are at most 256 modes), and the findings. Draws are 2,000 where the series
is not about them.

Usage: python -m benchmarks.scaling [--series two_modes,...] [--seeds 3] [--num-draws 1e2,1e3]
[--output benchmarks/results/scaling.json] [--picture benchmarks/results/scaling.png]

Rows that the output file has are kept, so a run that was stopped goes on; remove the file to
measure anew.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax
from benchmarks.report import chosen, environment, line, strict, write
from benchmarks.scaling_picture import cells, picture, table
from benchmarks.truth import modes_record
from rdmc_jax import problems
from rdmc_jax.problems.mixtures import gaussian_mixture

NUM_SAMPLES = 2000
MAX_MODES = 256
SPACING = 7.0
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
SERIES = {
    "two_modes": (2, 8, 16, 32, 64, 128),
    "many_well": (2, 4, 8, 16, 30),
    "phi4_chain": (8, 16, 32, 64),
    "num_samples": (100, 1000, 10_000, 100_000),
    "num_modes": (1, 2, 4, 8, 16, 32, 64),
}


def spiral(num_modes):
    """Means ``7 √k (cos kφ, sin kφ)``, φ the golden angle, shape (num_modes, 2).

    Neighbours are seven apart or more, however many there are: it is the area that grows.
    """
    number = np.arange(num_modes)
    radius, angle = SPACING * np.sqrt(number), GOLDEN_ANGLE * number
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def spiral_mixture(num_modes):
    """Unit Gaussians of equal weight at the points of `spiral`: log Z is 0."""
    return gaussian_mixture(
        f"spiral_mixture({num_modes})",
        weights=np.full(num_modes, 1 / num_modes),
        means=spiral(num_modes),
        covariances=np.ones(num_modes),
        reference="closed form",
    )


def case(series, size):
    """The problem and the number of draws of one row."""
    if series == "num_samples":
        return problems.two_modes(8), size
    if series == "num_modes":
        return spiral_mixture(size), NUM_SAMPLES
    return getattr(problems, series)(size), NUM_SAMPLES


def measure(series, size, num_seeds):
    """The record of one row."""
    problem, num_samples = case(series, size)
    runs, seconds = [], []
    for seed in range(num_seeds):
        begin = time.perf_counter()
        position = jnp.asarray(problem.position, jnp.float32)
        key = jax.random.key(seed)
        runs.append(rdmc_jax.sample(key, problem.logdensity_fn, position, num_samples))
        seconds.append(time.perf_counter() - begin)
    weights = problem.mode_weights
    modes = None
    if weights is not None and len(weights) <= MAX_MODES:
        whole = modes_record(problem, runs)
        modes = {name: whole[name] for name in ("average", "per_seed", "per_seed_floor")}
    return {
        "series": series,
        "size": size,
        "problem": problem.name,
        "commit": environment()["versions"]["commit"],
        "dim": int(np.size(problem.position)),
        "num_samples": num_samples,
        "evals_per_sample": [draws.evals_per_sample for draws in runs],
        "seconds": seconds,
        "log_normalizer_errors": [d.log_normalizer - problem.log_normalizer for d in runs],
        "reported_standard_errors": [draws.log_normalizer_error for draws in runs],
        "ess_fraction": [draws.ess / num_samples for draws in runs],
        "modes": modes,
        "findings": [[code for code, _ in draws.findings()] for draws in runs],
        "plan": runs[0].plan.reason,
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", default=",".join(SERIES))
    parser.add_argument("--seeds", type=int, default=3, help="runs in each row")
    parser.add_argument("--num-draws", help="of the series num_samples, such as 1e2,1e6")
    parser.add_argument("--largest", type=float, default=np.inf, help="size to stop a series at")
    parser.add_argument("--output", type=Path, help="JSON file, written after each row")
    parser.add_argument("--picture", type=Path, help="PNG file, drawn at the end")
    options = parser.parse_args()
    options.series = chosen(parser, options.series, SERIES, "series")
    return options


def main():
    options = arguments()
    report = {**environment(), "records": []}
    report["settings"] = {"num_seeds": options.seeds, "num_samples": NUM_SAMPLES}
    if options.output is not None and options.output.exists():
        report["records"] = json.loads(options.output.read_text("utf-8"))["records"]
    done = {(record["series"], record["size"]) for record in report["records"]}
    for series in options.series:
        sizes = SERIES[series]
        if series == "num_samples" and options.num_draws:
            sizes = [int(float(part)) for part in options.num_draws.split(",")]
        for size in sizes:
            if (series, size) in done or size > options.largest:
                continue
            # programs of earlier problems would pile up until the process has no memory maps left
            jax.clear_caches()
            report["records"].append(strict(measure(series, size, options.seeds)))
            print(line(cells(report["records"][-1])), file=sys.stderr, flush=True)
            write(report, options.output)
    print(table(report["records"]))
    if options.picture is not None:
        picture(report["records"], options.picture)


if __name__ == "__main__":
    main()
