"""Seconds of the first `sample` in a process, which compiles, and what JAX's own cache saves.

For every problem two processes share one compilation cache (``JAX_COMPILATION_CACHE_DIR``), empty
for the first; each samples twice. Seconds depend on the machine and on what else runs there.

Usage: python -m benchmarks.first_call [--problems gmm4,...] [--output results/first_call.json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import PROBLEMS
from benchmarks.report import ROOT, chosen, environment, line, markdown, write

CHOSEN = ("gmm4", "galaxy_equal", "two_modes_64")
COLUMNS = ("problem", "import", "first", "first, cached", "second")
SCRIPT = """
import json, sys, time
begin = time.perf_counter()
import jax, jax.numpy
import rdmc_jax
seconds = {"import": time.perf_counter() - begin}
from benchmarks.cases import PROBLEMS
problem = PROBLEMS[sys.argv[1]]()
for seed, name in enumerate(("first", "second")):
    begin = time.perf_counter()
    rdmc_jax.sample(jax.random.key(seed), problem.logdensity_fn, problem.position, 2000)
    seconds[name] = time.perf_counter() - begin
print(json.dumps(seconds))
"""


def once(name, cache):
    """Seconds in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, name],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"{name} failed:\n{run.stderr}")
    return json.loads(run.stdout)


def measure(name):
    with tempfile.TemporaryDirectory() as cache:
        empty, filled = once(name, cache), once(name, cache)
    record = {"problem": name, "import": filled["import"], "first": empty["first"]}
    return {**record, "first_cached": filled["first"], "second": filled["second"]}


def cells(record):
    seconds = (record[key] for key in ("import", "first", "first_cached", "second"))
    return [f"`{record['problem']}`", *(f"{value:.1f}" for value in seconds)]


def table(records):
    return markdown(COLUMNS, map(cells, records))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(CHOSEN))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    report = {**environment(), "load_before": os.getloadavg()[0], "records": []}
    for name in chosen(parser, options.problems, PROBLEMS, "problems"):
        report["records"].append(measure(name))
        print(line(cells(report["records"][-1])), file=sys.stderr, flush=True)
        write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
