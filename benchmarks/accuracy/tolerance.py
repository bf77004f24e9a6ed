"""Accuracy as asked for: tolerance against certificate, measured error and cost.

For each problem and tolerance ε one run of ``rdmc_jax.sample(..., tolerance=ε)``. Written are the
limit that the pilot predicts, the certified ``tv_limit`` of the reported draws, and two distances
of the *unweighted* draws, which the certificate is about: total variation of the mode weights and
the largest Kolmogorov-Smirnov distance over the coordinates. Both are lower bounds of the total
variation itself; each stands beside its floor, the 95 % quantile of as many exact draws.

Usage: python -m benchmarks.accuracy.tolerance [--problems gmm4,...] [--tolerances 0.3,0.1,0.03]
[--num-samples 2000] [--max-evals 20000] [--output benchmarks/results/tolerance.json]
[--picture benchmarks/results/tolerance.png]
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax
from benchmarks.harness.report import chosen, environment, line, markdown, write
from benchmarks.harness.truth import NUM_REPEATS, QUANTILE, mode_floor, rows_of, total_variation
from rdmc_jax import metrics, problems

PROBLEMS = {
    "gmm4": problems.gmm4,
    "gmm8": problems.gmm8,
    "gaussian_10": lambda: problems.gaussian(10),
    "two_modes_8": lambda: problems.two_modes(8),
    "galaxy_equal": lambda: problems.galaxy(3, True),
    "funnel": problems.funnel,
}
NUM_REFERENCE = 10_000
COLUMNS = (
    "problem",
    "tolerance",
    "predicted",
    "certified",
    "TV bound",
    "modes (floor)",
    "KS (floor)",
    "log Z error",
    "ESS",
    "evals",
    "findings",
)


def modes_of(problem, draws):
    if problem.mode_weights is None:
        return None
    truth = problem.mode_weights / np.sum(problem.mode_weights)
    modes = np.asarray(jax.vmap(problem.mode_fn)(draws.position))
    share = np.bincount(modes, minlength=truth.size) / modes.size
    return [float(total_variation(share, truth)), mode_floor(truth, modes.size)]


def smirnov_of(problem, draws):
    if problem.sample is None:
        return None
    reference_key, floor_key = jax.random.split(jax.random.key(2**31))
    reference = rows_of(problem.sample(reference_key, NUM_REFERENCE))
    floors = [
        float(metrics.kolmogorov_smirnov(rows_of(problem.sample(k, draws.num_samples)), reference))
        for k in jax.random.split(floor_key, NUM_REPEATS)
    ]
    value = float(metrics.kolmogorov_smirnov(rows_of(draws.position), reference))
    return [value, float(np.quantile(floors, QUANTILE))]


def measure(name, tolerance, options):
    problem = PROBLEMS[name]()
    begin = time.perf_counter()
    draws = rdmc_jax.sample(
        jax.random.key(0),
        problem.logdensity_fn,
        jax.tree.map(jnp.asarray, problem.position),
        options.num_samples,
        tolerance=tolerance,
        max_evals=options.max_evals * options.num_samples,
    )
    accuracy = draws.plan.accuracy
    return {
        "problem": name,
        "commit": environment()["versions"]["commit"],
        "tolerance": tolerance,
        "predicted": accuracy.predicted,
        "certified": draws.tv_limit,
        "tv_bound": draws.tv_bound,
        "kl_limit": draws.kl_limit,
        "modes": modes_of(problem, draws),
        "ks": smirnov_of(problem, draws),
        "log_normalizer_error": draws.log_normalizer - problem.log_normalizer,
        "reported_standard_error": draws.log_normalizer_error,
        "ess": draws.ess,
        "evals_per_sample": draws.evals_per_sample,
        "trials": [one._asdict() for one in accuracy.trials],
        "stopped": accuracy.stopped,
        "findings": [code for code, _ in draws.findings()],
        "seconds": time.perf_counter() - begin,
    }


def cells(record):
    def with_floor(pair):
        return "–" if pair is None else f"{pair[0]:.3f} ({pair[1]:.3f})"

    return [
        f"`{record['problem']}`",
        f"{record['tolerance']:g}",
        f"{record['predicted']:.3f}",
        f"{record['certified']:.3f}",
        f"{record['tv_bound']:.3f}",
        with_floor(record["modes"]),
        with_floor(record["ks"]),
        f"{record['log_normalizer_error']:+.3f} ± {record['reported_standard_error']:.3f}",
        f"{record['ess']:.0f}",
        f"{record['evals_per_sample']:,.0f}",
        ", ".join(record["findings"]) or "none",
    ]


def table(records):
    return markdown(COLUMNS, map(cells, records))


def picture(records, path):
    """Evaluations against certified accuracy, one line for each problem."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(record["problem"] for record in records):
        own = [record for record in records if record["problem"] == name]
        own.sort(key=lambda record: record["certified"])
        points = axes.loglog(
            [record["certified"] for record in own],
            [record["evals_per_sample"] for record in own],
            marker="o",
            label=name,
        )
        missed = [record for record in own if "R114" in record["findings"]]
        axes.loglog(
            [record["certified"] for record in missed],
            [record["evals_per_sample"] for record in missed],
            linestyle="none",
            marker="x",
            markersize=11,
            color=points[0].get_color(),
        )
    ticks = [0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("certified total variation (cross: more than was asked for)")
    axes.set_ylabel("evaluations per draw")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--tolerances", default="0.3,0.1,0.03")
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--max-evals", type=float, default=20_000)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    names = chosen(parser, options.problems, PROBLEMS, "problems")
    settings = {"num_samples": options.num_samples, "max_evals": options.max_evals, "seed": 0}
    report = {**environment(), "settings": settings, "records": []}
    for tolerance in map(float, options.tolerances.split(",")):
        for name in names:
            jax.clear_caches()
            report["records"].append(measure(name, tolerance, options))
            print(line(cells(report["records"][-1])), file=sys.stderr, flush=True)
            write(report, options.output)
            if options.picture is not None:
                picture(report["records"], options.picture)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
