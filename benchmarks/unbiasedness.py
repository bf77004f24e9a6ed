"""Unbiasedness of the weights: the mean of w over independent runs is the normalising constant.

Two targets, many small runs, each with a pool or estimates that are deliberately rough:

- ``two_modes(8)`` by the noised-pool restart from one fixed pool that holds 60 % of its points in
  the mode of weight 1/3. Mean of w: 1; of w 1(mode): 2/3 and 1/3.
- an overlapping two-component mixture with Z = e^0.8 by level-by-level samplers, every estimator
  with every finish, on few levels with few inner samples. Mean of w / Z: 1; of w 1(x_1 > 0) / Z:
  the exact probability of that side.

Each row gives the mean over the runs, its standard error and their distance from the truth in
standard errors. The exit status is 1 if any row is off by more than 3.5 of them.

Usage: python -m benchmarks.unbiasedness [--num-runs 500]
"""

import argparse
import functools
import itertools
import math
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

import rdmc_jax as rj
from rdmc_jax import problems
from rdmc_jax.problems.mixtures import gaussian_mixture

LIMIT = 3.5
MIN_RUNS = 100
NUM_PARTICLES = 64
NUM_POOL = 400
SHARE_OF_HEAVY_MODE = 0.4  # of the pool; the target's is 2/3
LOG_NORMALIZER = 0.8

OVERLAPPING = gaussian_mixture(
    "overlapping mixture",
    weights=(0.65, 0.35),
    means=((-0.8, 0.3), (1.0, -0.4)),
    covariances=(((0.5, 0.2), (0.2, 0.8)), ((0.3, 0.0), (0.0, 0.4))),
    reference="closed form",
)
PROBABILITY_RIGHT = 0.65 * norm.cdf(-0.8 / math.sqrt(0.5)) + 0.35 * norm.cdf(1.0 / math.sqrt(0.3))

CHAINS = {"num_chains": 16, "num_start_steps": 5, "num_candidates": 32}
ESTIMATORS = {
    "importance": rj.estimators.importance(num_samples=32, reference_scale=1.5),
    "ULA": rj.estimators.chains(rj.kernels.ula, num_steps=1, step_size=0.3, **CHAINS),
    "MALA": rj.estimators.chains(rj.kernels.mala, num_steps=1, **CHAINS),
}
FINISHES = {
    "Gaussian finish": rj.samplers.gaussian_finish(),
    "annealed": rj.samplers.annealed_finish(num_temperatures=3, num_pilot=8),
    "identity": rj.samplers.identity_finish(),
}


class Check(NamedTuple):
    """A quantity with its estimates, one per run, and its exact mean."""

    method: str
    quantity: str
    estimates: np.ndarray  # (num_runs,)
    truth: float


def overlapping_logdensity(x):
    return OVERLAPPING.logdensity_fn(x) + LOG_NORMALIZER


@functools.cache
def wrong_pool():
    """Points of both components of ``two_modes(8)`` from one fixed key, in wrong proportions."""
    noise = jax.random.normal(jax.random.key(2024), (NUM_POOL, 8))
    is_heavy = jnp.arange(NUM_POOL)[:, None] < SHARE_OF_HEAVY_MODE * NUM_POOL
    position = jnp.where(is_heavy, -2.0 / 3.0, 4.0 / 3.0) + math.sqrt(0.05) * noise
    return rj.pools.fixed_pool(position)


def wrong_generator(rng_key, logdensity_fn, known):
    return wrong_pool()


def run(method, logdensity_fn, position, rng_key):
    """Draws and log weights of one ensemble, in the target's own coordinates."""
    init_key, step_key = jax.random.split(rng_key)
    sampler = method(logdensity_fn)
    state = sampler.init(position, init_key)
    keys = jax.random.split(step_key, sampler.num_steps)
    state, _ = jax.lax.scan(lambda state, key: sampler.step(key, state), state, keys)
    return state.position, state.log_weight


