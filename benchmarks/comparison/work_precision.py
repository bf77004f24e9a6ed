"""Error against evaluations and seconds: ours beside the samplers that people use.

Methods: `rdmc_jax.sample` with the smallest budget that it takes, at its defaults and with a
tolerance; `rdmc_jax.paper`; a composition whose particles pool their inner chains; and the
baselines of `benchmarks.baselines` (settings there). The baselines get a broad start, a reference
that covers the modes, and tuning that is not counted. `paper` and the composition get the
baselines' coordinates; `sample` gets an example position.

For each problem, method, size and seed: absolute error of log Z; total variation of the mode
weights; largest Kolmogorov-Smirnov distance over the coordinates, where there are exact draws;
evaluations per draw (the larger of density and gradient counts, pilots and pools included);
seconds by the wall and of the processors. These are of a run that compiles nothing: if a key needs
other programs than the keys before it, it runs again, and ``seconds_cold`` are those of the first
time. ``seconds_first`` are of the first run of that method, which compiles.

The floor is the error that 95 of 100 sets of as many exact draws stay below. ``--resume`` keeps the
rows of the output file.

Usage: python -m benchmarks.comparison.work_precision [--problems gmm4,...]
[--methods sample,NUTS,...] [--seeds 3] [--num-samples 2000] [--max-evals 2000] [--resume]
[--output benchmarks/results/work_precision.json] [--pictures benchmarks/results]
"""

import argparse
import functools
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.baselines import make_target, untuned
from benchmarks.baselines.target import EACH
from benchmarks.harness.contenders import METHODS
from benchmarks.harness.report import chosen, environment, markdown, write
from benchmarks.harness.truth import errors_of, truth_of
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
COLORS = {
    "sample": "black",
    "paper": "tab:blue",
    "pooled chains": "tab:cyan",
    "ULA": "tab:pink",
    "underdamped": "tab:olive",
    "MALA": "tab:red",
    "NUTS": "tab:orange",
    "SMC MALA": "tab:green",
    "SMC HMC": "limegreen",
    "nested slice": "tab:brown",
    "parallel tempering": "tab:purple",
}
ERRORS = {"modes": "mode weights (total variation)", "ks": "Kolmogorov-Smirnov"}
COMPILED = "/jax/core/compile/backend_compile_duration"
NUM_TRIES = 3
_compiled: list[float] = []  # seconds of each program


def _listen(event, seconds, **_):
    if event == COMPILED:
        _compiled.append(seconds)


jax.monitoring.register_event_duration_secs_listener(_listen)


class Timed(NamedTuple):
    """What a call returned, and its seconds by the wall and of the processors."""

    result: Any
    wall: float
    cpu: float
    num_compiled: int  # programs that were compiled meanwhile
    cold: float  # seconds by the wall of the first try, compilation included


def timed(call):
    """A call, again if it compiled anything: another key may need another program.

    After `NUM_TRIES` calls that all compiled, the last one, whose ``num_compiled`` says so.
    """
    cold = None
    for _ in range(NUM_TRIES):
        before = len(_compiled)
        begin, begin_cpu = time.perf_counter(), time.process_time()
        result = jax.block_until_ready(call())
        wall, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
        cold = wall if cold is None else cold
        num_compiled = len(_compiled) - before
        if not num_compiled:
            break
    return Timed(result, wall, cpu, num_compiled, cold)


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
        if np.mean(evals) * 3 > options.max_evals:  # the next size costs three times as much
            return


def key_of(record):
    return record["problem"], record["method"], record["size"], record["seed"]


def primary(records):
    """The error that a problem is judged by: mode weights where it has modes."""
    return "modes" if "modes" in records[0]["floors"] else "ks"


def curve(records, method, error, work):
    """Work and error of each size of one method: arrays (sizes,) and (sizes, seeds)."""
    own = [one for one in records if one["method"] == method and one["errors"][error] is not None]
    sizes = list(dict.fromkeys(one["size"] for one in own))
    rows = [[one for one in own if one["size"] == size] for size in sizes]
    at = np.array([np.mean([one[work] for one in row]) for row in rows])
    values = [np.abs([one["errors"][error] for one in row]) for row in rows]
    order = np.argsort(at)
    return at[order], [values[k] for k in order], [sizes[k] for k in order]


def grouped(records):
    names = dict.fromkeys(one["problem"] for one in records)
    return {name: [one for one in records if one["problem"] == name] for name in names}


