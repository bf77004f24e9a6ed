"""What tuning would be worth: by gradient, and of the grid by measured noise.

Part one: by gradient. ``E[log w]`` of a path is differentiable in the grid, the variances and the
steps of unadjusted Langevin chains. Adam maximises it, with fresh keys in every step, over the
increments of log-SNR and, for each level, a factor of the variance and one of the chains' step.
`importance` has exact gradients; those of `chains` leave the choice among chains out. Held-out keys
then compare the bounds with those of the untuned method, with as many evaluations and with twice as
many (levels, or inner samples). Tuning is worth a factor of two of evaluations where its bound is
below the latter. Beside it stands a uniform grid of which only the end is chosen, among six, by
half as many other keys.

Part two: the adaptive grid. Levels are placed so that each has the same measured `noise_kl`, from a
pilot run of the uniform log-SNR grid, and again from a run of the grid so found.

Coordinates are those with mean 0 and deviation 1, from exact draws. ``kl`` is
``log Z - mean log w`` with the exact log Z.

Usage: python -m benchmarks.design.tuning [--problems gmm4,...] [--estimators importance,chains]
[--seeds 2] [--steps 75] [--output benchmarks/results/tuning.json]

Results of other problems and estimators that the output holds already are kept.
"""

import argparse
import functools
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.design.tunable import (
    ESTIMATORS,
    NUM_PARTICLES,
    RATE,
    constrained,
    free,
    log_snr_of,
    run,
    tuned,
    untuned,
)
from benchmarks.harness.report import chosen, environment, line, markdown, write
from benchmarks.harness.truth import rows_of
from rdmc_jax import problems
from rdmc_jax.montecarlo.weights import kl_bound, log_mean_exp, tv_bound, weight_ess
from rdmc_jax.target.flat import standardised

PROBLEMS = {
    "gmm4": problems.gmm4,
    "gaussian_10": lambda: problems.gaussian(10),
    "unequal_mixture_8": lambda: problems.unequal_mixture(8),
    "two_modes_8": lambda: problems.two_modes(8),
}
UNTUNED = ("two_modes_8",)
"""Problems of part two only."""
NUM_LEVELS = 16
NUM_RUNS = 16
"""Held-out ensembles."""
ENDS = (-3.0, -1.0, 1.0, 3.0, 5.0, 7.0)
COLUMNS = (
    "problem",
    "inner samples",
    "evals",
    "KL",
    "KL, twice the levels / samples",
    "KL tuned (untuned over tuned)",
    "KL equal noise (untuned over it)",
    "KL best end of the grid (untuned over it, end)",
    "TV bound: untuned, tuned, equal noise",
    "ESS per draw",
    "log Z rmse",
)


def held_out(found, log_normalizer):
    """Numbers of ensembles whose keys have tuned nothing."""
    weights, _, evals = jax.device_get(found)
    log_weight = weights.reshape(-1).astype(np.float64)
    log_z = [log_mean_exp(one) for one in weights]
    return {
        "kl": float(log_normalizer - np.mean(log_weight)),
        "kl_bound": kl_bound(log_weight),
        "tv_bound": tv_bound(log_weight),
        "ess": weight_ess(log_weight) / log_weight.size,
        "log_normalizer_rmse": float(np.sqrt(np.mean((np.array(log_z) - log_normalizer) ** 2))),
        "evals": float(np.mean(evals)),
    }


def equal_noise(parameters, noise):
    """The grid whose levels would have had equal noise, if it is uniform within each of these."""
    log_snr = np.asarray(log_snr_of(parameters), np.float64)
    # a level without noise still needs a place
    share = np.maximum(noise, 1e-3 * np.mean(noise))
    total = np.append(0.0, np.cumsum(share) / np.sum(share))
    wanted = np.interp(np.linspace(0, 1, log_snr.size), total, log_snr)
    return {**parameters, "increment": jnp.asarray(np.diff(wanted), jnp.float32)}


def curvature_of(logdensity_fn, points):
    """Largest eigenvalue of -∇² log π, the 99 % quantile over some points."""
    hessian = jax.jit(jax.vmap(jax.hessian(logdensity_fn)))(jnp.asarray(points))
    return float(np.quantile(-np.linalg.eigvalsh(np.asarray(hessian))[:, 0], 0.99))


