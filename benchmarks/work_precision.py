"""Error against evaluations and seconds: ours beside the samplers that people use.

Methods: `rdmc_jax.sample` at its defaults and with tolerances; `rdmc_jax.paper`; a composition
whose particles pool their inner chains; and the baselines of `benchmarks.baselines` (settings
there), which get a broad start, a reference that covers the modes and tuning for nothing. `paper`
and the composition get the baselines' coordinates too; `sample` gets an example position.

For each problem, method, size and seed: absolute error of log Z; total variation of the mode
weights; largest Kolmogorov-Smirnov distance over the coordinates, where there are exact draws;
evaluations per draw (the larger of density and gradient counts, pilots and pools included);
seconds of a compiled run, by the wall and of the processors, and of the first run of that method,
which compiles. The floor is what as
many exact draws read (95 % quantile). Rows of the output file are kept with ``--resume``.

Usage: python -m benchmarks.work_precision [--problems gmm4,...] [--methods sample,NUTS,...]
[--seeds 3] [--num-samples 2000] [--max-evals 2000] [--resume]
[--output benchmarks/results/work_precision.json] [--pictures benchmarks/results]
"""

import argparse
import functools
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax as rj
from benchmarks.accuracy import NUM_REPEATS, QUANTILE, environment, mode_floor, rows_of, strict
from benchmarks.baselines import BASELINES, Target, make_target
from benchmarks.baselines.langevin import tuned_step
from benchmarks.work_precision_picture import pictures, table
from rdmc_jax import metrics, problems

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
NUM_REFERENCE = 10_000
TOLERANCES = (0.0, 0.1)  # 0: the defaults
# levels, chains, steps of each, Langevin steps of the start, proposals
PAPER_SIZES = ((8, 4, 2, 8, 16), (12, 8, 4, 16, 64), (24, 16, 4, 64, 64))
COMPOSITION_SIZES = (8, 24)  # levels


class Outcome(NamedTuple):
    """What any method returns: draws as positions, log weights or None, log Z or nan, counts."""

    position: Any
    log_weight: np.ndarray | None
    log_normalizer: float
    evals_per_sample: float


def of_draws(draws, to_position=None):
    position = draws.position if to_position is None else jax.vmap(to_position)(draws.position)
    log_weight = np.asarray(draws.log_weight) if draws.weighted else None
    return Outcome(position, log_weight, draws.log_normalizer, draws.evals_per_sample)


def run_sample(key, problem, target, num_samples, size, _):
    options = {"tolerance": size, "max_evals": 4000} if size else {}
    position = jax.tree.map(jnp.asarray, problem.position)
    return of_draws(rj.sample(key, problem.logdensity_fn, position, num_samples, **options))


@functools.cache
def step_schedule(horizon, num_levels, variance):
    """A quarter of the inner posterior's variance where the narrowest mode has ``variance``."""

    def step_size(level):
        noise = jnp.expm1(2 * horizon * (1 - level / num_levels))
        return 0.25 * variance * noise / (variance + noise)

    return step_size


def run_paper(key, problem, target, num_samples, size, variance):
    num_levels, num_chains, num_steps, num_start_steps, num_importance = size
    draws = rj.paper(
        key,
        target.logdensity_fn,
        jnp.zeros(target.dim),
        num_samples,
        horizon=1.0,
        num_levels=num_levels,
        num_chains=num_chains,
        num_steps=num_steps,
        step_size=step_schedule(1.0, num_levels, variance),
        num_importance=num_importance,
        num_start_steps=num_start_steps,
        start_step_size=0.3,
        start_scale=1.0,
    )
    return of_draws(draws, target.to_position)


@functools.cache
def composition(num_levels):
    chains = rj.chains(rj.mala, start=rj.pooled_start(), num_chains=4, num_steps=2)
    return rj.rdmc(
        rj.gaussian(num_particles=1000),
        rj.levels(rj.log_snr_grid(num_levels), chains, rj.moment_matched),
        rj.annealed(num_temperatures=16),
    )


def run_composition(key, problem, target, num_samples, size, _):
    start = jnp.zeros(target.dim)
    method = composition(size)
    return of_draws(
        rj.sample(key, target.logdensity_fn, start, num_samples, method=method), target.to_position
    )


def narrowest(key, target: Target, num_samples):
    """MALA's tuned step: of the order of the narrowest mode's variance."""
    return float(f"{float(tuned_step(key, target, num_samples)):.2g}")


def run_baseline(name):
    def run(key, problem, target, num_samples, size, parameters):
        result = BASELINES[name].run(key, target, num_samples, size, parameters)
        position = jax.vmap(target.to_position)(result.position)
        log_weight = None if result.log_weight is None else np.asarray(result.log_weight)
        log_z = np.nan if result.log_normalizer is None else result.log_normalizer
        evals = max(result.num_logdensity, result.num_gradient) / num_samples
        return Outcome(jax.block_until_ready(position), log_weight, log_z, evals)

    return run


