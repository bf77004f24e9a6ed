"""Posteriors as people have them: hierarchical ones with unknown scales, and models of time series.

Coordinates are unconstrained: logarithms of scales and rates, Jacobians included. For most the
truth is a quadrature: given the scales everything else is Gaussian, or independent from group to
group, so that one to three integrals remain. For `lotka_volterra` means are those of long NUTS
chains, which is no truth where there are several modes, and log Z has none.

Each posterior is sampled at the defaults from zeros and from a rough guess, with ``--seeds`` seeds.
A row has log Z with its error, the largest error of the posterior means in their standard errors,
the effective sample size, the evaluations and the findings.

Usage: python -m benchmarks.accuracy.posteriors [--problems eight_schools,...] [--seeds 2]
[--num-samples 2000] [--output benchmarks/results/posteriors.json]
"""

import argparse
import functools
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import stats
from scipy.special import gammaln, logsumexp, roots_hermite

import rdmc_jax
from benchmarks.harness.report import RESULTS, chosen, environment, line, markdown, write

COLUMNS = (
    "posterior",
    "from",
    "log Z error ± reported",
    "worst mean, in standard errors",
    "ESS",
    "evals in all",
    "findings",
)


class Posterior(NamedTuple):
    """Density, first guesses, and what is known of it."""

    logdensity_fn: Any
    zeros: Any
    guess: Any
    values_of: Any  # draws -> (num_samples, num_values) whose means are known
    means: np.ndarray
    mean_errors: np.ndarray  # standard errors of these means
    log_normalizer: float | None


def quadrature(log_value, *grids):
    """Log of the integral of ``exp log_value`` over equal grids, and the weights of its points."""
    points = np.stack([axis.ravel() for axis in np.meshgrid(*grids, indexing="ij")], axis=1)
    values = np.array([log_value(*point) for point in points])
    log_integral = logsumexp(values) + sum(math.log(grid[1] - grid[0]) for grid in grids)
    return log_integral, points, np.exp(values - logsumexp(values))


def log_normal(y, mean, covariance):
    factor = np.linalg.cholesky(covariance)
    z = np.linalg.solve(factor, y - mean)
    return -0.5 * z @ z - np.log(np.diag(factor)).sum() - 0.5 * len(y) * np.log(2 * np.pi)


def log_scale_prior(log_scale, deviation):
    return -0.5 * (log_scale / deviation) ** 2 - math.log(deviation) - 0.5 * math.log(2 * np.pi)


def exact(means):
    return np.asarray(means), np.zeros(len(means))


EFFECT = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERROR = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def eight_schools(is_centred):
    """Rubin (1981): mu ~ N(0, 5²), tau ~ HalfCauchy(5), theta ~ N(mu, tau²)."""

    def logdensity_fn(x):
        tau = jnp.exp(x["log_tau"])
        log_prior = math.log(2.0) + stats.cauchy.logpdf(tau, 0.0, 5.0) + x["log_tau"]
        log_prior += stats.norm.logpdf(x["mu"], 0.0, 5.0)
        if is_centred:
            theta, log_theta = x["theta"], stats.norm.logpdf(x["theta"], x["mu"], tau)
        else:
            theta, log_theta = x["mu"] + tau * x["theta"], stats.norm.logpdf(x["theta"])
        return log_prior + jnp.sum(log_theta + stats.norm.logpdf(EFFECT, theta, ERROR))

    def log_value(log_tau):
        tau = math.exp(log_tau)
        log_prior = math.log(10 / math.pi) - math.log(25 + tau**2) + log_tau
        return log_prior + log_normal(EFFECT, 0.0, np.diag(ERROR**2 + tau**2) + 25.0)

    log_z, points, weight = quadrature(log_value, np.linspace(-12, 12, 4001))
    precision = 1 / (np.exp(2 * points) + ERROR[None] ** 2)
    mean = (precision @ EFFECT) / (precision.sum(1) + 1 / 25)
    tau = np.exp(points[:, 0])
    means = exact([weight @ tau, weight @ (tau < 1), weight @ mean])
    zeros = {"mu": jnp.zeros(()), "log_tau": jnp.zeros(()), "theta": jnp.zeros(8)}
    guess = {"mu": jnp.asarray(5.0), "log_tau": jnp.asarray(1.5), "theta": jnp.full(8, 5.0)}
    if not is_centred:
        guess["theta"] = jnp.zeros(8)

    def values_of(x):
        tau = jnp.exp(x["log_tau"])
        return jnp.stack([tau, tau < 1, x["mu"]], axis=1)

    return Posterior(logdensity_fn, zeros, guess, values_of, *means, log_z)


