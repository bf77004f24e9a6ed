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

- the median of the detection limits that the runs state: the relative width down to which a mode of
  a tenth of the mass would have been seen in nine of ten cases;
- the mean total of evaluations, and the largest.

``--search-evals`` is that option of `sample`, in place of the default.

Usage: python -m benchmarks.accuracy.random_mixtures [--dims 5,8,15,20] [--ratios 2,4]
[--mixtures 8] [--first-seed 100] [--search-evals 1e7] [--num-samples 2000]
[--output benchmarks/results/random_mixtures.json]
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax
from benchmarks.harness.report import environment, line, markdown, write
from benchmarks.harness.truth import mode_floor, total_variation

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
    "detection limit",
    "evals in all (most)",
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


def run(dim, ratio, seed, num_samples, search_evals):
    """One mixture, sampled once."""
    centres, factors = mixture(dim, ratio, seed)
    data = data_of(centres, factors)
    truth = exact_weights(centres, factors, data)
    draws = rdmc_jax.sample(
        jax.random.key(seed),
        logdensity_fn,
        jnp.zeros(dim),
        num_samples,
        data=data,
        search_evals=search_evals,
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
        "total_evals": draws.total_evals,
        "detection_limit": draws.detection_limit,
        "findings": [code for code, _ in draws.findings()],
    }


def measure(dim, ratio, options):
    first, count = options.first_seed, options.mixtures
    runs = [
        run(dim, ratio, seed, options.num_samples, options.search_evals)
        for seed in range(first, first + count)
    ]
    return {
        "dim": dim,
        "ratio": ratio,
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

    most = max(one["total_evals"] for one in runs)
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
        f"{np.median([one['detection_limit'] or np.inf for one in runs]):.2f}",
        f"{mean('total_evals') / 1e3:,.0f}k ({most / 1e3:,.0f}k)",
    ]


def table(records):
    return markdown(COLUMNS, map(cells, records))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", default="5,8,15,20")
    parser.add_argument("--ratios", default="2,4")
    parser.add_argument("--mixtures", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--search-evals", type=float, help="as the option of sample")
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--output", type=Path, help="JSON file, written after each row")
    options = parser.parse_args()
    names = ("mixtures", "num_samples", "first_seed", "search_evals")
    settings = {name: getattr(options, name) for name in names}
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
