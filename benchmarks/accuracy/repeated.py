"""Is the answer right every time? Many seeds of problems that searches get wrong now and then.

- `spike_slab(5)`: 32 corners, narrow and wide modes inside each other;
- `gmm40(2)`: forty modes of equal width;
- a needle: half of the mass N(0, I) in two dimensions, half .03 wide and eleven away;
- two sine waves: frequency, amplitude and phase each, fifty data, the noise unknown. Exchanging the
  waves changes nothing, so half of the mass is on either side. Nothing in the call says so. Once
  all seven parameters are one flat array, once a PyTree.

A run is right where log Z is within four reported standard errors of the truth, where there is
one, and the mode weights within twice the error that 95 of 100 sets of as many independent draws
stay below.

Usage: python -m benchmarks.accuracy.repeated [--problems needle,...] [--num-samples 2000]
[--output benchmarks/results/repeated.json]
"""

import argparse
import itertools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax
from benchmarks.accuracy import blind_spot
from benchmarks.harness.report import chosen, environment, line, markdown, write
from benchmarks.harness.truth import estimated_mode_weights, mode_floor, total_variation
from rdmc_jax import problems
from rdmc_jax.problems.problem import Problem

NEEDLE = 0.03
COLUMNS = (
    "problem",
    "right",
    "log Z rmse",
    "modes, mean error (floor)",
    "ESS, smallest",
    "evals in all (most)",
    "flagged: of wrong runs, of right ones",
)


def needle():
    return Problem(
        "needle",
        lambda x: blind_spot.logdensity_fn(x, NEEDLE),
        jnp.zeros(2),
        0.0,
        None,
        lambda x: (jnp.sum((x - blind_spot.PLACE) ** 2) < (6 * NEEDLE) ** 2).astype(jnp.int32),
        np.full(2, 0.5),
        "benchmarks.accuracy.blind_spot",
    )


def waves(is_tree):
    """Periods of 3 and 7 in 50 observations over 20 units of time, noise .3."""
    rng = np.random.default_rng(5)
    time = np.linspace(0.0, 20.0, 50)
    signal = np.sin(2 * np.pi / 3 * time + 0.5) + 0.8 * np.sin(2 * np.pi / 7 * time - 1.0)
    y = signal + 0.3 * rng.normal(size=50)
    normal = jax.scipy.stats.norm.logpdf

    def parts(x):
        if is_tree:
            return x
        names = ("log_frequency", "log_amplitude", "phase", "log_noise")
        return dict(zip(names, (x[0:2], x[2:4], x[4:6], x[6]), strict=True))

    def logdensity_fn(x):
        x = parts(x)
        angle = jnp.exp(x["log_frequency"])[:, None] * time[None] + x["phase"][:, None]
        mean = jnp.exp(x["log_amplitude"]) @ jnp.sin(angle)
        log_prior = sum(jnp.sum(normal(leaf)) for leaf in jax.tree.leaves(x))
        return jnp.sum(normal(y, mean, jnp.exp(x["log_noise"]))) + log_prior

    def mode_fn(x):
        first, second = parts(x)["log_frequency"]
        return (first > second).astype(jnp.int32)

    pair = jnp.zeros(2)
    tree = {"log_frequency": pair, "log_amplitude": pair, "phase": pair, "log_noise": jnp.zeros(())}
    position = tree if is_tree else jnp.zeros(7)
    name = "two waves, PyTree" if is_tree else "two waves, flat"
    return Problem(name, logdensity_fn, position, None, None, mode_fn, np.full(2, 0.5), "symmetry")


PROBLEMS = {
    "spike_slab_5": (lambda: problems.spike_slab(5), 32),
    "gmm40_2": (lambda: problems.gmm40(2), 4),
    "needle": (needle, 4),
    "waves_flat": (lambda: waves(False), 16),
    "waves_tree": (lambda: waves(True), 16),
}
"""Problems, and how many seeds of each."""


def measure(problem, seed, num_samples):
    draws = rdmc_jax.sample(
        jax.random.key(seed), problem.logdensity_fn, problem.position, num_samples
    )
    found = estimated_mode_weights(problem, draws)
    weights = problem.mode_weights / np.sum(problem.mode_weights)
    truth = problem.log_normalizer
    return {
        "problem": problem.name,
        "seed": seed,
        "log_z_error": None if truth is None else draws.log_normalizer - truth,
        "log_z_reported": draws.log_normalizer_error,
        "modes": float(total_variation(found, weights)),
        "floor": float(mode_floor(weights, int(draws.ess))),
        "ess": draws.ess,
        "total_evals": draws.total_evals,
        "findings": [code for code, _ in draws.findings()],
    }


def is_right(record):
    error = record["log_z_error"]
    is_close = error is None or abs(error) < 4 * record["log_z_reported"]
    return is_close and record["modes"] < 2 * record["floor"]


def cells(records):
    right = [one for one in records if is_right(one)]
    wrong = [one for one in records if not is_right(one)]
    errors = [one["log_z_error"] for one in records if one["log_z_error"] is not None]
    modes, floor, evals = (
        np.array([one[key] for one in records]) for key in ("modes", "floor", "total_evals")
    )

    def flagged(some):
        return f"{sum(bool(one['findings']) for one in some)} of {len(some)}"

    return [
        records[0]["problem"],
        f"{len(right)} of {len(records)}",
        f"{np.sqrt(np.mean(np.square(errors))):.3f}" if errors else "–",
        f"{modes.mean():.3f} ({floor.mean():.3f})",
        f"{min(one['ess'] for one in records):.0f}",
        f"{evals.mean() / 1000:.0f}k ({evals.max() / 1000:.0f}k)",
        f"{flagged(wrong)}, {flagged(right)}",
    ]


def table(records):
    groups = itertools.groupby(records, lambda one: one["problem"])
    return markdown(COLUMNS, [cells(list(group)) for _, group in groups])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(PROBLEMS), help="names with commas")
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--output", type=Path, help="JSON file, written after each problem")
    options = parser.parse_args()
    report = {**environment(), "records": []}
    for name in chosen(parser, options.problems, PROBLEMS, "problems"):
        make, num_seeds = PROBLEMS[name]
        problem = make()
        some = [measure(problem, seed, options.num_samples) for seed in range(num_seeds)]
        report["records"] += some
        write(report, options.output)
        print(line(cells(some)), file=sys.stderr, flush=True)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
