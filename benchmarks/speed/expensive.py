"""A worked example: a density that takes milliseconds, in NumPy, without a gradient.

A damped oscillator ``y'' + g y' + w² y = 0`` is observed at 12 times, but only its square, so the
sign of y is not known: the posterior of ``(log w, log g, y(0), y'(0))`` has two modes, of which the
prior prefers one. The density solves the differential equation by `scipy.integrate.solve_ivp` and
knows nothing of JAX, which calls it through a callback. `sample` is given a small budget.

The truth comes from the equation's closed form: importance sampling from a Student law at each
mode, a million points each.

Usage: python -m benchmarks.speed.expensive [--seeds 3] [--max-evals 50000]
[--output benchmarks/results/expensive.json]
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, optimize, stats

import rdmc_jax as rj
from benchmarks.harness.report import environment, line, markdown, write

TIMES = np.linspace(0.3, 6.0, 12)
NOISE = 0.1
PRIOR = np.array([0.3, -1.0, 0.3, 0.0]), np.array([0.3, 0.5, 1.0, 1.0])
"""Means and deviations of the prior."""
TRUE = np.array([np.log(1.5), np.log(0.3), 1.0, 0.5])
LARGEST = 4.0
"""Logarithms of frequency and damping beyond it have no density: nothing there could be solved."""
COLUMNS = ("seed", "log Z error", "weight of a mode (truth)", "ESS", "calls", "s", "s per call")
NUM_TRUTH = 1_000_000
NUM_SAMPLES = 1000


def closed_form(x):
    """The solution at `TIMES` for points of shape (..., 4)."""
    rate, damping, y, v = np.moveaxis(np.asarray(x, float)[..., None], -2, 0)
    half = np.exp(damping) / 2
    w = np.sqrt(np.exp(2 * rate) - half**2 + 0j)
    turning = y * np.cos(w * TIMES) + (v + half * y) / w * np.sin(w * TIMES)
    return np.real(np.exp(-half * TIMES) * turning)


DATA = closed_form(TRUE) ** 2 + NOISE * np.random.default_rng(0).normal(size=TIMES.size)


def log_posterior(x, solution):
    """Unnormalised, given the solution at the point."""
    misfit = np.sum(((DATA - solution**2) / NOISE) ** 2, axis=-1)
    return -0.5 * misfit - 0.5 * np.sum(((x - PRIOR[0]) / PRIOR[1]) ** 2, axis=-1)


def expensive(x):
    """The log density of one point, by solving the equation."""
    x = np.asarray(x, float)
    if not np.all(np.abs(x[:2]) < LARGEST) or not np.all(np.isfinite(x)):
        return -np.inf
    w2, g = np.exp(2 * x[0]), np.exp(x[1])
    solved = integrate.solve_ivp(
        lambda t, y: (y[1], -g * y[1] - w2 * y[0]),
        (0.0, TIMES[-1]),
        x[2:],
        t_eval=TIMES,
        rtol=1e-7,
        atol=1e-9,
    )
    return log_posterior(x, solved.y[0])


def callback(calls):
    """The density as JAX calls it: point by point, and counted."""

    def called(x):
        calls.append(None)
        return np.float32(expensive(x))

    def logdensity(x):
        return jax.pure_callback(
            called, jax.ShapeDtypeStruct((), jnp.float32), x, vmap_method="sequential"
        )

    return logdensity


def truth():
    """Log Z, its standard error, and the share of the mode with positive y(0)."""
    rng, log_masses, errors = np.random.default_rng(1), [], []
    for sign in (1, -1):
        start = TRUE * np.array([1, 1, sign, sign])
        found = optimize.minimize(lambda x: -log_posterior(x, closed_form(x)), start)
        law = stats.multivariate_t(found.x, 1.5 * found.hess_inv, df=8)
        x = law.rvs(NUM_TRUTH, random_state=rng)
        log_weight = log_posterior(x, closed_form(x)) - law.logpdf(x)
        weight = np.where(np.sign(x[:, 2]) == sign, np.exp(log_weight - log_weight.max()), 0.0)
        log_masses.append(log_weight.max() + np.log(weight.mean()))
        errors.append(weight.std() / weight.mean() / np.sqrt(NUM_TRUTH))
    log_z = np.logaddexp(*log_masses)
    shares = np.exp(np.array(log_masses) - log_z)
    return log_z, np.linalg.norm(shares * errors), shares[0]


def measured(seed, max_evals, log_z, share):
    """One run from the start of compilation, as a record."""
    calls, begin = [], time.perf_counter()
    draws = rj.sample(
        jax.random.key(seed), callback(calls), jnp.zeros(4), NUM_SAMPLES, max_evals=max_evals
    )
    seconds = time.perf_counter() - begin
    own, error = draws.expectation(lambda x: x[2] > 0)
    return {
        "seed": seed,
        "log_z": float(draws.log_normalizer - log_z),
        "log_z_error": float(draws.log_normalizer_error),
        "share": float(own),
        "share_error": float(error),
        "share_truth": float(share),
        "ess": float(draws.ess),
        "calls": len(calls),
        "total_evals": int(draws.total_evals),
        "seconds": seconds,
        "findings": sorted({code for code, _ in draws.findings()}),
    }


def cells(record):
    log_z = f"{record['log_z']:+.3f} ± {record['log_z_error']:.3f}"
    share = f"{record['share']:.3f} ± {record['share_error']:.3f} ({record['share_truth']:.3f})"
    numbers = f"{record['ess']:.0f}", f"{record['calls']:,}", f"{record['seconds']:.0f}"
    return [str(record["seed"]), log_z, share, *numbers, f"{record['seconds_per_call']:.4f}"]


def table(records):
    """Records as Markdown."""
    return markdown(COLUMNS, map(cells, records))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-evals", type=float, default=50_000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    log_z, error, share = truth()
    begin = time.perf_counter()
    for x in np.random.default_rng(2).normal(*PRIOR, (100, 4)):
        expensive(x)
    each = (time.perf_counter() - begin) / 100
    report = {**environment(), "log_z": log_z, "log_z_error": error, "records": []}
    for seed in range(options.seeds):
        record = measured(seed, options.max_evals, log_z, share) | {"seconds_per_call": each}
        report["records"].append(record)
        print(line(cells(record)), file=sys.stderr, flush=True)
        write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