GROUPS, EACH, SCALE = 10, 4, 1.5


def hierarchical_normal():
    """Ten groups of four, centred, with both scales unknown: log scales ~ N(0, 1.5²)."""
    rng = np.random.default_rng(0)
    y = 1.0 + rng.normal(size=(GROUPS, 1)) + 0.7 * rng.normal(size=(GROUPS, EACH))

    def logdensity_fn(x):
        log_prior = jnp.sum(stats.norm.logpdf(x["log_scale"], 0.0, SCALE))
        log_prior += stats.norm.logpdf(x["mu"], 0.0, 5.0)
        tau, sigma = jnp.exp(x["log_scale"])
        log_prior += jnp.sum(stats.norm.logpdf(x["theta"], x["mu"], tau))
        return log_prior + jnp.sum(stats.norm.logpdf(y, x["theta"][:, None], sigma))

    same = np.kron(np.eye(GROUPS), np.ones((EACH, EACH)))

    def log_value(log_tau, log_sigma):
        covariance = 25.0 + np.exp(2 * log_tau) * same
        covariance = covariance + np.exp(2 * log_sigma) * np.eye(y.size)
        log_prior = log_scale_prior(log_tau, SCALE) + log_scale_prior(log_sigma, SCALE)
        return log_prior + log_normal(y.ravel(), 0.0, covariance)

    grids = np.linspace(-7, 4, 111), np.linspace(-1.6, 1.2, 81)
    log_z, points, weight = quadrature(log_value, *grids)
    zeros = {"mu": jnp.zeros(()), "log_scale": jnp.zeros(2), "theta": jnp.zeros(GROUPS)}
    guess = {**zeros, "mu": jnp.asarray(y.mean()), "theta": jnp.asarray(y.mean(1))}
    return Posterior(
        logdensity_fn, zeros, guess, lambda x: x["log_scale"], *exact(weight @ points), log_z
    )


STEPS, WALK_SCALE = 30, 2.0


def random_walk():
    """A random walk of 30 steps seen with noise: both log scales ~ N(0, 2²), the path unknown."""
    rng = np.random.default_rng(1)
    path = np.cumsum(0.4 * rng.normal(size=STEPS))
    y = path + 0.3 * rng.normal(size=STEPS)

    def logdensity_fn(x):
        step, noise = jnp.exp(x["log_scale"])
        log_prior = jnp.sum(stats.norm.logpdf(x["log_scale"], 0.0, WALK_SCALE))
        before = jnp.concatenate([jnp.zeros(1), x["path"][:-1]])
        log_prior += jnp.sum(stats.norm.logpdf(x["path"], before, step))
        return log_prior + jnp.sum(stats.norm.logpdf(y, x["path"], noise))

    times = np.arange(1, STEPS + 1)
    walk = np.minimum(times[:, None], times[None])

    def log_value(log_step, log_noise):
        covariance = np.exp(2 * log_step) * walk + np.exp(2 * log_noise) * np.eye(STEPS)
        log_prior = log_scale_prior(log_step, WALK_SCALE) + log_scale_prior(log_noise, WALK_SCALE)
        return log_prior + log_normal(y, 0.0, covariance)

    grids = np.linspace(-9, 2, 111), np.linspace(-13, 2, 151)
    log_z, points, weight = quadrature(log_value, *grids)
    zeros = {"log_scale": jnp.zeros(2), "path": jnp.zeros(STEPS)}
    guess = {"log_scale": jnp.full(2, -1.0), "path": jnp.asarray(y)}
    return Posterior(
        logdensity_fn, zeros, guess, lambda x: x["log_scale"], *exact(weight @ points), log_z
    )