def untuned(key, target, num_samples):
    return None


METHODS = {
    "sample": (run_sample, untuned, TOLERANCES),
    "paper": (run_paper, narrowest, PAPER_SIZES),
    "pooled chains": (run_composition, untuned, COMPOSITION_SIZES),
    **{name: (run_baseline(name), one.tune, one.sizes) for name, one in BASELINES.items()},
}


class Truth(NamedTuple):
    """Exact draws divided by their deviations, and the floors of both distances."""

    reference: Any
    scale: Any
    floors: dict


def truth_of(problem, num_samples):
    floors = {}
    if problem.mode_weights is not None:
        weights = problem.mode_weights / np.sum(problem.mode_weights)
        floors["modes"] = mode_floor(weights, num_samples)
    if problem.sample is None:
        return Truth(None, None, floors)
    reference_key, floor_key = jax.random.split(jax.random.key(2**31))
    reference = rows_of(problem.sample(reference_key, NUM_REFERENCE))
    scale = jnp.std(reference, axis=0)
    exact = [
        float(metrics.kolmogorov_smirnov(rows_of(problem.sample(key, num_samples)), reference))
        for key in jax.random.split(floor_key, NUM_REPEATS)
    ]
    floors["ks"] = float(np.quantile(exact, QUANTILE))
    return Truth(reference / scale, scale, floors)


def errors_of(problem, truth, outcome):
    """All distances from the truth that exist; a draw that is not a number counts against it."""
    log_z = outcome.log_normalizer - problem.log_normalizer
    record = {"log_z": float(log_z), "modes": None, "ks": None}
    rows = np.asarray(rows_of(outcome.position), np.float64)
    log_weight = np.zeros(len(rows)) if outcome.log_weight is None else outcome.log_weight
    log_weight = np.where(np.isfinite(rows).all(1), log_weight, -np.inf)
    if not np.isfinite(log_weight).any():
        return {"log_z": float(log_z), "modes": 1.0, "ks": 1.0}
    position = jax.tree.map(jnp.nan_to_num, outcome.position)
    if problem.mode_weights is not None:
        modes = jax.vmap(problem.mode_fn)(position)
        weights = problem.mode_weights / np.sum(problem.mode_weights)
        record["modes"] = float(
            metrics.mode_weight_error(modes, weights, log_weight=jnp.asarray(log_weight))
        )
    if truth.reference is not None:
        scaled = rows_of(position) / truth.scale
        record["ks"] = float(
            metrics.kolmogorov_smirnov(
                scaled, truth.reference, x_log_weight=jnp.asarray(log_weight)
            )
        )
    return record


def measure(name, problem, method, done, options):
    """Rows of one problem and method, from the cheapest size on."""
    run, tune, sizes = METHODS[method]
    target, truth = make_target(problem), truth_of(problem, options.num_samples)
    parameters, first_seconds = None, None
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
            is_static = method in ("sample", "paper", "pooled chains", "nested slice")
            if first_seconds is None or (is_static and seed == 0):
                begin = time.perf_counter()
                run(jax.random.key(998), *arguments)
                first_seconds = time.perf_counter() - begin
            begin, begin_cpu = time.perf_counter(), time.process_time()
            outcome = run(jax.random.key(seed), *arguments)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
            evals.append(outcome.evals_per_sample)
            yield {
                "problem": name,
                "method": method,
                "size": str(size),
                "seed": seed,
                "evals_per_sample": outcome.evals_per_sample,
                "seconds": seconds,
                "cpu_seconds": cpu,
                "seconds_first": first_seconds,
                "errors": errors_of(problem, truth, outcome),
                "floors": truth.floors,
            }
        if np.mean(evals) * 3 > options.max_evals:  # the next size is three times as dear
            return


def key_of(record):
    return record["problem"], record["method"], record["size"], record["seed"]


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
    for given, known in ((options.problems, PROBLEMS), (options.methods, METHODS)):
        unknown = sorted(set(given.split(",")) - set(known))
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return options


def main():
    options = arguments()
    settings = {"num_samples": options.num_samples, "max_evals": options.max_evals}
    report = {**environment(), "settings": settings, "records": []}
    if options.resume and options.output is not None and options.output.exists():
        before = json.loads(options.output.read_text("utf-8"))
        if before["settings"] == settings:
            report["records"] = before["records"]
    done = {key_of(record): record for record in report["records"]}
    for name in options.problems.split(","):
        for method in options.methods.split(","):
            jax.clear_caches()
            for record in measure(name, PROBLEMS[name](), method, done, options):
                report["records"].append(record)
                if options.output is not None:
                    text = json.dumps(strict(report), indent=1, allow_nan=False)
                    part = options.output.with_suffix(".part")
                    part.write_text(text + "\n", "utf-8")
                    part.replace(options.output)
            print(f"{name}, {method}: done", file=sys.stderr, flush=True)
        print(table(report["records"]), file=sys.stderr, flush=True)
    if options.pictures is not None:
        pictures(report["records"], options.pictures)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
