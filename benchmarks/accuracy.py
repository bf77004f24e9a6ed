"""Accuracy of ``rdmc_jax.sample`` at its defaults on problems with exact truth.

Each problem is sampled ``--seeds`` times. Weighted draws are judged against the truth, and every
distance stands beside its floor, what exact draws read at the weights' effective sample size N:

- log Z: error of each seed with the reported standard error, and their root mean square;
- modes: absolute total variation of the mode weights, of the average over the seeds and of each
  seed (mean); the floor is the 95 % quantile of multinomial draws of N of all seeds, and of one;
- KS: the largest Kolmogorov-Smirnov distance over the coordinates; sliced KS: its mean over random
  directions; sliced W2: 2-Wasserstein distance along random directions. Coordinates are divided by
  their exact standard deviations first. The value is the mean over the seeds; the floor is the 95 %
  quantile over repetitions with N exact draws, against equally many reference draws;
- evaluations per output draw (the larger of the density and gradient counts, pilot included),
  seconds of the first run (with compilation) and of the later ones, and the findings' codes.

Usage: python -m benchmarks.accuracy [--problems gmm4,rings] [--seeds 3] [--num-samples 2000]
[--output benchmarks/results/accuracy.json]

Rows appear on standard error as they are done; the whole table goes to standard output at the end.
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax
from benchmarks.report import chosen, environment, line, markdown, write
from rdmc_jax import metrics, problems

NUM_REFERENCE = 10_000
NUM_PROJECTIONS = 64
NUM_REPEATS = 20
NUM_MULTINOMIAL = 20_000
QUANTILE = 0.95


def jumping(x):
    """Discontinuous, and its gradient knows nothing of it: twice the density right of x_1 = 5."""
    return problems.gmm4().logdensity_fn(x) + jnp.where(x[0] > 5, jnp.log(2.0), 0.0)


def rounded(x):
    """Without a gradient: it is zero wherever there is one."""
    return jnp.round(4 * problems.gmm4().logdensity_fn(x)) / 4


def gmm4_with(name, logdensity_fn):
    """`gmm4` by another density, with log Z and mode weights by quadrature over 1/200 cells."""
    grid = np.arange(-8, 18, 1 / 200) + 1 / 400
    x = jnp.stack(jnp.meshgrid(*[jnp.asarray(grid, jnp.float32)] * 2), axis=-1).reshape(-1, 2)
    problem = problems.gmm4()
    log_value, mode = jax.lax.map(
        lambda y: (logdensity_fn(y), problem.mode_fn(y)), x, batch_size=100_000
    )
    mass = np.bincount(np.asarray(mode), np.exp(np.asarray(log_value, np.float64)), minlength=4)
    return problem._replace(
        name=name,
        logdensity_fn=logdensity_fn,
        log_normalizer=float(np.log(mass.sum() / 200**2)),
        mode_weights=mass / mass.sum(),
        sample=None,
    )


PROBLEMS = {
    "gmm4": problems.gmm4,
    "gmm8": problems.gmm8,
    "rings": problems.rings,
    "gmm40_2": lambda: problems.gmm40(2),
    "two_modes_8": lambda: problems.two_modes(8),
    "two_modes_32": lambda: problems.two_modes(32),
    "two_modes_64": lambda: problems.two_modes(64),
    "galaxy_equal": lambda: problems.galaxy(3, True),
    "galaxy_unequal": lambda: problems.galaxy(3, False),
    "unequal_mixture_8": lambda: problems.unequal_mixture(8),
    "unequal_mixture_20": lambda: problems.unequal_mixture(20),
    "many_well_4": lambda: problems.many_well(4),
    "phi4_chain_16": lambda: problems.phi4_chain(16),
    "funnel": problems.funnel,
    "rosenbrock": problems.rosenbrock,
    "bananas": problems.bananas,
    "spike_slab_2": lambda: problems.spike_slab(2),
    "spike_slab_5": lambda: problems.spike_slab(5),
    "exoplanet": problems.exoplanet,
    "eggbox": problems.eggbox,
    "shells_2": lambda: problems.shells(2),
    "shells_10": lambda: problems.shells(10),
    "mixture_posterior_3": lambda: problems.mixture_posterior(3),
    "gmm4_with_jumps": lambda: gmm4_with("gmm4() with jumps", jumping),
    "gmm4_rounded": lambda: gmm4_with("gmm4() in steps of 1/4", rounded),
    "gaussian_scales": problems.gaussian_scales,
    "gaussian_rotated": problems.gaussian_rotated,
}

COLUMNS = (
    "problem",
    "log Z error ± reported, per seed",
    "log Z rmse",
    "modes, average (floor)",
    "modes, per seed (floor)",
    "KS (floor)",
    "sliced KS (floor)",
    "sliced W2 (floor)",
    "ESS",
    "evals",
    "s first / later",
    "findings",
)


def rows_of(position):
    """Flatten draws to one row each, shape (num_samples, dim)."""
    leaves = jax.tree.leaves(position)
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def log_normalizer_record(problem, runs):
    errors = [draws.log_normalizer - problem.log_normalizer for draws in runs]
    return {
        "errors": errors,
        "reported_standard_errors": [draws.log_normalizer_error for draws in runs],
        "rmse": float(np.sqrt(np.mean(np.square(errors)))),
    }


def estimated_mode_weights(problem, draws):
    """Weighted share of each mode, shape (num_modes,)."""
    modes = np.asarray(jax.vmap(problem.mode_fn)(draws.position))
    return np.bincount(modes, draws.weights, minlength=len(problem.mode_weights))


def total_variation(estimate, truth):
    return 0.5 * np.sum(np.abs(estimate - truth), axis=-1)


def mode_floor(truth, num_draws):
    """Quantile of the error of exact draws."""
    counts = np.random.default_rng(0).multinomial(num_draws, truth, size=NUM_MULTINOMIAL)
    return float(np.quantile(total_variation(counts / num_draws, truth), QUANTILE))


def modes_record(problem, runs):
    if problem.mode_weights is None:
        return None
    truth = problem.mode_weights / problem.mode_weights.sum()
    estimates = np.stack([estimated_mode_weights(problem, draws) for draws in runs])
    ess = [draws.ess for draws in runs]
    return {
        "weights": estimates.tolist(),
        "truth": truth.tolist(),
        "average": float(total_variation(estimates.mean(0), truth)),
        "average_floor": mode_floor(truth, max(1, round(sum(ess)))),
        "per_seed": total_variation(estimates, truth).tolist(),
        "per_seed_floor": mode_floor(truth, max(1, round(np.mean(ess)))),
    }


def log_weights(draws):
    """Log of the normalised weights, which are equal where no draw has any."""
    with np.errstate(divide="ignore"):
        return np.log(draws.weights)


def distances(x, y, log_weight=None):
    """KS over the coordinates, sliced KS and sliced W2 of two clouds of rows."""
    key = jax.random.key(0)
    options = {"num_projections": NUM_PROJECTIONS, "x_log_weight": log_weight}
    return (
        float(metrics.kolmogorov_smirnov(x, y, x_log_weight=log_weight)),
        float(metrics.sliced_kolmogorov_smirnov(key, x, y, **options)),
        float(metrics.sliced_wasserstein(key, x, y, **options)),
    )


def distances_record(problem, runs):
    if problem.sample is None:
        return None
    reference_key, floor_key = jax.random.split(jax.random.key(2**31))
    draw = jax.jit(problem.sample, static_argnums=1)
    reference = rows_of(draw(reference_key, NUM_REFERENCE))
    scale = jnp.std(reference, axis=0)
    reference = reference / scale
    values = [
        distances(rows_of(draws.position) / scale, reference, log_weights(draws)) for draws in runs
    ]
    num_exact = max(2, round(np.mean([draws.ess for draws in runs])))
    floors = [
        distances(rows_of(draw(key, num_exact)) / scale, reference)
        for key in jax.random.split(floor_key, NUM_REPEATS)
    ]
    names = ("ks", "sliced_ks", "sliced_w2")
    return {
        name: {
            "per_seed": [value[k] for value in values],
            "mean": float(np.mean([value[k] for value in values])),
            "floor_mean": float(np.mean([floor[k] for floor in floors])),
            "floor": float(np.quantile([floor[k] for floor in floors], QUANTILE)),
        }
        for k, name in enumerate(names)
    }


def timed_runs(problem, num_seeds, num_samples):
    runs, seconds = [], []
    for seed in range(num_seeds):
        begin = time.perf_counter()
        key = jax.random.key(seed)
        runs.append(rdmc_jax.sample(key, problem.logdensity_fn, problem.position, num_samples))
        seconds.append(time.perf_counter() - begin)
    return runs, seconds


def measure(problem, num_seeds, num_samples):
    """Everything the table says about one problem, as a JSON record."""
    runs, seconds = timed_runs(problem, num_seeds, num_samples)
    return {
        "problem": problem.name,
        "commit": environment()["versions"]["commit"],
        "dim": rows_of(runs[0].position).shape[1],
        "log_normalizer": log_normalizer_record(problem, runs),
        "modes": modes_record(problem, runs),
        "distances": distances_record(problem, runs),
        "ess": [draws.ess for draws in runs],
        "evals_per_sample": [draws.evals_per_sample for draws in runs],
        "seconds": seconds,
        "findings": [[code for code, _ in draws.findings()] for draws in runs],
        "plan": runs[0].plan.reason,
    }


def with_floor(value, floor):
    return f"{value:.3f} ({floor:.3f})"


def codes_text(findings):
    """Each code with the number of seeds that had it."""
    codes = [code for one in findings for code in one]
    return ", ".join(f"{code} x{codes.count(code)}" for code in sorted(set(codes))) or "none"


def cells(record):
    """The record's row of the table."""
    log_z, modes, distance = (record[name] for name in ("log_normalizer", "modes", "distances"))
    pairs = zip(log_z["errors"], log_z["reported_standard_errors"], strict=True)
    first, *later = record["seconds"]
    between = ["–"] * 2
    if modes is not None:
        between = [
            with_floor(modes["average"], modes["average_floor"]),
            with_floor(np.mean(modes["per_seed"]), modes["per_seed_floor"]),
        ]
    clouds = ["–"] * 3
    if distance is not None:
        clouds = [with_floor(one["mean"], one["floor"]) for one in distance.values()]
    return [
        f"`{record['problem']}`",
        ", ".join(f"{error:+.3f} ± {reported:.3f}" for error, reported in pairs),
        f"{log_z['rmse']:.3f}",
        *between,
        *clouds,
        " ".join(f"{ess:.0f}" for ess in record["ess"]),
        f"{np.mean(record['evals_per_sample']):.0f}",
        f"{first:.1f} / {np.mean(later):.1f}" if later else f"{first:.1f}",
        codes_text(record["findings"]),
    ]


def table(records):
    return markdown(COLUMNS, map(cells, records))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(PROBLEMS), help="names with commas")
    parser.add_argument("--seeds", type=int, default=3, help="runs per problem")
    parser.add_argument("--num-samples", type=int, default=2000, help="output draws per run")
    parser.add_argument("--output", type=Path, help="JSON file, written after each problem")
    options = parser.parse_args()
    options.problems = chosen(parser, options.problems, PROBLEMS, "problems")
    return options


def main():
    options = arguments()
    report = environment()
    report["settings"] = {
        "num_seeds": options.seeds,
        "num_samples": options.num_samples,
        "num_reference": NUM_REFERENCE,
        "num_projections": NUM_PROJECTIONS,
        "num_floor_repeats": NUM_REPEATS,
        "num_multinomial": NUM_MULTINOMIAL,
        "floor_quantile": QUANTILE,
    }
    report["records"] = []
    for name in options.problems:
        # programs of earlier problems would pile up until the process has no memory maps left
        jax.clear_caches()
        report["records"].append(measure(PROBLEMS[name](), options.seeds, options.num_samples))
        print(line(cells(report["records"][-1])), file=sys.stderr, flush=True)
        write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
