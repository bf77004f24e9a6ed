"""Does a process live that samples many densities, as a notebook or a loop with lambdas does?

Each density is a new function, a Gaussian mixture in one of three dimensions, and compiles its own
programs. Written after each tenth: pieces of memory that are mapped (Linux allows 65,530), resident
memory, the seconds that ten densities took, and at last those of the last density, used
again.

Usage: python -m benchmarks.speed.long_session [--num-densities 100]
[--output benchmarks/results/long_session.json]
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax as rj
from benchmarks.harness.report import environment, line, markdown, write

DIMS = (2, 4, 8)
EVERY = 10
COLUMNS = ("densities", "memory maps", "resident GB", "s for the last ten", "largest log Z error")


def density_of(number):
    """A function of its own: two Gaussians with masses 2/3 and 1/3, and its dimension."""
    dim = DIMS[number % len(DIMS)]
    shift = 2 + number / 50
    constant = 0.5 * dim * jnp.log(2 * jnp.pi)

    def logdensity(x):
        each = jnp.stack([-0.5 * jnp.sum((x - side * shift) ** 2) for side in (-1, 1)])
        return jax.nn.logsumexp(each + jnp.log(jnp.array([2 / 3, 1 / 3]))) - constant

    return logdensity, dim


def memory():
    """Mapped pieces, and resident bytes."""
    maps = len(Path("/proc/self/maps").read_text("utf-8").splitlines())
    status = Path("/proc/self/status").read_text("utf-8").splitlines()
    (resident,) = (row.split()[1] for row in status if row.startswith("VmRSS:"))
    return maps, 1024 * int(resident)


def cells(record):
    text = (record["num_densities"], record["maps"], f"{record['resident'] / 1e9:.1f}")
    return [*map(str, text), f"{record['seconds']:.0f}", f"{record['log_z']:.3f}"]


def table(records):
    """Records as Markdown."""
    return markdown(COLUMNS, map(cells, records))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-densities", type=int, default=100)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    report, begin, errors = {**environment(), "records": []}, time.perf_counter(), []
    for number in range(options.num_densities):
        fn, dim = density_of(number)
        draws = rj.sample(jax.random.key(number), fn, jnp.zeros(dim), 2000)
        errors.append(abs(draws.log_normalizer))
        if (number + 1) % EVERY == 0:
            maps, resident = memory()
            seconds, begin = time.perf_counter() - begin, time.perf_counter()
            record = {"num_densities": number + 1, "maps": maps, "resident": resident}
            record |= {"seconds": seconds, "log_z": float(np.max(errors))}
            report["records"].append(record)
            errors = []
            print(line(cells(record)), file=sys.stderr, flush=True)
            write(report, options.output)
    begin = time.perf_counter()
    rj.sample(jax.random.key(0), fn, jnp.zeros(dim), 2000)
    report["seconds_again"] = time.perf_counter() - begin
    write(report, options.output)
    print(table(report["records"]))


if __name__ == "__main__":
    main()
