"""Pictures and tables of `benchmarks.work_precision`."""

import itertools

import numpy as np

from benchmarks.baselines.target import EACH
from benchmarks.report import markdown

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


def short_table(records):
    """Ours beside the baselines that people would take."""
    return floors(records, ("sample", "SMC MALA", "parallel tempering", "NUTS"))


def table(records):
    """Evaluations per draw to the floor, then the best log Z of each method that has one."""
    methods = [name for name in COLORS if any(one["method"] == name for one in records)]
    with_z = [one for one in methods if log_z(records, one) != "–"]
    rows = []
    for name, own in grouped(records).items():
        rows.append([f"`{name}`", *(log_z(own, method) for method in with_z)])
    return f"{floors(records, methods)}\n\n{markdown(('problem', *with_z), rows)}"