def poisson():
    """Twelve counts, centred: log rate ~ N(mu, tau²), mu ~ N(0, 3²), log tau ~ N(0, 1)."""
    rng = np.random.default_rng(2)
    count = rng.poisson(np.exp(1.5 + 0.6 * rng.normal(size=12)))

    def logdensity_fn(x):
        log_prior = stats.norm.logpdf(x["mu"], 0.0, 3.0) + stats.norm.logpdf(x["log_tau"])
        log_prior += jnp.sum(stats.norm.logpdf(x["log_rate"], x["mu"], jnp.exp(x["log_tau"])))
        return log_prior + jnp.sum(stats.poisson.logpmf(count, jnp.exp(x["log_rate"])))

    node, node_weight = roots_hermite(80)

    def log_value(mu, log_tau):
        log_rate = mu + math.sqrt(2.0) * math.exp(log_tau) * node
        each = count[:, None] * log_rate - np.exp(log_rate) - gammaln(count + 1.0)[:, None]
        log_likelihood = logsumexp(each, b=node_weight / math.sqrt(np.pi), axis=1).sum()
        return log_likelihood + log_scale_prior(mu, 3.0) + log_scale_prior(log_tau, 1.0)

    grids = np.linspace(-1.0, 4.0, 161), np.linspace(-6.0, 2.0, 161)
    log_z, points, weight = quadrature(log_value, *grids)
    zeros = {"mu": jnp.zeros(()), "log_tau": jnp.zeros(()), "log_rate": jnp.zeros(12)}
    rough = jnp.log(count + 0.5)
    guess = {"mu": jnp.mean(rough), "log_tau": jnp.asarray(-0.5), "log_rate": rough}

    def values_of(x):
        return jnp.stack([x["mu"], x["log_tau"]], axis=1)

    return Posterior(logdensity_fn, zeros, guess, values_of, *exact(weight @ points), log_z)


def gaussian_process():
    """Length, amplitude and noise of a squared exponential kernel: logs ~ N(0, 1), 20 points."""
    rng = np.random.default_rng(3)
    place = np.sort(rng.uniform(0, 5, 20))
    distance2 = (place[:, None] - place[None]) ** 2
    y = np.sin(2 * place) + 0.3 * rng.normal(size=20)

    def logdensity_fn(x):
        length, amplitude, noise = jnp.exp(x)
        kernel = amplitude**2 * jnp.exp(-0.5 * distance2 / length**2)
        kernel += (noise**2 + 1e-4) * jnp.eye(20)
        log_likelihood = stats.multivariate_normal.logpdf(y, jnp.zeros(20), kernel)
        return log_likelihood + jnp.sum(stats.norm.logpdf(x))

    def log_value(log_length, log_amplitude, log_noise):
        kernel = np.exp(2 * log_amplitude - 0.5 * distance2 / np.exp(2 * log_length))
        kernel += (np.exp(2 * log_noise) + 1e-4) * np.eye(20)
        log_prior = sum(log_scale_prior(one, 1.0) for one in (log_length, log_amplitude, log_noise))
        return log_normal(y, 0.0, kernel) + log_prior

    grids = np.linspace(-5, 4.5, 77), np.linspace(-4, 4, 65), np.linspace(-4, 2.5, 53)
    log_z, points, weight = quadrature(log_value, *grids)
    guess = jnp.asarray([-0.5, 0.0, -1.0])
    return Posterior(
        logdensity_fn, jnp.zeros(3), guess, lambda x: x, *exact(weight @ points), log_z
    )


def logistic():
    """`problems.logistic`; the means are those that `benchmarks.truths.logistic` measured."""
    problem = rdmc_jax.problems.logistic()
    truth = json.loads((RESULTS / "logistic_truth.json").read_text("utf-8"))
    mean, error = (np.asarray(truth[key]) for key in ("mean", "standard_error_of_mean"))
    return Posterior(
        problem.logdensity_fn,
        problem.position,
        jnp.asarray(mean + 0.5 * np.asarray(truth["standard_deviation"]), jnp.float32),
        lambda x: x,
        mean,
        error,
        problem.log_normalizer,
    )


TIMES, SUBSTEPS = 20, 8


