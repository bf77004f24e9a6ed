"""Picture and table of `benchmarks.separation`."""

import numpy as np

from benchmarks.report import markdown

STYLES = {
    ("LMC", "broad"): ("Langevin, broad start", "tab:red", "-"),
    ("LMC", "first mode"): ("Langevin, from one mode", "tab:red", ":"),
    ("ULMC", "broad"): ("underdamped, broad start", "tab:orange", "-"),
    ("ULMC", "first mode"): ("underdamped, from one mode", "tab:orange", ":"),
    ("paper", None): ("rdMC as published", "tab:blue", "-"),
    ("sample", None): ("rdmc_jax.sample", "black", "-"),
}
# at the floor: not worse than 95 of 100 clouds of exact draws, on average over the seeds
COLUMNS = ("target", "floor", *(label for label, _, _ in STYLES.values()))


def path(target, method, start):
    """Records of one method by the number of evaluations."""
    own = [
        record
        for record in target["records"]
        if record["method"] == method and record.get("start") == start
    ]
    return sorted(own, key=lambda record: record["evals"])


def picture(targets, file):
    """One panel for each target: root of MMD squared against evaluations per draw."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.6), layout="constrained")
    panels = figure.subplots(1, len(targets), sharey=True, sharex=True)
    for axes, target in zip(panels, targets, strict=True):
        for (method, start), (label, color, linestyle) in STYLES.items():
            own = path(target, method, start)
            values = np.sqrt([record["mmd_squared"] for record in own])
            evals = [record["evals"] for record in own]
            axes.loglog(
                evals,
                values.mean(1),
                color=color,
                linestyle=linestyle,
                marker="o" if method in ("paper", "sample") else None,
                markersize=4,
                label=label,
            )
            axes.fill_between(evals, values.min(1), values.max(1), color=color, alpha=0.15, lw=0)
        axes.axhline(np.sqrt(target["floor"]), color="0.5", linestyle="--", label="exact draws")
        axes.set_title(target["problem"].replace("distance=", ""))
        axes.set_xlabel("evaluations per draw")
    panels[0].set_ylabel("MMD (mean and range over seeds)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(file, dpi=150)


def reached(target, method, start):
    """Evaluations at which the floor is reached, or the best squared error and where."""
    own = path(target, method, start)
    at_floor = [one for one in own if np.mean(one["mmd_squared"]) <= target["floor"]]
    if at_floor:
        return f"{at_floor[0]['evals']:,.0f}"
    best = min(own, key=lambda one: np.mean(one["mmd_squared"]))
    return f"no: {np.mean(best['mmd_squared']):.3f} at {best['evals']:,.0f}"


def table(targets):
    """Evaluations per draw until the squared MMD is that of exact draws."""
    rows = []
    for target in targets:
        cells = [reached(target, *key) for key in STYLES]
        rows.append([f"`{target['problem']}`", f"{target['floor']:.3f}", *cells])
    return markdown(COLUMNS, rows)
