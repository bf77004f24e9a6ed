"""Does the drift test (R118) speak where mass next to the draws is missing, and only there?

- Healthy runs: ``--runs`` runs at the defaults of `gmm4`, `galaxy` and `two_modes(8)`. Every R118
  of ``check(thorough=True)`` is a false alarm.
- A funnel without its mouth: exact draws, the twentieth where it is widest taken away; ``--cut``
  sets. Every set should be flagged.
- The funnel at ``tolerance`` .3 and .1, three runs each: the error of log Z in its standard
  errors, and whether R118 says so.

Usage: python -m benchmarks.accuracy.drift [--runs 100] [--cut 50] [--num-samples 2000]
[--output benchmarks/results/drift.json]
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

import rdmc_jax
from benchmarks.harness.cases import PROBLEMS
from benchmarks.harness.report import environment, line, markdown, write
from rdmc_jax import problems
from rdmc_jax.draws.drift import Density, drift

HEALTHY = ("gmm4", "galaxy_equal", "two_modes_8")
CUT = 1.645 * 3**0.5  # the 95 % quantile of the funnel's log scale
TOLERANCES = (0.3, 0.1)
COLUMNS = ("draws", "sets", "with R118", "log Z error in its standard errors")


def is_flagged(draws):
    return any(code == "R118" for code, _ in draws.check(thorough=True))


def healthy(name, num_runs, num_samples):
    problem = PROBLEMS[name]()
    runs = (
        rdmc_jax.sample(jax.random.key(seed), problem.logdensity_fn, problem.position, num_samples)
        for seed in range(num_runs)
    )
    return {"draws": name, "flagged": [is_flagged(draws) for draws in runs]}


def cut(num_sets, num_samples):
    problem, flagged = problems.funnel(), []
    for seed in range(num_sets):
        x = problem.sample(jax.random.key(seed), num_samples + num_samples // 5)
        x = x[x[:, 0] < CUT][:num_samples]
        found = drift(jax.random.key(seed), Density(problem.logdensity_fn), x, jnp.zeros(len(x)))
        flagged.append(bool(found))
    return {"draws": "funnel, exact, without its mouth", "flagged": flagged}


def at_tolerance(tolerance, num_samples):
    problem, record = problems.funnel(), {"draws": f"funnel, tolerance {tolerance}", "flagged": []}
    record["errors"] = []
    for seed in range(3):
        draws = rdmc_jax.sample(
            jax.random.key(seed),
            problem.logdensity_fn,
            problem.position,
            num_samples,
            tolerance=tolerance,
        )
        record["flagged"].append(is_flagged(draws))
        error = draws.log_normalizer - problem.log_normalizer
        record["errors"].append(error / draws.log_normalizer_error)
    return record


def cells(record):
    flagged = record["flagged"]
    errors = ", ".join(f"{error:+.1f}" for error in record.get("errors", ())) or "–"
    said = (
        " ".join("yes" if one else "no" for one in flagged) if len(flagged) <= 3 else sum(flagged)
    )
    return [record["draws"], str(len(flagged)), str(said), errors]


def table(records):
    return markdown(COLUMNS, map(cells, records))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--cut", type=int, default=50)
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--output", type=Path, help="JSON file, written after each row")
    options = parser.parse_args()
    report = {**environment(), "records": []}
    size = options.num_samples
    rows = [
        *(lambda name=name: healthy(name, options.runs, size) for name in HEALTHY),
        lambda: cut(options.cut, size),
        *(lambda one=one: at_tolerance(one, size) for one in TOLERANCES),
    ]
    for row in rows:
        report["records"].append(row())
        write(report, options.output)
        print(line(cells(report["records"][-1])), file=sys.stderr, flush=True)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