def lotka_volterra():
    """Hares and lynxes: logs of four rates, two first values, two noises ~ N(0, 1); 2 x 20 data."""

    def states(x):
        a, b, c, d = jnp.exp(x[:4])

        def rate(z):
            hare, lynx = z
            return jnp.stack([hare * (a - b * lynx), lynx * (d * hare - c)])

        def step(z, _):
            k1 = rate(z)
            k2 = rate(z + 0.5 * h * k1)
            k3 = rate(z + 0.5 * h * k2)
            k4 = rate(z + h * k3)
            return z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), z

        h = 0.5 / SUBSTEPS
        return jax.lax.scan(step, jnp.exp(x[4:6]), None, length=TIMES * SUBSTEPS)[1][::SUBSTEPS]

    truth = jnp.asarray([0.0, -0.2, 0.1, -0.4, 0.7, 0.0, -1.4, -1.4])
    noise = np.random.default_rng(4).normal(size=(TIMES, 2))
    y = np.log(np.asarray(states(truth))) + 0.25 * noise

    def logdensity_fn(x):
        state = states(x)
        is_positive = jnp.all(state > 0)
        log_state = jnp.log(jnp.where(state > 0, state, 1.0))
        log_likelihood = jnp.sum(stats.norm.logpdf(y, log_state, jnp.exp(x[6:])[None]))
        return jnp.where(is_positive, log_likelihood, -jnp.inf) + jnp.sum(stats.norm.logpdf(x))

    means, errors = nuts_means(logdensity_fn, truth)
    return Posterior(logdensity_fn, jnp.zeros(8), truth + 0.2, lambda x: x, means, errors, None)


def nuts_means(logdensity_fn, start):
    """Means of four NUTS chains of 4,000 draws from one place, with their standard errors."""

    def one(key):
        warm_key, key = jax.random.split(key)
        warmup = blackjax.window_adaptation(blackjax.nuts, logdensity_fn)
        (state, tuned), _ = warmup.run(warm_key, start, 1000)
        kernel = blackjax.nuts(logdensity_fn, **tuned)

        def step(state, key):
            state, _ = kernel.step(key, state)
            return state, state.position

        return jax.lax.scan(step, state, jax.random.split(key, 4000))[1]

    chains = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 4))
    ess = blackjax.diagnostics.effective_sample_size(chains)
    flat = np.asarray(chains, np.float64).reshape(-1, chains.shape[-1])
    return flat.mean(0), flat.std(0) / np.sqrt(np.asarray(ess))


POSTERIORS = {
    "eight_schools": functools.partial(eight_schools, False),
    "eight_schools_centred": functools.partial(eight_schools, True),
    "hierarchical_normal": hierarchical_normal,
    "random_walk": random_walk,
    "poisson": poisson,
    "gaussian_process": gaussian_process,
    "logistic": logistic,
    "lotka_volterra": lotka_volterra,
}


def measure(name, posterior, start, seed, num_samples):
    position = posterior.zeros if start == "zeros" else posterior.guess
    draws = rdmc_jax.sample(jax.random.key(seed), posterior.logdensity_fn, position, num_samples)
    values = np.asarray(posterior.values_of(draws.position), np.float64)
    mean = draws.weights @ values
    error = np.sqrt((draws.weights**2) @ (values - mean[None]) ** 2 + posterior.mean_errors**2)
    truth = posterior.log_normalizer
    return {
        "posterior": name,
        "from": start,
        "seed": seed,
        "log_z": draws.log_normalizer,
        "log_z_error": None if truth is None else draws.log_normalizer - truth,
        "log_z_reported": draws.log_normalizer_error,
        "means": (mean - posterior.means).tolist(),
        "mean_errors": error.tolist(),
        "ess": draws.ess,
        "total_evals": draws.total_evals,
        "findings": [code for code, _ in draws.findings()],
    }


def cells(record):
    log_z = (
        f"{record['log_z_error']:+.3f}"
        if record["log_z_error"] is not None
        else (f"(log Z {record['log_z']:.3f})")
    )
    worst = max(abs(a) / b for a, b in zip(record["means"], record["mean_errors"], strict=True))
    return [
        record["posterior"],
        record["from"],
        f"{log_z} ± {record['log_z_reported']:.3f}",
        f"{worst:.1f}",
        f"{record['ess']:.0f}",
        f"{record['total_evals'] / 1000:.0f}k",
        ", ".join(record["findings"]) or "none",
    ]


def table(records):
    return markdown(COLUMNS, map(cells, records))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(POSTERIORS), help="names with commas")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--output", type=Path, help="JSON file, written after each posterior")
    options = parser.parse_args()
    report = {**environment(), "records": []}
    for name in chosen(parser, options.problems, POSTERIORS, "posteriors"):
        posterior = POSTERIORS[name]()
        for start, seed in itertools.product(("zeros", "guess"), range(options.seeds)):
            one = measure(name, posterior, start, seed, options.num_samples)
            report["records"].append(one)
            print(line(cells(one)), file=sys.stderr, flush=True)
        write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
