"""The certificate's blind spot: what happens as a mode becomes too narrow to be found.

Half of the mass is N(0, I) in two dimensions; the other half is a needle of a given width, eleven
away. Draws that miss the needle have a total variation of 1/2 from the target, and their log Z is
off by log 2 = .693. But if all draws miss it, every number computed from them looks perfect:
replicates and the coverage of the pool's generators see the needle only where some of them found
it. For each width there is one run at the defaults, and one that is told the needle's place
(``known_positions``).

Usage: python -m benchmarks.accuracy.blind_spot [--widths 1,0.1,...] [--num-samples 4000]
[--output benchmarks/results/blind_spot.json]
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax
from benchmarks.harness.report import environment, line, markdown, write

PLACE = np.array([9.0, -7.0], np.float32)
WIDTHS = "1,0.3,0.1,0.03,0.01,0.003,0.001,0.0003,0.0001"
COLUMNS = (
    "width",
    "needle known",
    "log Z error ± reported",
    "needle, by replicate (truth .5)",
    "ESS",
    "TV limit",
    "findings",
)


def logdensity_fn(x, width):
    """½ N(0, I) + ½ N(place, width² I); Z = 1."""
    broad = -0.5 * jnp.sum(x**2)
    needle = -0.5 * jnp.sum(((x - PLACE) / width) ** 2) - 2 * jnp.log(width)
    return jnp.logaddexp(broad, needle) - jnp.log(4 * jnp.pi)


def measure(width, is_known, options):
    draws = rdmc_jax.sample(
        jax.random.key(0),
        logdensity_fn,
        jnp.zeros(2),
        options.num_samples,
        data=jnp.float32(width),
        known_positions=PLACE[None] if is_known else None,
    )
    weight, replicate = draws.weights, np.asarray(draws.replicate)
    is_needle = np.sum((np.asarray(draws.position) - PLACE) ** 2, axis=1) < (5 * width) ** 2
    shares = [
        float(np.sum(weight[is_needle & (replicate == k)]) / np.sum(weight[replicate == k]))
        for k in np.unique(replicate)
    ]
    return {
        "width": width,
        "known": is_known,
        "log_normalizer": draws.log_normalizer,
        "reported_standard_error": draws.log_normalizer_error,
        "needle": shares,
        "ess": draws.ess,
        "tv_limit": draws.tv_limit,
        "findings": [code for code, _ in draws.findings()],
        "evals_per_sample": draws.evals_per_sample,
    }


def cells(record):
    return [
        f"{record['width']:g}",
        "yes" if record["known"] else "no",
        f"{record['log_normalizer']:+.3f} ± {record['reported_standard_error']:.3f}",
        " ".join(f"{share:.2f}" for share in record["needle"]),
        f"{record['ess']:.0f}",
        f"{record['tv_limit']:.3f}",
        ", ".join(record["findings"]) or "none",
    ]


def table(records):
    return markdown(COLUMNS, map(cells, records))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", default=WIDTHS)
    parser.add_argument("--num-samples", type=int, default=4000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    settings = {"num_samples": options.num_samples, "seed": 0}
    report = {**environment(), "settings": settings, "records": []}
    for is_known in (False, True):
        for width in map(float, options.widths.split(",")):
            report["records"].append(measure(width, is_known, options))
            print(line(cells(report["records"][-1])), file=sys.stderr, flush=True)
    write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
