"""Picture and table of `benchmarks.scaling`."""

import numpy as np

from benchmarks.report import codes_text, markdown

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
