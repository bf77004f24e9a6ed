"""Is a light broad mode around a narrow heavy one kept, and does log Z say so?

`problems.concentric_spike`: a spike a tenth as wide as the Gaussian around it has nearly all of the
mass, and nearly every climb and every chain ends in it. Ten runs of `rdmc_jax.sample` at its
defaults for each dimension and each mass of the spike.

Usage: python -m benchmarks.accuracy.light_modes [--dims 5,10] [--shares 0.9,0.99] [--seeds 10]
[--output benchmarks/results/light_modes.json]
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax
from benchmarks.harness.report import environment, line, markdown, write
from rdmc_jax import problems

NUM_SAMPLES = 2000
NUM_ERRORS = 3
"""Reported errors within which log Z should be."""
COLUMNS = (
    "dim",
    "mass of the spike",
    "mean log Z error",
    f"within {NUM_ERRORS} reported errors",
    "mass of the broad mode",
    "smallest, largest",
    "evals",
    "findings",
)


def measure(dim, share, seed):
    """One run as a record."""
    problem = problems.concentric_spike(dim, share)
    draws = rdmc_jax.sample(
        jax.random.key(seed), problem.logdensity_fn, jnp.asarray(problem.position), NUM_SAMPLES
    )
    broad, _ = draws.expectation(lambda x: (problem.mode_fn(x) == 0).astype(x.dtype))
    return {
        "dim": dim,
        "share": share,
        "seed": seed,
        "log_z": float(draws.log_normalizer - problem.log_normalizer),
        "log_z_error": float(draws.log_normalizer_error),
        "broad": float(broad),
        "truth": float(problem.mode_weights[0] / np.sum(problem.mode_weights)),
        "evals": int(draws.total_evals),
        "findings": sorted({code for code, _ in draws.findings()}),
    }


def cells(records):
    """One row, of all seeds."""
    error = np.array([one["log_z"] for one in records])
    reported = np.array([one["log_z_error"] for one in records])
    broad = np.array([one["broad"] for one in records])
    spread = error.std(ddof=1) / np.sqrt(error.size)
    flags = sorted({code for one in records for code in one["findings"]})
    return [
        str(records[0]["dim"]),
        f"{records[0]['share']:g}",
        f"{error.mean():+.4f} ± {spread:.4f}",
        f"{np.sum(np.abs(error) < NUM_ERRORS * reported)} of {error.size}",
        f"{broad.mean():.4f} ({records[0]['truth']:.4f})",
        f"{broad.min():.4f}, {broad.max():.4f}",
        f"{np.median([one['evals'] for one in records]):,.0f}",
        ", ".join(flags) or "none",
    ]


def table(records):
    """Records as Markdown: one row for each dimension and mass."""
    groups = {}
    for one in records:
        groups.setdefault((one["dim"], one["share"]), []).append(one)
    return markdown(COLUMNS, map(cells, groups.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", default="5,10")
    parser.add_argument("--shares", default="0.9,0.99")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    report = {**environment(), "records": []}
    for dim in map(int, options.dims.split(",")):
        for share in map(float, options.shares.split(",")):
            own = [measure(dim, share, seed) for seed in range(options.seeds)]
            report["records"] += own
            print(line(cells(own)), file=sys.stderr, flush=True)
            write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