def panel(axes, name, records, error, work):
    """Dotted: chains of which there is one for each draw."""
    for (method, color), is_each in itertools.product(COLORS.items(), (False, True)):
        part = [one for one in records if (EACH in one["size"]) == is_each]
        at, values, _ = curve(part, method, error, work)
        if not at.size:
            continue
        middle = [np.mean(one) for one in values]
        low, high = [np.min(one) for one in values], [np.max(one) for one in values]
        is_ours = method == "sample"
        axes.loglog(
            at,
            middle,
            color=color,
            linestyle=":" if is_each else "-",
            marker="o",
            markersize=6 if is_ours else 3,
            linewidth=2 if is_ours else 1,
            label=None if is_each else method,
            zorder=3 if is_ours else 2,
        )
        axes.fill_between(at, np.maximum(low, 1e-4), high, color=color, alpha=0.1, lw=0)
    if error in records[0]["floors"]:
        axes.axhline(records[0]["floors"][error], color="0.4", linestyle="--", label="exact draws")
    axes.set_title(name, fontsize=10)


def picture(records, error_of, work, label, file):
    """Small multiples, one for each problem."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    problems = grouped(records)
    num_columns = min(4, len(problems))
    num_rows = -(-len(problems) // num_columns)
    figure = Figure(figsize=(3.3 * num_columns, 2.6 * num_rows + 0.7), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes, (name, own) in zip(grid.flat, problems.items(), strict=False):
        error = error_of(own)
        panel(axes, name, own, error, work)
        axes.xaxis.set_minor_formatter(NullFormatter())  # they overlap where a panel spans little
        axes.set_ylabel({"modes": "mode weights", "ks": "KS", "log_z": "|log Z error|"}[error])
    for axes in list(grid.flat)[len(problems) :]:
        axes.axis("off")
    for axes in grid[-1]:
        axes.set_xlabel(label)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(file, dpi=130)


def pictures(records, folder):
    """Distances against evaluations and against seconds, and log Z against evaluations."""
    evals, seconds = "evaluations per draw", "processor seconds, compiled"
    picture(records, primary, "evals_per_sample", evals, folder / "work_precision.png")
    picture(records, primary, "cpu_seconds", seconds, folder / "work_precision_seconds.png")
    picture(records, lambda _: "log_z", "evals_per_sample", evals, folder / "work_precision_z.png")


def at_floor(records, method, error):
    """Evaluations per draw until the floor is reached, else the best error and where."""
    at, values, _ = curve(records, method, error, "evals_per_sample")
    if not at.size:
        return "–"
    means = [float(np.mean(one)) for one in values]
    floor = records[0]["floors"][error]
    for evals, mean in zip(at, means, strict=True):
        if mean <= floor:
            return f"{evals:,.0f}"
    best = int(np.argmin(means))
    return f"no ({means[best]:.3f} at {at[best]:,.0f})"


def log_z(records, method):
    """Smallest root mean square error of log Z over the sizes, and where."""
    at, values, _ = curve(records, method, "log_z", "evals_per_sample")
    finite = [(evals, one[np.isfinite(one)]) for evals, one in zip(at, values, strict=True)]
    finite = [(evals, one) for evals, one in finite if one.size]
    if not finite:
        return "–"
    evals, one = min(finite, key=lambda pair: np.mean(np.square(pair[1])))
    return f"{np.sqrt(np.mean(one**2)):.3f} at {evals:,.0f}"


def floors(records, methods):
    """Evaluations per draw to the floor, one row for each problem."""
    rows = []
    for name, own in grouped(records).items():
        error = primary(own)
        head = f"`{name}` ({own[0]['floors'][error]:.3f}{', KS' if error == 'ks' else ''})"
        rows.append([head, *(at_floor(own, method, error) for method in methods)])
    return markdown(("problem (floor)", *methods), rows)


def table(records):
    """Evaluations per draw to the floor, then the best log Z of each method that has one."""
    methods = [name for name in COLORS if any(one["method"] == name for one in records)]
    with_z = [one for one in methods if log_z(records, one) != "–"]
    rows = []
    for name, own in grouped(records).items():
        rows.append([f"`{name}`", *(log_z(own, method) for method in with_z)])
    return f"{floors(records, methods)}\n\n{markdown(('problem', *with_z), rows)}"


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
