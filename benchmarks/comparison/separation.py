"""The paper's story: error against evaluations as the modes move apart.

Targets: three unit-variance Gaussians of weights .5, .3, .2 on a triangle of growing side
(`problems.separation`), and eight equal ones on a circle (`problems.gmm8`). Methods, 1,000 draws:

- LMC (`kernels.ula`) and underdamped LMC (`kernels.uld`), one chain per draw, its last point; from
  a broad start N(0, s²) with the target's own deviation s, and from the first mode. Chains from the
  broad start give each mode the mass of its basin, which symmetry makes right for gmm8.
- rdMC as published (`rdmc_jax.paper`), sizes growing; horizons 1 to 3, two inner steps, two
  radii of the points that its start begins from.
- `rdmc_jax.sample` at its defaults and with a tolerance.

Steps, horizon and radius are chosen for each target and number of evaluations by the exact error
(of LMC averaged over the seeds, of rdMC on the first), a favour that `sample` does not get. The
error is the squared maximum mean discrepancy (a V-statistic, of the weighted draws where there are
weights) against 2,000 exact draws; its floor is the error that 95 of 100 sets of 1,000 exact draws
stay below. Evaluations are the larger of density and gradient counts per draw.

Usage: python -m benchmarks.comparison.separation [--seeds 3] [--num-samples 1000]
[--output benchmarks/results/separation.json] [--picture benchmarks/results/separation.png]
"""

import argparse
import functools
import itertools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax as rj
from benchmarks.harness.report import environment, markdown, write
from rdmc_jax.montecarlo.kernels import ula, uld

NUM_COMPONENTS = 8
NUM_REFERENCE = 2000
DISTANCES = (4.0, 8.0, 16.0, 32.0)
CHECKPOINTS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
STEPS = {"LMC": (0.05, 0.15, 0.3), "ULMC": (0.2, 0.5, 1.0)}
STARTS = ("broad", "first mode")
HORIZONS = (1.0, 2.0, 3.0)
# levels, chains, steps of each, Langevin steps of the start, proposals
SIZES = ((8, 4, 2, 8, 16), (12, 8, 4, 16, 64), (24, 16, 4, 64, 64), (24, 32, 8, 64, 256))
OURS = ({}, {"tolerance": 0.1})
INNER_STEPS = (0.15, 0.5)  # over the variance of a mode's inner posterior
RADII = (5.0, 20.0)  # deviation of the points that the start begins from, before the noise
STYLES = {
    ("LMC", "broad"): ("Langevin, broad start", "tab:red", "-"),
    ("LMC", "first mode"): ("Langevin, from one mode", "tab:red", ":"),
    ("ULMC", "broad"): ("underdamped, broad start", "tab:orange", "-"),
    ("ULMC", "first mode"): ("underdamped, from one mode", "tab:orange", ":"),
    ("paper", None): ("rdMC as published", "tab:blue", "-"),
    ("sample", None): ("rdmc_jax.sample", "black", "-"),
}
# the floor is reached where the mean error over the seeds is at most the floor
COLUMNS = ("target", "floor", *(label for label, _, _ in STYLES.values()))


def logdensity_fn(x, data):
    """Mixture of isotropic Gaussians; absent components have weight zero."""
    means, log_weight, variance = data
    squares = jnp.sum((x[None, :] - means) ** 2, axis=1)
    return jax.nn.logsumexp(log_weight - squares / (2 * variance)) - jnp.log(2 * jnp.pi * variance)


def targets():
    """Name, problem and the data that makes it: one density function, so one compilation."""
    made = []
    for distance in DISTANCES:
        angle = np.pi / 2 + np.arange(3) * 2 * np.pi / 3
        means = distance / np.sqrt(3) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        made.append((rj.problems.separation(distance), means, np.array([0.5, 0.3, 0.2]), 1.0))
    angle = np.arange(8) * np.pi / 4
    means = 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    made.append((rj.problems.gmm8(), means, np.full(8, 1 / 8), 0.7))
    for problem, means, weights, variance in made:
        missing = NUM_COMPONENTS - len(means)
        padded = np.append(means, np.zeros((missing, 2)), axis=0)
        with np.errstate(divide="ignore"):
            log_weight = np.log(np.append(weights, np.zeros(missing)))
        data = tuple(jnp.asarray(part, jnp.float32) for part in (padded, log_weight, variance))
        for x in 12 * np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32):
            own = float(logdensity_fn(jnp.asarray(x), data))
            np.testing.assert_allclose(own, float(problem.logdensity_fn(x)), rtol=2e-5)
        yield problem, data


@functools.partial(jax.jit, static_argnums=(0, 1))
def langevin(name, num_samples, key, data, center, scale, step_size):
    """Positions of all chains at the checkpoints, shape (checkpoints, num_samples, 2)."""
    density = functools.partial(logdensity_fn, data=data)
    kernel = ula(density, step_size) if name == "LMC" else uld(density, step_size)
    start_key, momentum_key, key = jax.random.split(key, 3)
    start = center + scale * jax.random.normal(start_key, (num_samples, 2))
    state = jax.vmap(kernel.init)(start, jax.random.split(momentum_key, num_samples))

    def one(index, state):
        keys = jax.random.split(jax.random.fold_in(key, index), num_samples)
        return jax.vmap(kernel.step)(keys, state)[0]

    def until(carry, end):
        state, begin = carry
        state = jax.lax.fori_loop(begin, end, one, state)
        return (state, end), state.position

    # the first evaluation is that of the start
    ends = jnp.asarray(CHECKPOINTS) - 1
    return jax.lax.scan(until, (state, jnp.zeros((), ends.dtype)), ends)[1]


