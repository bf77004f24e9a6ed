"""Are modes found as often as the runs say?

`Draws.detection_probability` says how often a mode of a given share and width would have been seen.
Here the modes are known: five Gaussians of equal weight, as in `random_mixtures`, with widths from
1 down to 1/2 to 1/8, in 5 to 20 dimensions. For each mode of each mixture the run is asked with
the mode's own width, in units of the typical width that the run met, and with its share of the mass
that the run saw. The wide modes that it met explain the density, so these numbers are what a user
would know. Modes are put into bins of the predicted probability; each row has the mean of the
predictions, the share of the modes that are in the draws (a tenth of their weight at least), and
how far these differ in standard errors of as many independent trials with the predicted odds. A
last line says how many of the runs that missed a mode have a finding.

Usage: python -m benchmarks.accuracy.detection [--dims 5,8,12,15,20] [--ratios 2,3,4,6,8]
[--mixtures 8] [--first-seed 500] [--num-samples 2000] [--output benchmarks/results/detection.json]
"""

import argparse
import itertools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax
from benchmarks.accuracy.random_mixtures import (
    NUM_MODES,
    data_of,
    logdensity_fn,
    mixture,
    modes_of,
)
from benchmarks.harness.report import environment, line, markdown, write
from rdmc_jax.draws.detection import PROBABILITY

BINS = (0.0, 0.1, 0.3, 0.6, 0.9, 1.0)
SHARE = 1 / NUM_MODES
COLUMNS = ("predicted", "modes", "mean prediction", "found", "difference in standard errors")


def measure(dim, ratio, seed, num_samples):
    """One run; its modes from the widest on."""
    centres, factors = mixture(dim, ratio, seed)
    data = data_of(centres, factors)
    draws = rdmc_jax.sample(
        jax.random.key(seed), logdensity_fn, jnp.zeros(dim), num_samples, data=data
    )
    modes = np.asarray(modes_of(draws.position, data))
    weight = np.bincount(modes, draws.weights, minlength=NUM_MODES) * np.exp(draws.log_normalizer)
    widths = np.exp(np.linalg.slogdet(factors)[1] / dim)
    relative = widths / np.exp(np.mean(np.log(draws.detection.typical)))
    share = min(SHARE * np.exp(-draws.log_normalizer), 0.999)
    return {
        "dim": dim,
        "ratio": ratio,
        "seed": seed,
        "predicted": [draws.detection_probability(share, float(one)) for one in relative],
        "is_found": (weight > 0.1 * SHARE).tolist(),
        "total_evals": draws.total_evals,
        "findings": [code for code, _ in draws.findings()],
    }


def cells(low, high, predicted, is_found):
    last = high == BINS[-1]
    inside = (predicted >= low) & ((predicted < high) | last)
    count = int(np.sum(inside))
    name = f"{low:g} to {high:g}"
    if not count:
        return [name, "0", "–", "–", "–"]
    mean, found = np.mean(predicted[inside]), np.mean(is_found[inside])
    error = np.sqrt(np.sum(predicted[inside] * (1 - predicted[inside]))) / count
    gap = f"{(found - mean) / error:+.1f}" if error else "–"
    return [name, str(count), f"{mean:.3f}", f"{found:.3f}", gap]


def missed(records):
    """Whether the runs that missed a mode say so."""
    runs = [one for one in records if not all(one["is_found"])]
    silent = [one for one in runs if not one["findings"]]

    def is_coarse(one):
        pairs = zip(one["predicted"], one["is_found"], strict=True)
        return all(probability < PROBABILITY for probability, seen in pairs if not seen)

    num_flagged, num_coarse = len(runs) - len(silent), sum(map(is_coarse, silent))
    return (
        f"{len(runs)} of {len(records)} runs missed a mode, {num_flagged} of these with a finding. "
        f"In {num_coarse} of the {len(silent)} others all modes missed were predicted to be seen "
        f"with probability below {PROBABILITY:g}."
    )


def table(records):
    predicted = np.concatenate([one["predicted"] for one in records])
    is_found = np.concatenate([one["is_found"] for one in records])
    rows = [cells(*bounds, predicted, is_found) for bounds in itertools.pairwise(BINS)]
    return f"{markdown(COLUMNS, rows)}\n\n{missed(records)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", default="5,8,12,15,20")
    parser.add_argument("--ratios", default="2,3,4,6,8")
    parser.add_argument("--mixtures", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=500)
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--output", type=Path, help="JSON file, written after each dimension")
    options = parser.parse_args()
    report = {**environment(), "records": []}
    for dim in map(int, options.dims.split(",")):
        jax.clear_caches()
        for ratio in map(float, options.ratios.split(",")):
            for seed in range(options.first_seed, options.first_seed + options.mixtures):
                report["records"].append(measure(dim, ratio, seed, options.num_samples))
        write(report, options.output)
        print(line([str(dim), str(len(report["records"]))]), file=sys.stderr, flush=True)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
