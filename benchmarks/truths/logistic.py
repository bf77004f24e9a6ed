"""Measure log Z, means and deviations of `problems.logistic` by long NUTS chains.

The density is written anew here, in double precision, so that the script also checks the problem's.

1. Eight NUTS chains of blackjax with its window adaptation, from dispersed starts; R-hat and the
   effective sample sizes of blackjax say whether they are long enough. Written: mean and standard
   deviation of each coordinate, with the standard error of the mean.
2. log Z by importance sampling from one multivariate Student t with the chains' mean and
   covariance, fixed before its draws: the average weight is unbiased for Z, the error comes from
   independent weights, of which the Pareto k is written too.

Usage: python -m benchmarks.truths.logistic [--num-steps 4000] [--num-draws 400000]
[--output benchmarks/results/logistic_truth.json]
"""

import argparse
import json
import math
from pathlib import Path

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from scipy.special import logsumexp

from benchmarks.harness.report import environment, write
from rdmc_jax import problems
from rdmc_jax.problems.logistic import INTERCEPT_SCALE, breast_cancer

NUM_CHAINS = 8
NUM_WARMUP = 1000
DEGREES_OF_FREEDOM = 20.0
SCALE = 1.1


def log_posterior(x):
    """Log of likelihood and prior at rows (weights, intercept), by NumPy alone."""
    feature, label, _, _ = breast_cancer()
    logit = x[:, :30] @ feature.T + x[:, 30:]
    log_likelihood = label * logit - np.logaddexp(0, logit)
    log_prior = stats.norm.logpdf(x[:, :30]).sum(1)
    log_prior += stats.norm.logpdf(x[:, 30], scale=INTERCEPT_SCALE)
    return log_likelihood.sum(1) + log_prior


def chains(key, num_steps):
    """Positions of NUTS, shape (chains, steps, 31)."""
    logdensity_fn = problems.logistic().logdensity_fn

    def one(key):
        start_key, warm_key, key = jax.random.split(key, 3)
        warmup = blackjax.window_adaptation(blackjax.nuts, logdensity_fn)
        (state, tuned), _ = warmup.run(warm_key, jax.random.normal(start_key, (31,)), NUM_WARMUP)
        kernel = blackjax.nuts(logdensity_fn, **tuned)

        def step(state, key):
            state, _ = kernel.step(key, state)
            return state, state.position

        return jax.lax.scan(step, state, jax.random.split(key, num_steps))[1]

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(key, NUM_CHAINS)), np.float64)


def importance(rng, mean, covariance, num_draws):
    """Log Z, its standard error, relative effective size and Pareto k."""
    proposal = stats.multivariate_t(mean, SCALE**2 * covariance, df=DEGREES_OF_FREEDOM, seed=rng)
    log_weight = []
    for _ in range(0, num_draws, 20_000):
        x = proposal.rvs(20_000)
        log_weight.append(log_posterior(x) - proposal.logpdf(x))
    log_weight = np.concatenate(log_weight)
    log_z = logsumexp(log_weight) - math.log(log_weight.size)
    ratio = np.exp(log_weight - log_z)
    _, tail = blackjax.diagnostics.psis_weights(jnp.asarray(log_weight))
    return log_z, ratio.std() / math.sqrt(ratio.size), 1 / np.mean(ratio**2), float(tail)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-steps", type=int, default=4000)
    parser.add_argument("--num-draws", type=int, default=400_000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    position = chains(jax.random.key(0), options.num_steps)
    rows = position.reshape(-1, 31)
    own = np.asarray(jax.vmap(problems.logistic().logdensity_fn)(jnp.asarray(rows[:100])))
    np.testing.assert_allclose(own, log_posterior(rows[:100]), rtol=1e-9)
    ess = np.asarray(blackjax.diagnostics.effective_sample_size(position))
    rhat = np.asarray(blackjax.diagnostics.potential_scale_reduction(position))
    deviation = rows.std(0)
    log_z, error, efficiency, tail = importance(
        np.random.default_rng(0), rows.mean(0), np.cov(rows.T), options.num_draws
    )
    report = {
        **environment(),
        "settings": {"num_chains": NUM_CHAINS, "num_warmup": NUM_WARMUP} | vars(options),
        "largest_rhat": float(rhat.max()),
        "smallest_ess": float(ess.min()),
        "mean": rows.mean(0).tolist(),
        "standard_deviation": deviation.tolist(),
        "standard_error_of_mean": (deviation / np.sqrt(ess)).tolist(),
        "log_normalizer": log_z,
        "log_normalizer_standard_error": error,
        "importance_efficiency": efficiency,
        "pareto_k": tail,
    }
    report["settings"].pop("output")
    print(json.dumps(report, indent=1))
    write(report, options.output)


if __name__ == "__main__":
    main()
