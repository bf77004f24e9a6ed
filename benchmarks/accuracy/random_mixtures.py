"""Which modes are found, by dimension and by how much the widths of the modes differ?

Five Gaussians of equal weight: centres from N(0, 3² I), widths (geometric means of the deviations)
in equal ratios from 1 down to 1/``ratio``, deviations along random axes that differ by up to 3. A
narrow mode dominates a small ball only: few random points fall into it, and outside of it nothing
in the density points to it. For each dimension and ratio there are ``--mixtures`` mixtures and one
run for each at the defaults.

A mode is missed where the draws have less than a tenth of its weight. Each row has

- the runs that found all modes, the root mean square error of log Z and the mean error of the mode
  weights of these runs, with its floor (95 of 100 sets of exact draws stay below);
- the modes missed, by width, and the mass missed on average;
- how many of the runs that missed something have any finding, and how many of the others.

``--candidates`` gives the default's pilot another number of candidates in each search.

Usage: python -m benchmarks.accuracy.random_mixtures [--dims 2,5,8,15,20] [--ratios 1,2,4]
[--mixtures 8] [--candidates 128] [--num-samples 2000]
[--output benchmarks/results/random_mixtures.json]
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax
from benchmarks.harness.report import environment, line, markdown, write
from benchmarks.harness.truth import mode_floor, total_variation
from rdmc_jax.planning import defaults
from rdmc_jax.planning.defaults import DEFAULT_SIZES, choose_sizes

NUM_MODES = 5
SPREAD = 3.0
CONDITION = 3.0
NUM_EXACT = 100_000
COLUMNS = (
    "dim",
    "widths",
    "found all",
    "log Z rmse of these",
    "modes of these (floor)",
    "missed, by width from 1 on",
    "mass missed",
    "flagged: of runs that missed, of the others",
    "candidates",
    "evals",
)


def mixture(dim, ratio, seed):
    """Centres (K, dim) and axes times deviations (K, dim, dim), from the widest mode on."""
    rng = np.random.default_rng(seed)
    centres = SPREAD * rng.normal(size=(NUM_MODES, dim))
    widths = ratio ** -np.linspace(0, 1, NUM_MODES)
    factors = []
    for width in widths:
        axes, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
        log_deviation = np.log(CONDITION) * rng.uniform(-0.5, 0.5, dim)
        factors.append(axes * width * np.exp(log_deviation - log_deviation.mean()))
    return centres, np.stack(factors)


def data_of(centres, factors):
    """What the density needs: centres, inverse factors and constants in single precision."""
    log_det = np.linalg.slogdet(factors)[1]
    constants = -log_det - 0.5 * centres.shape[1] * np.log(2 * np.pi) - np.log(NUM_MODES)
    return jax.tree.map(
        lambda array: jnp.asarray(array, jnp.float32), (centres, np.linalg.inv(factors), constants)
    )


def components(x, data):
    """Log density of each of the Gaussians, weight included."""
    centres, inverses, constants = data
    z = jnp.einsum("kij,kj->ki", inverses, x[None] - centres)
    return constants - 0.5 * jnp.sum(z**2, axis=1)


def logdensity_fn(x, data):
    """The mixture; Z = 1."""
    return jax.nn.logsumexp(components(x, data))


@jax.jit
def modes_of(x, data):
    """The Gaussian that is largest at each row of x."""
    return jax.lax.map(lambda one: jnp.argmax(components(one, data)), x, batch_size=4096)


def exact_weights(centres, factors, data):
    rng = np.random.default_rng(2**31)
    number = np.repeat(np.arange(NUM_MODES), NUM_EXACT // NUM_MODES)
    z = rng.normal(size=(NUM_EXACT, centres.shape[1]))
    x = centres[number] + np.einsum("nij,nj->ni", factors[number], z)
    modes = np.asarray(modes_of(jnp.asarray(x, jnp.float32), data))
    return np.bincount(modes, minlength=NUM_MODES) / NUM_EXACT


def run(dim, ratio, seed, num_samples):
    """One mixture, sampled once."""
    centres, factors = mixture(dim, ratio, seed)
    data = data_of(centres, factors)
    truth = exact_weights(centres, factors, data)
    draws = rdmc_jax.sample(
        jax.random.key(seed), logdensity_fn, jnp.zeros(dim), num_samples, data=data
    )
    modes = np.asarray(modes_of(draws.position, data))
    found = np.bincount(modes, draws.weights, minlength=NUM_MODES)
    is_missed = found < 0.1 * truth
    return {
        "log_z": draws.log_normalizer,
        "modes": float(total_variation(found, truth)),
        "floor": mode_floor(truth, num_samples),
        "is_missed": is_missed.tolist(),
        "mass_missed": float(np.sum(truth[is_missed])),
        "ess": draws.ess,
        "evals_per_sample": draws.evals_per_sample,
        "findings": [code for code, _ in draws.findings()],
    }


def with_candidates(sizes, number):
    """The sizes with another number of candidates for each start of a search."""
    if number is None:
        return sizes
    pilot = dataclasses.replace(sizes.pilot, num_candidates=number)
    return dataclasses.replace(sizes, pilot=pilot)


def measure(dim, ratio, options):
    ladder = tuple(with_candidates(sizes, options.candidates) for sizes in DEFAULT_SIZES)
    with mock.patch.object(defaults, "DEFAULT_SIZES", ladder):
        runs = [run(dim, ratio, seed, options.num_samples) for seed in range(options.mixtures)]
        sizes, _ = choose_sizes(dim, options.num_samples, 2, None)
    return {
        "dim": dim,
        "ratio": ratio,
        "candidates": sizes.pilot.num_candidates,
        "commit": environment()["versions"]["commit"],
        "runs": runs,
    }


def cells(record):
    runs = record["runs"]
    whole = [one for one in runs if not any(one["is_missed"])]
    partial = [one for one in runs if any(one["is_missed"])]
    missed = np.sum([one["is_missed"] for one in runs], axis=0)
    flagged = [
        f"{sum(bool(one['findings']) for one in some)} of {len(some)}" if some else "–"
        for some in (partial, whole)
    ]

    def mean(name, of=runs):
        return np.mean([one[name] for one in of])

    rmse = modes = "–"
    if whole:
        rmse = f"{np.sqrt(np.mean([one['log_z'] ** 2 for one in whole])):.3f}"
        modes = f"{mean('modes', whole):.3f} ({mean('floor', whole):.3f})"
    return [
        str(record["dim"]),
        f"1 : {record['ratio']:g}",
        f"{len(whole)} of {len(runs)}",
        rmse,
        modes,
        " ".join(map(str, missed)) if missed.any() else "none",
        f"{mean('mass_missed'):.2f}" if missed.any() else "0",
        ", ".join(flagged),
        str(record["candidates"]),
        f"{mean('evals_per_sample'):.0f}",
    ]


def table(records):
    return markdown(COLUMNS, map(cells, records))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", default="2,5,8,15,20")
    parser.add_argument("--ratios", default="1,2,4")
    parser.add_argument("--mixtures", type=int, default=8)
    parser.add_argument("--candidates", type=int, help="in each search of the pilot")
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--output", type=Path, help="JSON file, written after each row")
    options = parser.parse_args()
    settings = {"mixtures": options.mixtures, "num_samples": options.num_samples}
    report = {**environment(), "settings": settings, "records": []}
    for dim in map(int, options.dims.split(",")):
        jax.clear_caches()
        for ratio in map(float, options.ratios.split(",")):
            report["records"].append(measure(dim, ratio, options))
            print(line(cells(report["records"][-1])), file=sys.stderr, flush=True)
            write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
