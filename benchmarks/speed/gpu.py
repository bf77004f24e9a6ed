"""Throughput on a GPU: evaluations per second against a bare loop, up to a million particles.

The limit is that of `benchmarks.speed.speed`: one jitted ``lax.scan`` on `two_modes` that makes as
many evaluations and draws as many normal numbers. The default's pilot and pool do not grow with
the particles; they are a row of their own. Particles are in ensembles of 1,000 side by side, as in
`sample`. A row that does not fit into the memory says so, and the next one is tried.

Usage: python -m benchmarks.speed.gpu [--particles 1e3,1e4,1e5,1e6] [--dims 16] [--repeats 5]
[--methods default,chains,paper] [--any-device] [--output benchmarks/results/gpu.json]

Without an NVIDIA GPU it refuses, unless ``--any-device`` says that the numbers of whatever JAX
finds are wanted.
"""

import argparse
import sys
from pathlib import Path

import jax

from benchmarks.harness.report import chosen, environment, line, write
from benchmarks.speed.programs import METHODS, ensemble_of, preparation_of, program_of, side_by_side
from benchmarks.speed.speed import measure, table, whole_numbers
from rdmc_jax import problems
from rdmc_jax.samplers.methods import NUM_PARTICLES

COLUMNS = (
    "program",
    "dim",
    "particles",
    "evaluations",
    "per second",
    "per second of the limit",
    "ratio",
    "s",
    "s to compile",
    "MiB",
)
NO_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory", "failed to allocate")


def measured(program, logdensity_fn, dim, num_particles, num_repeats):
    """The record of one row, whose program may not fit into the memory."""
    row = {"dim": dim, "num_particles": num_particles}
    try:
        record = measure(program, logdensity_fn, dim, num_repeats)
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(s in str(error) for s in NO_MEMORY):
            raise
        return {"program": program.name, **row, "error": str(error).splitlines()[0][:200]}
    done, limit_done = (
        counts["gradients"] + counts["values"]
        for counts in (record["counts"], record["limit_counts"])
    )
    return {
        **record,
        **row,
        "evals_per_second": done / record["median"],
        "limit_evals_per_second": limit_done / record["limit_median"],
    }


def rows(options):
    """Records in the order of the table."""
    for dim in options.dims:
        problem = problems.two_modes(dim)
        for name in options.methods:
            jax.clear_caches()
            prepared = None
            if name == "default":
                preparation = preparation_of(problem, dim)
                prepared = jax.jit(preparation.run)(jax.random.key(0))
                size = preparation.width
                yield measured(preparation, problem.logdensity_fn, dim, size, options.repeats)
            if prepared is None:
                one = program_of(name, problem, dim, NUM_PARTICLES)
            else:
                one = ensemble_of(problem, dim, NUM_PARTICLES, prepared)
            for size in options.particles:
                num_ensembles = max(1, size // NUM_PARTICLES)
                program = side_by_side(one, num_ensembles)
                num = num_ensembles * NUM_PARTICLES
                yield measured(program, problem.logdensity_fn, dim, num, options.repeats)


def cells(record):
    """One row of the table."""
    head = [record["program"], f"{record['dim']}", f"{record['num_particles']:,}"]
    if "error" in record:
        return [*head, "out of memory", *["–"] * (len(COLUMNS) - len(head) - 1)]
    used = record["megabytes"]
    return [
        *head,
        f"{record['counts']['gradients'] + record['counts']['values']:,}",
        f"{record['evals_per_second']:.3g}",
        f"{record['limit_evals_per_second']:.3g}",
        f"{record['ratio']:.2f}",
        f"{record['median']:.3g}",
        f"{record['compile_seconds']:.1f}",
        "–" if used is None else f"{used:,.0f}",
    ]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=whole_numbers, default=[1000, 10**4, 10**5, 10**6])
    parser.add_argument("--dims", type=whole_numbers, default=[16])
    parser.add_argument("--methods", default="default,chains,paper")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each program")
    parser.add_argument("--any-device", action="store_true", help="run on whatever JAX finds")
    parser.add_argument("--output", type=Path, help="JSON file, written after each row")
    options = parser.parse_args()
    options.methods = chosen(parser, options.methods, METHODS, "methods")
    if jax.default_backend() != "gpu" and not options.any_device:
        parser.error(
            f"no GPU: JAX runs on {jax.devices()[0].device_kind!r} ({jax.default_backend()}). "
            "Install JAX with CUDA (pip install 'jax[cuda12]') on a machine with an NVIDIA GPU, "
            "or pass --any-device to measure this one."
        )
    return options


def main():
    options = arguments()
    report = {**environment(), "records": []}
    report["settings"] = {"num_repeats": options.repeats, "problem": "two_modes", "seed": 0}
    for record in rows(options):
        report["records"].append(record)
        print(line(cells(record)), file=sys.stderr, flush=True)
        write(report, options.output)
    print(table(report["records"], COLUMNS, cells))


if __name__ == "__main__":
    main()
