"""Time of the samplers over the limit: a bare loop of the same evaluations and normal numbers.

The limit is one jitted program of ``lax.scan`` over Langevin steps ``x + h ∇log π(x) + √(2h) ξ`` on
the same density in single precision, for as many chains side by side as the sampler moves (column
width). It evaluates value and gradient as often as the sampler, the value alone as often
(importance candidates, trial points of the pilot), and draws as many normal numbers. It has none of
the rest: acceptance, weights, adaptation, resampling, kernel averages of the pool, eigenvectors of
Hessians. Evaluations are those that the run reports (a Hessian product is one); normal numbers are
counted by a run of the same program with the same key.

The problems are `two_modes`, whose density costs next to nothing, and `galaxy` (82 data). The
programs are

- `MALA alone`: that kernel in a loop, which is the limit with accepting and rejecting;
- `paper`: the published algorithm, unadjusted chains that begin at importance candidates;
- `chains`: warm MALA chains on each particle's posterior, matched moments, annealed finish;
- `default`: what `sample` runs: its preparation (pilot and pool) and its ensemble are two
  programs, and the row has their sum.

Seconds are medians of runs in which sampler and limit take turns; compilation, tracing included,
has a column of its own. Memory is what the compiler reserves (temporary arrays, arguments, results)
for each number of particles; that of the default is of its ensemble, with the size of the pool
fixed.

Usage: python -m benchmarks.speed.speed [--problems two_modes_2,...] [--methods paper,...]
[--repeats 7] [--particles 256,1024,4096,16384] [--memory-dims 16]
[--output benchmarks/results/speed.json]
"""

import argparse
import functools
import statistics
import sys
import time
from pathlib import Path

import jax

from benchmarks.harness.report import chosen, environment, line, markdown, write
from benchmarks.speed.limit import Counts, bare_loop, counted_normals
from benchmarks.speed.programs import (
    MALA,
    METHODS,
    ensemble_of,
    evaluations_of,
    flat,
    preparation_of,
    program_of,
    programs_of,
)
from rdmc_jax import problems

PROBLEMS = {
    **{f"two_modes_{dim}": functools.partial(problems.two_modes, dim) for dim in (2, 16, 64)},
    "galaxy_equal": lambda: problems.galaxy(3, True),
}
TIMED = (MALA, *METHODS)
COLUMNS = (
    "problem",
    "program",
    "dim",
    "gradients",
    "values alone",
    "normal vectors",
    "width",
    "s",
    "s of the limit",
    "ratio",
    "s to compile (limit)",
)
MEMORY_COLUMNS = ("program", "dim", "particles", "MiB", "bytes per particle and coordinate")


def compiled(run, *arguments):
    """The program compiled ahead of time, and the seconds that took."""
    begin = time.perf_counter()
    program = jax.jit(lambda *given: run(*given)).lower(*arguments).compile()
    return program, time.perf_counter() - begin


