"""Digests of draws under fixed keys: whether a change of the code leaves every bit as it was.

One CPU, one thread of keys: rows are digests of positions, log weights and evaluations. They hold
for one version of JAX and one kind of processor, so there is no file of them in the repository:

    python -m benchmarks.design.golden --write before.json   # at the old commit
    python -m benchmarks.design.golden --compare before.json  # at the new one
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax
from rdmc_jax import problems


def digest(*arrays: Any) -> str:
    """A hash of the bits of all leaves."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(arrays):
        array = np.ascontiguousarray(leaf)
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:16]


def row(draws: Any) -> dict[str, Any]:
    """What is compared of a run."""
    return {
        "position": digest(draws.position),
        "log_weight": digest(draws.log_weight),
        "num_evals": [int(np.sum(count)) for count in draws.num_evals],
        "log_normalizer": [repr(float(value)) for value in np.atleast_1d(draws.log_normalizer)],
    }


def two_dimensions() -> Any:
    """The automatic method in two dimensions."""
    one = problems.gmm4()
    return rdmc_jax.sample(jax.random.key(0), one.logdensity_fn, one.position, 2500)


def eight_dimensions() -> Any:
    """The automatic method in eight dimensions, known positions given."""
    one = problems.two_modes(dim=8)
    known = jnp.ones((3, 8)) * jnp.arange(3.0)[:, None]
    return rdmc_jax.sample(
        jax.random.key(1), one.logdensity_fn, one.position, 2000, known_positions=known
    )


def gradient_free() -> Any:
    """The automatic method on a density without a gradient."""

    def rounded(x: jax.Array) -> jax.Array:
        return -0.5 * jnp.round(jnp.sum(x**2), 3)

    return rdmc_jax.sample(jax.random.key(2), rounded, jnp.zeros(2), 1500)


def tolerance() -> Any:
    """Sizes that follow from an accuracy."""
    one = problems.rings()
    return rdmc_jax.sample(jax.random.key(3), one.logdensity_fn, one.position, 2000, tolerance=0.3)


def published() -> Any:
    """The paper's algorithm."""
    one = problems.gmm4()
    return rdmc_jax.paper(jax.random.key(4), one.logdensity_fn, one.position, 500, num_levels=8)


def composed() -> Any:
    """A composition with pooled chains, after a pilot."""
    one = problems.gmm4()
    return rdmc_jax.sample(
        jax.random.key(5), one.logdensity_fn, one.position, 500, method=composition()
    )


def composed_tolerance() -> Any:
    """A composition that grows."""

    def gaussian(x: jax.Array) -> jax.Array:
        return -0.5 * jnp.sum((x - 1) ** 2) / 0.49

    return rdmc_jax.sample(
        jax.random.key(6), gaussian, jnp.zeros(2), 500, method=composition(), tolerance=0.3
    )


def composition() -> Any:
    """Pooled chains and an annealed finish."""
    return rdmc_jax.rdmc(
        rdmc_jax.samplers.gaussian_start(num_particles=256),
        rdmc_jax.samplers.levels(
            rdmc_jax.diffusion.log_snr_grid(8),
            rdmc_jax.estimators.chains(
                rdmc_jax.kernels.mala,
                begin=rdmc_jax.estimators.from_all_particles(),
                num_chains=4,
                num_steps=2,
            ),
            rdmc_jax.diffusion.moment_matched(),
        ),
        rdmc_jax.samplers.annealed_finish(num_temperatures=4),
    )


def density_of_data(x: jax.Array, data: jax.Array) -> jax.Array:
    """Two modes whose distance is the data."""
    left, right = jnp.sum((x - data) ** 2), jnp.sum((x + data) ** 2)
    return jnp.logaddexp(-0.5 * left, -0.5 * right)


def core() -> Any:
    """The pure function, two data sets in one program."""
    plan = rdmc_jax.plan(dim=2, num_samples=256, num_replicates=1, method=composition())
    keys = jax.random.split(jax.random.key(7), 2)
    run = jax.jit(
        jax.vmap(
            lambda key, data: rdmc_jax.core(key, density_of_data, jnp.zeros(2), data, plan=plan)
        )
    )
    return run(keys, jnp.array([2.0, 4.0]))


def many() -> Any:
    """Many posteriors."""
    return rdmc_jax.sample_many(
        jax.random.key(8), density_of_data, jnp.zeros(2), jnp.array([2.0, 4.0]), num_samples=1500
    )


CASES: tuple[Callable[[], Any], ...] = (
    two_dimensions,
    eight_dimensions,
    gradient_free,
    tolerance,
    published,
    composed,
    composed_tolerance,
    core,
    many,
)


def main() -> None:
    """Write digests, or compare with those of a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    before = json.loads(options.compare.read_text()) if options.compare else {}
    found = {}
    for case in CASES:
        name = case.__name__
        if options.only and name not in options.only:
            continue
        begin = time.perf_counter()
        result = case()
        found[name] = (
            {"position": digest(result.position), "log_weight": digest(result.log_weight)}
            if name == "core"
            else row(result)
        )
        verdict = ""
        if before:
            same = [key for key in found[name] if found[name][key] == before[name][key]]
            verdict = "same" if len(same) == len(found[name]) else f"CHANGED, same only: {same}"
        print(f"{name:<20} {time.perf_counter() - begin:5.1f} s  {verdict}", flush=True)
    if options.write:
        options.write.write_text(json.dumps(found, indent=1) + "\n")
    if before and any(found[name] != before[name] for name in found):
        raise SystemExit("digests differ")


if __name__ == "__main__":
    main()
