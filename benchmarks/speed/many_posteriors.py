"""Throughput of `rdmc_jax.sample_many`: bootstrapped galaxy data sets in one compiled program.

Each data set draws the 82 velocities anew with replacement; each posterior (three components, equal
variances, six dimensions) gets ``--num-samples`` weighted draws. Written: seconds of the first
chunk, where the program is compiled, and of all later ones; data sets and effective draws per
second; and the spread of log Z and of the effective sample sizes over the data sets.

Usage: python -m benchmarks.speed.many_posteriors [--num-datasets 1000] [--max-evals 700]
[--chunk-size 1] [--output benchmarks/results/many_posteriors.json]
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax as rj
from benchmarks.harness.report import environment, write
from rdmc_jax.problems.galaxies import GALAXY_VELOCITIES

PROBLEM = rj.problems.galaxy(3, True)
WANTED = 1000
BLOCK = 50  # data sets between two writings of the output


def logdensity_fn(position, velocities):
    """The density of `problems.galaxy(3, True)` with the data as an argument."""
    mean, log_variance = position["mean"], position["log_variance"]
    log_weight = jax.nn.log_softmax(jnp.append(position["log_ratio"], jnp.zeros(1, mean.dtype)))
    gaps = (velocities[:, None] - mean[None, :]) * jnp.exp(-0.5 * log_variance)
    terms = log_weight[None, :] - 0.5 * (gaps**2 + log_variance + jnp.log(2 * jnp.pi))
    log_likelihood = jnp.sum(jax.nn.logsumexp(terms, axis=1))
    log_prior_mean = jnp.sum(-0.5 * ((mean - 20) / 10) ** 2 - jnp.log(10 * jnp.sqrt(2 * jnp.pi)))
    log_prior_variance = (
        3 * jnp.log(20.0) - jnp.log(2.0) - 3 * log_variance - 20 * jnp.exp(-log_variance)
    )
    log_prior_weight = jnp.log(2.0) + jnp.sum(log_weight)  # Dirichlet(1, 1, 1) with the Jacobian
    return log_likelihood + log_prior_mean + log_prior_variance + log_prior_weight


def check_density():
    """The density is the problem's: stop if it is not."""
    velocities = jnp.asarray(GALAXY_VELOCITIES, jnp.float32)
    for seed in range(3):
        moved = jax.tree.map(
            lambda leaf, seed=seed: leaf + jax.random.normal(jax.random.key(seed), leaf.shape),
            PROBLEM.position,
        )
        pair = logdensity_fn(moved, velocities), PROBLEM.logdensity_fn(moved)
        np.testing.assert_allclose(*pair, rtol=1e-5)


def quantiles(values):
    return [round(float(q), 3) for q in np.quantile(values, [0.05, 0.5, 0.95])]


def few(done):
    """Number of data sets that finding R103 is about, and the fewest effective draws of all."""
    named = 0
    for draws in done:
        for one in range(len(draws)):
            named += bool(draws[one : one + 1].findings())
    return {"data_sets": named, "fewest": float(min(np.min(draws.ess) for draws in done))}


def summary(done, seconds, num_samples):
    """Throughput and spread over the data sets of all blocks."""
    ess, log_z, error, densities, gradients = (
        np.concatenate([get(draws) for draws in done])
        for get in (
            lambda draws: draws.ess,
            lambda draws: draws.log_normalizer,
            lambda draws: draws.log_normalizer_error,
            lambda draws: draws.num_evals.logdensity,
            lambda draws: draws.num_evals.gradient,
        )
    )
    return {
        "num_datasets": ess.size,
        "seconds_compiled": round(seconds, 2),
        "datasets_per_second": round(ess.size / seconds, 3),
        "effective_draws_per_second": round(float(np.sum(ess)) / seconds, 1),
        "evals_per_second": round(float(np.sum(np.maximum(densities, gradients))) / seconds),
        "evals_per_draw_mean": round(
            float(np.mean(np.maximum(densities, gradients))) / num_samples, 1
        ),
        "ess_quantiles_5_50_95": quantiles(ess),
        "log_normalizer_quantiles_5_50_95": quantiles(log_z),
        "log_normalizer_error_quantiles_5_50_95": quantiles(error),
        "few_effective_draws": few(done),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-datasets", type=int, default=WANTED)
    parser.add_argument("--num-samples", type=int, default=256)
    parser.add_argument(
        "--chunk-size", type=int, default=1 if jax.default_backend() == "cpu" else 32
    )
    parser.add_argument(
        "--max-evals",
        type=float,
        default=700.0,
        help="cap on evaluations per draw of each data set",
    )
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    check_density()
    rng = np.random.default_rng(0)
    shape = (given.num_datasets, len(GALAXY_VELOCITIES))
    datasets = rng.choice(np.asarray(GALAXY_VELOCITIES), shape).astype(np.float32)

    def run(key, chosen):
        begin = time.perf_counter()
        draws = rj.sample_many(
            key,
            logdensity_fn,
            PROBLEM.position,
            chosen,
            num_samples=given.num_samples,
            max_evals=given.max_evals * given.num_samples,
            chunk_size=given.chunk_size,
        )
        return draws, time.perf_counter() - begin

    _, first_seconds = run(jax.random.key(1), datasets[: given.chunk_size])
    done, seconds = [], 0.0
    for start in range(0, given.num_datasets, BLOCK):
        key = jax.random.fold_in(jax.random.key(0), start)
        draws, own = run(key, datasets[start : start + BLOCK])
        done.append(draws)
        seconds += own
        record = {
            **environment(),
            "settings": {
                "problem": PROBLEM.name,
                "num_samples": given.num_samples,
                "max_evals": given.max_evals,
                "chunk_size": given.chunk_size,
            },
            "seconds_with_compilation_of_first_chunk": round(first_seconds, 2),
            **summary(done, seconds, given.num_samples),
        }
        print(f"{record['num_datasets']} data sets, {seconds:.0f} s", file=sys.stderr, flush=True)
        write(record, given.output)
    print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