def seconds_of(calls, num_repeats):
    """Seconds of each call, shape (num_calls, num_repeats); the calls take turns."""
    seconds = [[] for _ in calls]
    for _ in range(num_repeats):
        for own, call in zip(seconds, calls, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(call())
            own.append(time.perf_counter() - begin)
    return seconds


def megabytes(program):
    """What the compiler reserves for a program, in MiB; None where a backend does not tell."""
    sizes = program.memory_analysis()
    if sizes is None:
        return None
    used = sizes.temp_size_in_bytes + sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    return used / 2**20


def measure(program, logdensity_fn, dim, num_repeats):
    """The record of one program beside its limit."""
    key = jax.random.key(0)
    sampler, compile_seconds = compiled(program.run, key, *program.arguments)
    logdensities, gradients = evaluations_of(sampler(key, *program.arguments))
    normals = counted_normals(program.run, key, *program.arguments)
    counts = Counts(gradients, logdensities - gradients, round(normals / dim))
    loop, loop_counts = bare_loop(logdensity_fn, dim, program.width, counts)
    limit, limit_compile_seconds = compiled(loop, key)
    jax.block_until_ready(limit(key))
    seconds, limit_seconds = seconds_of(
        [lambda: sampler(key, *program.arguments), lambda: limit(key)], num_repeats
    )
    return {
        "program": program.name,
        "dim": dim,
        "width": program.width,
        "counts": counts._asdict(),
        "limit_counts": loop_counts._asdict(),
        "seconds": seconds,
        "limit_seconds": limit_seconds,
        "median": statistics.median(seconds),
        "limit_median": statistics.median(limit_seconds),
        # neighbours in time, so that a slow spell of the machine meets both
        "ratio": statistics.median(
            own / bare for own, bare in zip(seconds, limit_seconds, strict=True)
        ),
        "compile_seconds": compile_seconds,
        "limit_compile_seconds": limit_compile_seconds,
        "megabytes": megabytes(sampler),
    }


def total_of(records):
    """The sum of the default's two programs."""
    both = {
        name: sum(record[name] for record in records)
        for name in ("median", "limit_median", "compile_seconds", "limit_compile_seconds")
    }
    counts = [record["counts"] for record in records]
    return {
        "problem": records[0]["problem"],
        "program": "default",
        "dim": records[0]["dim"],
        "width": records[0]["width"],
        "counts": {name: sum(one[name] for one in counts) for name in Counts._fields},
        **both,
        "ratio": both["median"] / both["limit_median"],
    }


def speed_of(name, problem_name, num_repeats):
    """Records of a method on one problem."""
    problem = flat(PROBLEMS[problem_name]())
    dim = problem.position.size
    records = [
        {"problem": problem_name, **measure(program, problem.logdensity_fn, dim, num_repeats)}
        for program in programs_of(name, problem, dim)
    ]
    return [total_of(records), *records] if len(records) > 1 else records


def memory_of(name, dim, num_particles):
    """Memory of one method for a number of particles: compiled, not run."""
    problem, key = problems.two_modes(dim), jax.random.key(0)
    if name == "default":
        prepared = jax.eval_shape(preparation_of(problem, dim).run, key)
        program = ensemble_of(problem, dim, num_particles, prepared)
    else:
        program = program_of(name, problem, dim, num_particles)
    used = megabytes(compiled(program.run, key, *program.arguments)[0])
    each = None if used is None else used * 2**20 / (num_particles * dim)
    return {
        "program": name,
        "dim": dim,
        "num_particles": num_particles,
        "megabytes": used,
        "bytes_per_coordinate": each,
    }


def cells(record):
    """One row of the table of times."""
    return [
        f"`{record['problem']}`",
        record["program"],
        f"{record['dim']}",
        *(f"{count:,}" for count in record["counts"].values()),
        f"{record['width']:,}",
        f"{record['median']:.3g}",
        f"{record['limit_median']:.3g}",
        f"{record['ratio']:.2f}",
        f"{record['compile_seconds']:.1f} ({record['limit_compile_seconds']:.1f})",
    ]


def memory_cells(record):
    """One row of the table of memory."""
    used, each = record["megabytes"], record["bytes_per_coordinate"]
    return [
        record["program"],
        f"{record['dim']}",
        f"{record['num_particles']:,}",
        "–" if used is None else f"{used:.1f}",
        "–" if each is None else f"{each:.0f}",
    ]


def table(records, columns=COLUMNS, row=cells):
    """Records as Markdown."""
    return markdown(columns, map(row, records))


def whole_numbers(text):
    """``"2,16"`` or ``"1e3,1e6"`` as integers."""
    return [int(float(part)) for part in text.split(",") if part]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--methods", default=",".join(TIMED))
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each program")
    parser.add_argument(
        "--particles",
        type=whole_numbers,
        default=[256, 1024, 4096, 16384],
        help="for the table of memory; empty for none",
    )
    parser.add_argument("--memory-dims", type=whole_numbers, default=[16])
    parser.add_argument("--output", type=Path, help="JSON file, written after each row")
    options = parser.parse_args()
    options.problems = chosen(parser, options.problems, PROBLEMS, "problems")
    options.methods = chosen(parser, options.methods, TIMED, "methods")
    return options


def main():
    options = arguments()
    report = environment()
    report["settings"] = {"num_repeats": options.repeats, "seed": 0}
    report["records"], report["memory"] = [], []
    for problem in options.problems:
        for name in options.methods:
            jax.clear_caches()
            for record in speed_of(name, problem, options.repeats):
                report["records"].append(record)
                print(line(cells(record)), file=sys.stderr, flush=True)
            write(report, options.output)
    for dim in options.memory_dims:
        for name in [method for method in options.methods if method in METHODS]:
            jax.clear_caches()
            for num_particles in options.particles:
                report["memory"].append(memory_of(name, dim, num_particles))
                print(line(memory_cells(report["memory"][-1])), file=sys.stderr, flush=True)
                write(report, options.output)
    print(table(report["records"]))
    if report["memory"]:
        print("\n" + table(report["memory"], MEMORY_COLUMNS, memory_cells))


if __name__ == "__main__":
    main()
