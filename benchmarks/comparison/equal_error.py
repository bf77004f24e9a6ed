"""Evaluations for equal error: ours beside adaptive tempered SMC, over many seeds.

An error that is noise falls as the square root of the evaluations spent on draws. So evaluations
times mean squared error measure the cost, whatever the number of draws. Where the root mean square
is above .1, modes are missed, which more draws do not mend: such sizes do not count.

For each problem and each of two errors, of log Z and of the mode weights (total variation), each
method has the size at which that product is smallest. The sizes of `rdmc_jax.sample` are the
smallest budget and the defaults; those of SMC with MALA moves (`benchmarks.baselines.tempered`; it
gets the reference) are all numbers of moves and particles up to ``--max-evals``. The ratio of the
products says how many times fewer evaluations `sample` needs. In brackets are the 5 and 95 %
quantiles over resampled seeds, with the choice of sizes inside.

Problems: many modes in two dimensions, and modes of unequal widths in more. Not those with hard
edges, where blackjax's tempering multiplies a temperature of 0 by the logarithm of 0.

Usage: python -m benchmarks.comparison.equal_error [--problems gmm4,...] [--seeds 32]
[--num-samples 2000] [--max-evals 1500] [--output benchmarks/results/equal_error.json]
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np

from benchmarks.baselines import make_target
from benchmarks.harness.contenders import METHODS
from benchmarks.harness.report import chosen, environment, line, markdown, write
from benchmarks.harness.truth import Truth, errors_of
from rdmc_jax import problems

PROBLEMS = {
    "gmm4": problems.gmm4,
    "gmm8": problems.gmm8,
    "rings": problems.rings,
    "gmm40": lambda: problems.gmm40(2),
    "bananas": problems.bananas,
    "spike_slab_5": lambda: problems.spike_slab(5),
    "unequal_mixture_8": lambda: problems.unequal_mixture(8),
}
SIZES = {"sample": ("least", "default"), "SMC MALA": METHODS["SMC MALA"].sizes}
ERRORS = {"log_z": "log Z", "modes": "modes"}
COLUMNS = ("problem", "error", "ours: evals, rms", "SMC: evals, rms", "fewer evaluations")
NUM_RESAMPLED = 2000
LARGEST = 0.1
"""Root mean square error above which it is not noise."""


def measure(name, options):
    """One record for each method and size."""
    problem = PROBLEMS[name]()
    target = make_target(problem)
    commit = environment()["versions"]["commit"]
    for method, sizes in SIZES.items():
        jax.clear_caches()
        for size in sizes:
            runs = [
                METHODS[method].run(
                    jax.random.key(seed), problem, target, options.num_samples, size, None
                )
                for seed in range(options.seeds)
            ]
            errors = [errors_of(problem, Truth(None, None, {}), run) for run in runs]
            evals = [run.evals_per_sample for run in runs]
            record = {"problem": name, "method": method, "size": str(size), "commit": commit}
            record |= {error: [one[error] for one in errors] for error in ERRORS}
            yield record | {"evals": evals}
            if np.mean(evals) * 3 > options.max_evals:  # the next size costs three times as much
                break


def cost_of(record, error, seeds):
    """Evaluations times mean squared error; infinite where that is no noise, or no number."""
    errors = np.array([np.nan if one is None else one for one in record[error]], float)[seeds]
    errors = np.where(np.isfinite(errors), errors, np.inf)
    square = np.mean(errors**2)
    return np.mean(np.asarray(record["evals"])[seeds]) * square if square <= LARGEST**2 else np.inf


def least(records, error, method, seeds):
    """Smallest cost of a method over its sizes, and the record that has it."""
    own = [record for record in records if record["method"] == method]
    costs = [cost_of(record, error, seeds) for record in own]
    return min(costs), own[int(np.argmin(costs))]


def ratio(records, error, seeds):
    first, second = (least(records, error, method, seeds)[0] for method in SIZES)
    return second / first if first < np.inf else np.nan if second == np.inf else 0.0


def cells(records, error):
    """One row of the table: one problem and one error."""
    num_seeds = len(records[0]["evals"])
    everything = np.arange(num_seeds)
    resampled = np.random.default_rng(0).integers(num_seeds, size=(NUM_RESAMPLED, num_seeds))
    ratios = [ratio(records, error, seeds) for seeds in resampled]
    low, high = np.nanquantile(ratios, [0.05, 0.95], method="nearest")
    texts = []
    for method in SIZES:
        cost, record = least(records, error, method, everything)
        if cost == np.inf:
            own = [one for one in records if one["method"] == method]
            record = min(own, key=lambda one: rms_of(one, error))
        said = f"{np.mean(record['evals']):,.0f}, {rms_of(record, error):.4f}"
        texts.append(said if cost < np.inf else f"none (best: {said})")
    found = ratio(records, error, everything)
    if np.isfinite(found):
        upper = f"to {high:.2g}" if np.isfinite(high) else "or more"
        found = f"{found:.3g} ({low:.2g} {upper})"
    else:
        found = "–"
    return [f"`{records[0]['problem']}`", ERRORS[error], *texts, found]


def rms_of(record, error):
    return np.sqrt(np.mean(np.square([np.nan if one is None else one for one in record[error]])))


def rows(records):
    """Problems in the order of the records, errors that exist."""
    for name in dict.fromkeys(record["problem"] for record in records):
        own = [record for record in records if record["problem"] == name]
        for error in ERRORS:
            if any(one is not None for one in own[0][error]):
                yield cells(own, error)


def table(records):
    return markdown(COLUMNS, list(rows(records)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--max-evals", type=float, default=1500)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    names = chosen(parser, options.problems, PROBLEMS, "problems")
    settings = {"num_seeds": options.seeds, "num_samples": options.num_samples}
    report = {**environment(), "settings": settings, "records": []}
    for name in names:
        records = list(measure(name, options))
        report["records"] += records
        for row in rows(records):
            print(line(row), file=sys.stderr, flush=True)
        write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