def measure(name, estimator, options):
    problem = PROBLEMS[name]()
    draws = rows_of(problem.sample(jax.random.key(2**31), 10_000))
    location, scale = jnp.asarray(draws.mean(axis=0)), jnp.asarray(draws.std(axis=0))
    logdensity_fn = standardised(problem.logdensity_fn, location, scale)
    fixed = {
        "logdensity_fn": logdensity_fn,
        "dim": location.size,
        "curvature": curvature_of(logdensity_fn, (draws[:1000] - location) / scale),
        "estimator": estimator,
    }
    runs = {
        samples: jax.jit(
            lambda keys, raw, samples=samples: jax.lax.map(
                lambda key: run(key, raw, samples=samples, **fixed), keys
            )
        )
        for samples in (1, 2)
    }
    one_run = functools.partial(run, samples=1, **fixed)
    train = jax.jit(lambda key, raw: tuned(key, raw, one_run, options.steps))
    for seed in range(options.seeds):
        begin = time.perf_counter()
        tune_key, pilot_key, test_key = jax.random.split(jax.random.key(seed), 3)
        keys = jax.random.split(test_key, NUM_RUNS)

        def judged(parameters, samples=1, keys=keys):
            return held_out(runs[samples](keys, free(parameters)), problem.log_normalizer)

        uniform = untuned(NUM_LEVELS)
        found = {
            "uniform": judged(uniform),
            "twice_levels": judged(untuned(2 * NUM_LEVELS)),
            "twice_samples": judged(uniform, 2),
        }
        shorter_keys = jax.random.split(jax.random.fold_in(pilot_key, 1), NUM_RUNS // 2)
        ends = [untuned(NUM_LEVELS, high) for high in ENDS]
        best = min(ends, key=lambda one: judged(one, keys=shorter_keys)["kl"])
        found["shorter"] = {**judged(best), "high": float(log_snr_of(best)[-1])}
        grid = uniform
        for key in jax.random.split(pilot_key, 2):
            noise = runs[1](jax.random.split(key, 4), free(grid))[1]
            grid = equal_noise(grid, np.mean(noise, axis=0))
        found["equal_noise"] = {**judged(grid), "log_snr": np.asarray(log_snr_of(grid)).tolist()}
        if name not in UNTUNED:
            raw, values = train(tune_key, free(uniform))
            best = constrained(raw)
            found["tuned"] = {
                **judged(best),
                "parameters": {k: np.asarray(leaf).tolist() for k, leaf in best.items()},
                "log_snr": np.asarray(log_snr_of(best)).tolist(),
                "mean_log_weight": np.asarray(values)[:: max(options.steps // 10, 1)].tolist(),
            }
        yield {
            "problem": name,
            "estimator": estimator,
            "commit": environment()["versions"]["commit"],
            "seed": seed,
            "steps": options.steps,
            **found,
            "seconds": time.perf_counter() - begin,
        }


def cells(records):
    """Of all seeds of one problem and estimator."""
    kinds = [kind for kind in ("uniform", "tuned", "equal_noise") if kind in records[0]]

    def mean(kind, field):
        return float(np.mean([one[kind][field] for one in records]))

    def ratio(kind):
        if kind not in kinds:
            return "–"
        factor = [one["uniform"]["kl"] / one[kind]["kl"] for one in records]
        return f"{mean(kind, 'kl'):.3f} ({np.mean(factor):.2f})"

    def each(field):
        return ", ".join(
            f"{mean(kind, field):.3f}" if kind in kinds else "–"
            for kind in ("uniform", "tuned", "equal_noise")
        )

    return [
        f"`{records[0]['problem']}`",
        records[0]["estimator"],
        f"{mean('uniform', 'evals'):.0f}",
        f"{mean('uniform', 'kl'):.3f}",
        f"{mean('twice_levels', 'kl'):.3f} / {mean('twice_samples', 'kl'):.3f}",
        ratio("tuned"),
        ratio("equal_noise"),
        f"{mean('shorter', 'kl'):.3f} ({mean('uniform', 'kl') / mean('shorter', 'kl'):.2f}, "
        + " ".join(f"{one['shorter']['high']:.0f}" for one in records)
        + ")",
        *map(each, ("tv_bound", "ess", "log_normalizer_rmse")),
    ]


def table(records):
    """Means over the seeds."""
    groups = {}
    for one in records:
        groups.setdefault((one["problem"], one["estimator"]), []).append(one)
    return markdown(COLUMNS, map(cells, groups.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--estimators", default=",".join(ESTIMATORS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=75)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    settings = {"num_levels": NUM_LEVELS, "num_particles": NUM_PARTICLES}
    settings |= {"num_runs": NUM_RUNS, "rate": RATE, "ends": ENDS}
    names = chosen(parser, options.problems, PROBLEMS, "problems")
    estimators = chosen(parser, options.estimators, ESTIMATORS, "estimators")
    report = {**environment(), "settings": settings, "records": []}
    if options.output is not None and options.output.exists():
        old = json.loads(options.output.read_text("utf-8"))["records"]
        report["records"] = [
            one
            for one in old
            if (one["problem"], one["estimator"])
            not in {(name, estimator) for name in names for estimator in estimators}
        ]
    for name in names:
        for estimator in estimators:
            jax.clear_caches()
            for record in measure(name, estimator, options):
                report["records"].append(record)
                summary = line([*cells([record]), f"{record['seconds']:.0f} s"])
                print(summary, file=sys.stderr, flush=True)
                write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
