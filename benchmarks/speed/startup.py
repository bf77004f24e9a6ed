"""What a process pays before its first draws: imports, compilation, and what a cache saves.

``import_time``: what ``import rdmc_jax`` costs beyond ``import jax, jax.numpy``, and which optional
packages it imports. Each repetition is a fresh process that imports jax first, then the library;
the median counts. One process runs before them and is not counted, because it may compile bytecode.
The limit is 0.3 seconds beyond jax.

``first_call``: seconds of the first `sample` in a process, which compiles, and what JAX's own cache
saves. For every problem two processes share one compilation cache (``JAX_COMPILATION_CACHE_DIR``),
which is empty for the first; each process samples twice.
A third process compiles with JAX's own options in place of the library's
(`rdmc_jax.target.programs`), without a cache.

Seconds depend on the machine and on what else runs there.

Usage: python -m benchmarks.speed.startup import_time [--repeats 11]
[--output benchmarks/results/import_time.json]

python -m benchmarks.speed.startup first_call [--problems gmm4,...]
[--output benchmarks/results/first_call.json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness.cases import PROBLEMS
from benchmarks.harness.report import ROOT, chosen, environment, line, markdown, write

LIMIT = 0.3
OPTIONAL = ("matplotlib", "tqdm", "blackjax", "numpyro", "arviz", "ot", "sklearn")
IMPORTS = f"""
import json, sys, time
start = time.perf_counter()
import jax, jax.numpy
middle = time.perf_counter()
import rdmc_jax
end = time.perf_counter()
optional = [name for name in {OPTIONAL} if name in sys.modules]
print(json.dumps({{"jax": middle - start, "rdmc_jax": end - middle, "optional": optional}}))
"""
CHOSEN = ("gmm4", "galaxy_equal", "two_modes_64")
COLUMNS = ("problem", "import", "first", "first, JAX's options", "first, cached", "second")
KEYS = ("import", "first", "first_plain", "first_cached", "second")
CALLS = """
import json, sys, time
begin = time.perf_counter()
import jax, jax.numpy
import rdmc_jax
seconds = {"import": time.perf_counter() - begin}
from rdmc_jax.target import programs
if sys.argv[2:] == ["plain"]:
    programs.compiler_options = lambda: None
from benchmarks.harness.cases import PROBLEMS
problem = PROBLEMS[sys.argv[1]]()
for seed, name in enumerate(("first", "second")):
    begin = time.perf_counter()
    rdmc_jax.sample(jax.random.key(seed), problem.logdensity_fn, problem.position, 2000)
    seconds[name] = time.perf_counter() - begin
print(json.dumps(seconds))
"""


def once(script, *arguments, **variables):
    """What a script prints in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"{' '.join(arguments) or 'the import'} failed:\n{run.stderr}")
    return json.loads(run.stdout)


def imports(num_repeats):
    """Seconds of both imports, and the optional packages imported."""
    load = os.getloadavg()[0]
    once(IMPORTS, JAX_PLATFORMS="cpu")
    runs = [once(IMPORTS, JAX_PLATFORMS="cpu") for _ in range(num_repeats)]
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


def calls(name):
    """Seconds of one problem: of an empty cache, then of a filled one."""
    with tempfile.TemporaryDirectory() as folder:
        cache = {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        empty, filled = once(CALLS, name, **cache), once(CALLS, name, **cache)
    plain = once(CALLS, name, "plain")
    record = {"problem": name, "import": filled["import"], "first": empty["first"]}
    record |= {"first_plain": plain["first"], "first_cached": filled["first"]}
    return {**record, "second": filled["second"]}


def cells(record):
    seconds = (record[key] for key in KEYS)
    return [f"`{record['problem']}`", *(f"{value:.1f}" for value in seconds)]


def table(records):
    """Records of ``first_call`` as Markdown."""
    return markdown(COLUMNS, map(cells, records))


def import_time(options):
    report = {**environment(), **imports(options.repeats)}
    write(report, options.output)
    print(json.dumps(report, indent=1, allow_nan=False))


def first_call(options):
    report = {**environment(), "load_before": os.getloadavg()[0], "records": []}
    for name in options.problems:
        report["records"].append(calls(name))
        print(line(cells(report["records"][-1])), file=sys.stderr, flush=True)
        write(report, options.output)
    print(table(report["records"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("import_time", help="what the import costs beyond that of jax")
    one.add_argument("--repeats", type=int, default=11)
    one.add_argument("--output", type=Path)
    one.set_defaults(run=import_time)
    two = parts.add_parser("first_call", help="what the first call of a process costs")
    two.add_argument("--problems", default=",".join(CHOSEN))
    two.add_argument("--output", type=Path)
    two.set_defaults(run=first_call)
    options = parser.parse_args()
    if options.run is first_call:
        options.problems = chosen(parser, options.problems, PROBLEMS, "problems")
    options.run(options)


if __name__ == "__main__":
    main()
