"""How the default scales: with the dimension, the number of draws and the number of modes.

``rdmc_jax.sample`` at its defaults, ``--seeds`` runs in each row. The series:

- `two_modes`: two Gaussians in 2 to 128 dimensions, their distance growing with the root of it;
- `many_well`: products of 2 to 30 double wells, 4 to 60 dimensions, as many as 2^30 modes;
- `phi4_chain`: a correlated field of 8 to 64 sites with two modes;
- `num_samples`: two modes in 8 dimensions, 10^2 to 10^5 draws (``--num-draws`` for others);
- `num_modes`: 1 to 64 unit Gaussians of equal weight in the plane, on a spiral (`spiral_mixture`).

Each row has the evaluations per draw, the seconds of the first run (with compilation) and of the
later ones, the error of log Z of each seed with the reported standard error, the effective sample
size over the draws, the total variation of the mode weights (mean over the seeds, beside its floor,
the 95 % quantile of exact draws; only where there are at most 256 modes), and the findings. There
are 2,000 draws where the series is not about their number.

Usage: python -m benchmarks.speed.scaling [--series two_modes,...] [--seeds 3] [--num-draws 1e2,1e3]
[--output benchmarks/results/scaling.json] [--picture benchmarks/results/scaling.png]

Rows that the output file has are kept, so a run that was stopped goes on; remove the file to
measure anew.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax
from benchmarks.harness.report import (
    chosen,
    codes_text,
    environment,
    line,
    markdown,
    strict,
    write,
)
from benchmarks.harness.truth import modes_record
from rdmc_jax import problems
from rdmc_jax.problems.mixtures import gaussian_mixture

NUM_SAMPLES = 2000
MAX_MODES = 256
SPACING = 7.0
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
SERIES = {
    "two_modes": (2, 8, 16, 32, 64, 128),
    "many_well": (2, 4, 8, 16, 30),
    "phi4_chain": (8, 16, 32, 64),
    "num_samples": (100, 1000, 10_000, 100_000),
    "num_modes": (1, 2, 4, 8, 16, 32, 64),
}
PANELS = (
    ("dimension", ("two_modes", "many_well", "phi4_chain")),
    ("number of draws", ("num_samples",)),
    ("number of modes", ("num_modes",)),
)
COLUMNS = (
    "series",
    "problem",
    "draws",
    "evals per draw",
    "s first / later",
    "log Z error ± reported, per seed",
    "ESS / draws",
    "modes (floor)",
    "findings",
)


def spiral(num_modes):
    """Means ``7 √k (cos kφ, sin kφ)``, φ the golden angle, shape (num_modes, 2).

    Neighbours are seven apart or more, however many there are: it is the area that grows.
    """
    number = np.arange(num_modes)
    radius, angle = SPACING * np.sqrt(number), GOLDEN_ANGLE * number
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def spiral_mixture(num_modes):
    """Unit Gaussians of equal weight at the points of `spiral`: log Z is 0."""
    return gaussian_mixture(
        f"spiral_mixture({num_modes})",
        weights=np.full(num_modes, 1 / num_modes),
        means=spiral(num_modes),
        covariances=np.ones(num_modes),
        reference="closed form",
    )


def case(series, size):
    """The problem and the number of draws of one row."""
    if series == "num_samples":
        return problems.two_modes(8), size
    if series == "num_modes":
        return spiral_mixture(size), NUM_SAMPLES
    return getattr(problems, series)(size), NUM_SAMPLES


def measure(series, size, num_seeds):
    """The record of one row."""
    problem, num_samples = case(series, size)
    runs, seconds = [], []
    for seed in range(num_seeds):
        begin = time.perf_counter()
        position = jnp.asarray(problem.position, jnp.float32)
        key = jax.random.key(seed)
        runs.append(rdmc_jax.sample(key, problem.logdensity_fn, position, num_samples))
        seconds.append(time.perf_counter() - begin)
    weights = problem.mode_weights
    modes = None
    if weights is not None and len(weights) <= MAX_MODES:
        whole = modes_record(problem, runs)
        modes = {name: whole[name] for name in ("average", "per_seed", "per_seed_floor")}
    return {
        "series": series,
        "size": size,
        "problem": problem.name,
        "commit": environment()["versions"]["commit"],
        "dim": int(np.size(problem.position)),
        "num_samples": num_samples,
        "evals_per_sample": [draws.evals_per_sample for draws in runs],
        "seconds": seconds,
        "log_normalizer_errors": [d.log_normalizer - problem.log_normalizer for d in runs],
        "reported_standard_errors": [draws.log_normalizer_error for draws in runs],
        "ess_fraction": [draws.ess / num_samples for draws in runs],
        "modes": modes,
        "findings": [[code for code, _ in draws.findings()] for draws in runs],
        "plan": runs[0].plan.reason,
    }


def dimension_of(record):
    """What a row's place on the axis of its panel is."""
    return record["dim"] if record["series"] in PANELS[0][1] else record["size"]


def numbers(values):
    """Floats, with nan for what JSON had no number for."""
    return [np.nan if value is None else value for value in values]


