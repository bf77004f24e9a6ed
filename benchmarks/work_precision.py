"""Error against evaluations and seconds: ours beside the samplers that people use.

Methods: `rdmc_jax.sample` with the smallest budget that it takes, at its defaults and with a
tolerance; `rdmc_jax.paper`; a composition whose particles pool their inner chains; and the
baselines of `benchmarks.baselines` (settings there), which get a broad start, a reference that
covers the modes and tuning for nothing. `paper` and the composition get the baselines' coordinates
too; `sample` gets an example position.

For each problem, method, size and seed: absolute error of log Z; total variation of the mode
weights; largest Kolmogorov-Smirnov distance over the coordinates, where there are exact draws;
evaluations per draw (the larger of density and gradient counts, pilots and pools included);
seconds of a run that compiles nothing (of the same key again, if it needed other programs than the
keys before it; ``seconds_cold`` are those of the first time), by the wall and of the processors,
and of the first run of that method, which compiles.
The floor is what as many exact draws read (95 % quantile). Rows of the output file are kept with
``--resume``.

Usage: python -m benchmarks.work_precision [--problems gmm4,...] [--methods sample,NUTS,...]
[--seeds 3] [--num-samples 2000] [--max-evals 2000] [--resume]
[--output benchmarks/results/work_precision.json] [--pictures benchmarks/results]
"""

import argparse
import functools
import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.baselines import make_target, untuned
from benchmarks.contenders import METHODS
from benchmarks.report import chosen, environment, write
from benchmarks.timing import timed
from benchmarks.truth import errors_of, truth_of
from benchmarks.work_precision_picture import pictures, table
from rdmc_jax import problems

PROBLEMS = {
    "gmm4": problems.gmm4,
    "gmm8": problems.gmm8,
    "rings": problems.rings,
    "two_modes_8": lambda: problems.two_modes(8),
    "two_modes_32": lambda: problems.two_modes(32),
    "galaxy_equal": lambda: problems.galaxy(3, True),
    "many_well_4": lambda: problems.many_well(4),
    "spike_slab_5": lambda: problems.spike_slab(5),
    "unequal_mixture_8": lambda: problems.unequal_mixture(8),
    "funnel": problems.funnel,
    "gaussian_10": lambda: problems.gaussian(10),
}


def measure(name, problem, method, done, options):
    """Rows of one problem and method, from the cheapest size on."""
    run, tune, sizes, is_static = METHODS[method]
    target, truth = make_target(problem), truth_of(problem, options.num_samples)
    parameters, first_seconds = None, None
    commit = environment()["versions"]["commit"]
    for size in sizes:
        evals = []
        for seed in range(options.seeds):
            row = (name, method, str(size), seed)
            if row in done:
                evals.append(done[row]["evals_per_sample"])
                continue
            if parameters is None and tune is not untuned:
                parameters = tune(jax.random.key(999), target, options.num_samples)
            arguments = (problem, target, options.num_samples, size, parameters)
            if first_seconds is None or (is_static and seed == 0):
                begin = time.perf_counter()
                run(jax.random.key(998), *arguments)
                first_seconds = time.perf_counter() - begin
            once = timed(functools.partial(run, jax.random.key(seed), *arguments))
            outcome = once.result
            evals.append(outcome.evals_per_sample)
            yield {
                "problem": name,
                "method": method,
                "size": str(size),
                "seed": seed,
                "commit": commit,
                "evals_per_sample": outcome.evals_per_sample,
                "seconds": once.wall,
                "cpu_seconds": once.cpu,
                "seconds_cold": once.cold,
                "num_compiled": once.num_compiled,
                "seconds_first": first_seconds,
                "errors": errors_of(problem, truth, outcome),
                "floors": truth.floors,
            }
        if np.mean(evals) * 3 > options.max_evals:  # the next size is three times as dear
            return


def key_of(record):
    return record["problem"], record["method"], record["size"], record["seed"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--max-evals", type=float, default=2000)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    options.problems = chosen(parser, options.problems, PROBLEMS, "problems")
    options.methods = chosen(parser, options.methods, METHODS, "methods")
    return options


def main():
    options = arguments()
    settings = {"num_samples": options.num_samples}
    report = {**environment(), "settings": settings, "records": []}
    if options.resume and options.output is not None and options.output.exists():
        before = json.loads(options.output.read_text("utf-8"))
        if before["settings"] == settings:
            report["records"] = before["records"]
    done = {key_of(record): record for record in report["records"]}
    for name in options.problems:
        for method in options.methods:
            jax.clear_caches()
            for record in measure(name, PROBLEMS[name](), method, done, options):
                report["records"].append(record)
                write(report, options.output)
            print(f"{name}, {method}: done", file=sys.stderr, flush=True)
        print(table(report["records"]), file=sys.stderr, flush=True)
    if options.pictures is not None:
        pictures(report["records"], options.pictures)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
