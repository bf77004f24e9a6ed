"""What ``import rdmc_jax`` costs beyond ``import jax, jax.numpy``, and what it does not import.

Each repetition is a fresh process that imports jax first, then the library; the median counts.
The first process is thrown away, it may compile bytecode. Limit aimed at: 0.3 seconds beyond jax.

Usage: python -m benchmarks.import_time [--repeats 11] [--output results/import_time.json]
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.report import ROOT, environment, write

LIMIT = 0.3
OPTIONAL = ("matplotlib", "tqdm", "blackjax", "numpyro", "arviz", "ot", "sklearn")
SCRIPT = f"""
import json, sys, time
start = time.perf_counter()
import jax, jax.numpy
middle = time.perf_counter()
import rdmc_jax
end = time.perf_counter()
optional = [name for name in {OPTIONAL} if name in sys.modules]
print(json.dumps({{"jax": middle - start, "rdmc_jax": end - middle, "optional": optional}}))
"""


def once():
    """Seconds of both imports in a process of its own, and the optional packages imported."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


def measure(repeats):
    load = os.getloadavg()[0]
    once()
    runs = [once() for _ in range(repeats)]
    seconds = [run["rdmc_jax"] for run in runs]
    return {
        "median_seconds_beyond_jax": float(np.median(seconds)),
        "seconds_beyond_jax": sorted(seconds),
        "median_seconds_of_jax": float(np.median([run["jax"] for run in runs])),
        "limit": LIMIT,
        "optional_packages_looked_for": list(OPTIONAL),
        "optional_packages_imported": sorted({name for run in runs for name in run["optional"]}),
        "load_before": load,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    report = {**environment(), **measure(options.repeats)}
    write(report, options.output)
    print(json.dumps(report, indent=1, allow_nan=False))


if __name__ == "__main__":
    main()