def cells(record):
    """One row of the table."""
    first, *later = record["seconds"]
    both = (record["log_normalizer_errors"], record["reported_standard_errors"])
    errors = zip(*map(numbers, both), strict=True)
    modes = "–"
    if record["modes"] is not None:
        mean = np.mean(record["modes"]["per_seed"])
        modes = f"{mean:.3f} ({record['modes']['per_seed_floor']:.3f})"
    return [
        record["series"],
        f"`{record['problem']}`",
        f"{record['num_samples']:,}",
        f"{np.mean(record['evals_per_sample']):,.0f}",
        f"{first:.1f} / {np.mean(later):.1f}" if later else f"{first:.1f}",
        ", ".join(f"{error:+.3f} ± {reported:.3f}" for error, reported in errors),
        f"{np.mean(record['ess_fraction']):.2f}",
        modes,
        codes_text(record["findings"]),
    ]


def table(records):
    """Records as Markdown."""
    return markdown(COLUMNS, map(cells, records))


def root_mean_square(values):
    return float(np.sqrt(np.mean(np.square(numbers(values)))))


def _of_modes(record):
    return np.nan if record["modes"] is None else np.mean(record["modes"]["per_seed"])


ROWS = (
    ("evaluations per draw", True, lambda r: np.mean(r["evals_per_sample"])),
    ("seconds, compiled", True, lambda r: np.mean(r["seconds"][1:] or [np.nan])),
    ("log Z, rms error", True, lambda r: root_mean_square(r["log_normalizer_errors"])),
    ("ESS / draws", False, lambda r: np.mean(r["ess_fraction"])),
    ("TV of the mode weights", False, _of_modes),
)


def picture(records, path):
    """Every quantity against every size; the reported error of log Z dotted beside the true one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 11.0), layout="constrained")
    grid = figure.subplots(len(ROWS), len(PANELS), sharex="col", sharey="row")
    for column, (label, names) in enumerate(PANELS):
        for row, (quantity, is_log, value) in enumerate(ROWS):
            axes = grid[row, column]
            axes.set_xscale("log", base=10 if label == "number of draws" else 2)
            if is_log:
                axes.set_yscale("log")
            for number, name in enumerate(names):
                own = sorted((r for r in records if r["series"] == name), key=dimension_of)
                at, color = [dimension_of(r) for r in own], f"C{number}"
                axes.plot(at, [value(r) for r in own], marker="o", color=color, label=name)
                beside = None
                if quantity.startswith("log Z"):
                    beside = [root_mean_square(r["reported_standard_errors"]) for r in own]
                elif quantity.startswith("TV"):
                    beside = [(r["modes"] or {}).get("per_seed_floor", np.nan) for r in own]
                elif quantity.startswith("seconds"):
                    beside = [r["seconds"][0] for r in own]
                if beside is not None:
                    axes.plot(at, beside, linestyle=":", color=color)
            if not is_log:
                axes.set_ylim(0, 1.05 if quantity.startswith("ESS") else None)
            if column == 0:
                axes.set_ylabel(quantity)
            if row == len(ROWS) - 1:
                axes.set_xlabel(label)
    grid[0, 0].legend(frameon=False)
    grid[0, 1].set_title("two_modes(8)", fontsize="small", loc="left")
    grid[0, 2].set_title("spiral_mixture, in the plane", fontsize="small", loc="left")
    notes = {1: "dotted: with compilation", 2: "dotted: reported", 4: "dotted: exact draws, 95 %"}
    for row, note in notes.items():
        grid[row, 0].set_title(note, fontsize="small", loc="left")
    figure.savefig(path, dpi=150)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", default=",".join(SERIES))
    parser.add_argument("--seeds", type=int, default=3, help="runs in each row")
    parser.add_argument("--num-draws", help="of the series num_samples, such as 1e2,1e6")
    parser.add_argument("--largest", type=float, default=np.inf, help="size to stop a series at")
    parser.add_argument("--output", type=Path, help="JSON file, written after each row")
    parser.add_argument("--picture", type=Path, help="PNG file, drawn at the end")
    options = parser.parse_args()
    options.series = chosen(parser, options.series, SERIES, "series")
    return options


def main():
    options = arguments()
    report = {**environment(), "records": []}
    report["settings"] = {"num_seeds": options.seeds, "num_samples": NUM_SAMPLES}
    if options.output is not None and options.output.exists():
        report["records"] = json.loads(options.output.read_text("utf-8"))["records"]
    done = {(record["series"], record["size"]) for record in report["records"]}
    for series in options.series:
        sizes = SERIES[series]
        if series == "num_samples" and options.num_draws:
            sizes = [int(float(part)) for part in options.num_draws.split(",")]
        for size in sizes:
            if (series, size) in done or size > options.largest:
                continue
            # programs of earlier problems would pile up until the process has no memory maps left
            jax.clear_caches()
            report["records"].append(strict(measure(series, size, options.seeds)))
            print(line(cells(report["records"][-1])), file=sys.stderr, flush=True)
            write(report, options.output)
    print(table(report["records"]))
    if options.picture is not None:
        picture(report["records"], options.picture)


if __name__ == "__main__":
    main()
