"""Where others are cheaper, and where ours ends: unimodal posteriors, and many dimensions.

`problems.logistic` (31 dimensions, one mode), a Gaussian in 64, and `two_modes` in 64 and 128, by
`rdmc_jax.sample` at its defaults and by NUTS and tempered SMC of `benchmarks.baselines`, which get
a broad start and tuning that is not counted. Written for each size and seed: evaluations per draw,
processor seconds of a compiled run, error of log Z, total variation of the mode weights, and the
root mean square over the coordinates of (mean - truth) / deviation. Independent draws have
N^(-1/2).

Usage: python -m benchmarks.comparison.losses [--seeds 2] [--num-samples 2000]
[--output benchmarks/results/losses.json]
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.baselines import make_target
from benchmarks.harness.contenders import METHODS
from benchmarks.harness.report import RESULTS, chosen, environment, line, markdown, write
from benchmarks.harness.truth import Truth, errors_of, rows_of
from rdmc_jax import problems

CASES = {
    "logistic": problems.logistic,
    "gaussian_64": lambda: problems.gaussian(64),
    "two_modes_64": lambda: problems.two_modes(64),
    "two_modes_128": lambda: problems.two_modes(128),
}
# sizes of each method, the cheapest first
SIZES = {"sample": ("default",), "NUTS": ((50, 40), (50, 120), (50, 400))}
SIZES |= {"SMC HMC": ((1, 1), (10, 1)), "SMC MALA": ((3, 1), (30, 1))}
LOGISTIC = RESULTS / "logistic_truth.json"
COLUMNS = ("problem", "method", "size", "evaluations per draw", "processor seconds")
COLUMNS += ("mean (√N⁻¹)", "modes", "log Z error")


def moments_of(name, problem):
    """Exact mean and deviation of each coordinate."""
    if problem.sample is None:
        known = json.loads(LOGISTIC.read_text("utf-8"))
        return np.asarray(known["mean"]), np.asarray(known["standard_deviation"])
    rows = np.asarray(rows_of(problem.sample(jax.random.key(77), 200_000)), np.float64)
    return rows.mean(0), rows.std(0)


def mean_error(outcome, moments):
    """Root mean square over the coordinates, in deviations."""
    rows = np.asarray(rows_of(outcome.position), np.float64)
    log_weight = np.zeros(len(rows)) if outcome.log_weight is None else outcome.log_weight
    weight = np.exp(log_weight - np.max(log_weight))
    mean, deviation = moments
    return float(np.sqrt(np.mean(((weight @ rows / weight.sum() - mean) / deviation) ** 2)))


def measure(name, num_seeds, num_samples):
    problem = CASES[name]()
    target, moments = make_target(problem), moments_of(name, problem)
    for method, sizes in SIZES.items():
        jax.clear_caches()
        run, tune, *_ = METHODS[method]
        parameters = tune(jax.random.key(999), target, num_samples)
        for size in sizes:
            arguments = (problem, target, num_samples, size, parameters)
            run(jax.random.key(998), *arguments)
            record = {"problem": name, "method": method, "size": str(size), "runs": []}
            record["commit"] = environment()["versions"]["commit"]
            for seed in range(num_seeds):
                begin = time.process_time()
                outcome = run(jax.random.key(seed), *arguments)
                one = {
                    "cpu_seconds": time.process_time() - begin,
                    "evals_per_sample": outcome.evals_per_sample,
                    "mean": mean_error(outcome, moments),
                    **errors_of(problem, Truth(None, None, {}), outcome),
                }
                record["runs"].append(one)
            yield record


def cells(record, num_samples):
    def over(name, of=np.mean):
        values = [one[name] for one in record["runs"] if one[name] is not None]
        values = [value for value in values if np.isfinite(value)]
        return of(values) if values else None

    def text(value):
        return "–" if value is None else f"{value:.3f}"

    return [
        f"`{record['problem']}`",
        record["method"],
        record["size"] if record["method"] != "sample" else "defaults",
        f"{over('evals_per_sample'):,.0f}",
        f"{over('cpu_seconds'):.1f}",
        f"{over('mean'):.3f} ({num_samples**-0.5:.3f})",
        text(over("modes")),
        text(over("log_z", lambda values: np.sqrt(np.mean(np.square(values))))),
    ]


def table(report):
    num_samples = report["settings"]["num_samples"]
    return markdown(COLUMNS, [cells(record, num_samples) for record in report["records"]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(CASES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    names = chosen(parser, options.problems, CASES, "problems")
    settings = {"num_seeds": options.seeds, "num_samples": options.num_samples}
    report = {**environment(), "settings": settings, "records": []}
    for name in names:
        for record in measure(name, options.seeds, options.num_samples):
            report["records"].append(record)
            print(line(cells(record, options.num_samples)), file=sys.stderr, flush=True)
            write(report, options.output)
    print(table(report))


if __name__ == "__main__":
    main()