def langevin_records(name, keys, data, error_of, num_samples):
    """Best step at each number of evaluations, for each start."""
    means, log_weight, variance = data
    weight = jnp.exp(log_weight)
    spread = jnp.sqrt(jnp.mean(weight @ (means**2 + variance)))
    for start in STARTS:
        center, scale = (
            (jnp.zeros(2), spread) if start == "broad" else (means[0], jnp.sqrt(variance))
        )
        errors = {}
        for step in STEPS[name]:
            step_size = step * (variance if name == "LMC" else jnp.sqrt(variance))
            paths = [
                langevin(name, num_samples, key, data, center, scale, step_size) for key in keys
            ]
            errors[step] = np.array([[error_of(x) for x in path] for path in paths])
        for k, evals in enumerate(CHECKPOINTS):
            step = min(STEPS[name], key=lambda one, k=k: errors[one][:, k].mean())
            yield {
                "method": name,
                "setting": f"{start} start, step {step:g}",
                "start": start,
                "evals": evals,
                "mmd_squared": errors[step][:, k].tolist(),
            }


@functools.cache
def step_schedule(horizon, num_levels, inner_step):
    """A share of the variance of the inner posterior of a mode of unit variance."""

    def step_size(level):
        noise = jnp.expm1(2 * horizon * (1 - level / num_levels))
        return inner_step * noise / (1 + noise)

    return step_size


def published(key, data, num_samples, size, horizon, inner_step, radius):
    num_levels, num_chains, num_steps, num_start_steps, num_importance = size
    return rj.paper(
        key,
        logdensity_fn,
        jnp.zeros(2),
        num_samples,
        horizon=horizon,
        num_levels=num_levels,
        num_chains=num_chains,
        num_steps=num_steps,
        step_size=step_schedule(horizon, num_levels, inner_step),
        num_importance=num_importance,
        num_start_steps=num_start_steps,
        start_step_size=0.3,
        start_scale=round(float(np.exp(-horizon)) * radius, 1),
        data=data,
    )


def published_records(cases, keys, num_samples):
    """Best horizon, inner step and radius of the start for each size, by the first seed.

    A list of records for each of the cases ``(data, error_of)``, who share the programs.
    """
    first, *others = keys
    found = [[] for _ in cases]
    for size in SIZES:
        tried = [[] for _ in cases]
        for setting in itertools.product(HORIZONS, INNER_STEPS, RADII):
            for (data, error_of), own in zip(cases, tried, strict=True):
                draws = published(first, data, num_samples, size, *setting)
                own.append((error_of(draws.position), setting, draws.evals_per_sample))
        for (data, error_of), own, records in zip(cases, tried, found, strict=True):
            error, setting, evals = min(own)
            rest = [published(key, data, num_samples, size, *setting) for key in others]
            text = "horizon {:g}, inner step {:g}, radius {:g}, ".format(*setting)
            text += "{} levels, {} chains of {} steps, start of {} steps, {} proposals".format(
                *size
            )
            errors = [error, *(error_of(draws.position) for draws in rest)]
            record = {"method": "paper", "setting": text, "evals": evals}
            records.append({**record, "mmd_squared": errors})
        print(f"paper, {size}: done", file=sys.stderr, flush=True)
        jax.clear_caches()  # hundreds of programs need more memory maps than a process may have
    return found


def sample_records(keys, data, error_of, num_samples):
    """Defaults, and a tolerance."""
    for option in OURS:
        runs = [
            rj.sample(key, logdensity_fn, jnp.zeros(2), num_samples, data=data, **option)
            for key in keys
        ]
        setting = ", ".join(f"{name} {value:g}" for name, value in option.items())
        yield {
            "method": "sample",
            "setting": setting or "defaults",
            "evals": float(np.mean([draws.evals_per_sample for draws in runs])),
            "mmd_squared": [error_of(draws.position, draws.log_weight) for draws in runs],
            "log_normalizer_errors": [draws.log_normalizer for draws in runs],
        }


def case_of(problem, num_samples):
    """Error of points, and the errors of exact draws."""
    reference_key, floor_key = jax.random.split(jax.random.key(2**31))
    reference = problem.sample(reference_key, NUM_REFERENCE)

    def error_of(x, log_weight=None):
        return float(rj.metrics.mmd_squared(x, reference, x_log_weight=log_weight))

    floor = [error_of(problem.sample(key, num_samples)) for key in jax.random.split(floor_key, 20)]
    return error_of, floor


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    num = options.num_samples
    settings = {"num_seeds": options.seeds, "num_samples": num}
    report = {**environment(), "settings": settings, "targets": []}
    keys = [jax.random.key(seed) for seed in range(options.seeds)]
    made = [(problem, data, *case_of(problem, num)) for problem, data in targets()]
    cases = [(data, error_of) for _, data, error_of, _ in made]
    published_ones = published_records(cases, keys, num)
    for (problem, data, error_of, floor), own in zip(made, published_ones, strict=True):
        records = [
            *langevin_records("LMC", keys, data, error_of, num),
            *langevin_records("ULMC", keys, data, error_of, num),
            *own,
            *sample_records(keys, data, error_of, num),
        ]
        floors = {"floor_mean": float(np.mean(floor)), "floor": float(np.quantile(floor, 0.95))}
        report["targets"].append({"problem": problem.name, **floors, "records": records})
        print(table(report["targets"][-1:]), file=sys.stderr, flush=True)
        write(report, options.output)
    if options.picture is not None:
        picture(report["targets"], options.picture)
    print(table(report["targets"]))


if __name__ == "__main__":
    main()