def estimates_of(rng_key, method, logdensity_fn, position, log_normalizer, tests, num_runs):
    """Ensemble means of ``w test(x) / Z`` of independent runs, shape (num_tests, num_runs)."""

    def one(rng_key):
        x, log_weight = run(method, logdensity_fn, position, rng_key)
        weight = jnp.exp(log_weight - log_normalizer)
        return jnp.stack([jnp.mean(weight * jax.vmap(test)(x)) for test in tests])

    keys = jax.random.split(rng_key, num_runs)
    program = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=10))
    return np.asarray(program(keys), np.float64).T


def restart_checks(rng_key, num_runs):
    problem = problems.two_modes(8)
    method = rj.rdmc(
        rj.samplers.noised_pool(wrong_generator, num_particles=NUM_PARTICLES),
        rj.samplers.no_levels(),
        rj.samplers.annealed_finish(num_temperatures=8, reference=rj.samplers.shrunk_covariance),
    )
    tests = (
        lambda x: 1.0,
        lambda x: problem.mode_fn(x) == 0,
        lambda x: problem.mode_fn(x) == 1,
    )
    estimates = estimates_of(
        rng_key, method, problem.logdensity_fn, jnp.zeros(8), 0.0, tests, num_runs
    )
    quantities = ("w", "w 1(mode 1)", "w 1(mode 2)")
    truths = (1.0, *problem.mode_weights)
    name = "`two_modes(8)`, restart from a wrong pool"
    return [Check(name, *rest) for rest in zip(quantities, estimates, truths, strict=True)]


def level_checks(rng_key, num_runs, estimator, finish):
    method = rj.rdmc(
        rj.samplers.gaussian_start(num_particles=NUM_PARTICLES),
        rj.samplers.levels(rj.diffusion.log_snr_grid(7, low=-3.0, high=2.0), ESTIMATORS[estimator]),
        FINISHES[finish],
    )
    tests = (lambda x: 1.0, lambda x: x[0] > 0)
    estimates = estimates_of(
        rng_key, method, overlapping_logdensity, jnp.zeros(2), LOG_NORMALIZER, tests, num_runs
    )
    quantities, truths = ("w / Z", "w 1(x_1 > 0) / Z"), (1.0, float(PROBABILITY_RIGHT))
    name = f"overlapping mixture, {estimator}, {finish}"
    return [Check(name, *rest) for rest in zip(quantities, estimates, truths, strict=True)]


def standard_error(check):
    return check.estimates.std(ddof=1) / math.sqrt(check.estimates.size)


def deviation(check):
    """Distance from the truth in standard errors."""
    return (check.estimates.mean() - check.truth) / standard_error(check)


def table(checks):
    lines = ["| method | mean of | truth | mean over runs ± standard error | deviation |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for check in checks:
        mean = f"{check.estimates.mean():.4f} ± {standard_error(check):.4f}"
        cells = (check.method, check.quantity, f"{check.truth:.4f}", mean)
        lines.append("| " + " | ".join(cells) + f" | {deviation(check):+.1f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-runs", type=int, default=500, help=f"at least {MIN_RUNS}")
    num_runs = parser.parse_args().num_runs
    if num_runs < MIN_RUNS:
        parser.error(f"--num-runs must be at least {MIN_RUNS}, but got {num_runs}")
    # keys of their own, so that the rows' deviations are independent
    pairs = list(itertools.product(ESTIMATORS, FINISHES))
    first_key, *keys = jax.random.split(jax.random.key(0), 1 + len(pairs))
    checks = restart_checks(first_key, num_runs)
    for rng_key, (estimator, finish) in zip(keys, pairs, strict=True):
        checks += level_checks(rng_key, num_runs, estimator, finish)
    print(table(checks))
    # not (<=): a mean that is not a number is off, too
    return int(any(not abs(deviation(check)) <= LIMIT for check in checks))


if __name__ == "__main__":
    sys.exit(main())
