"""A program of its own: the same runs on the meshes of several devices or processes.

Usage: python on_devices.py OUTPUT.npz [ADDRESS NUM_PROCESSES RANK]
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

import rdmc_jax as rj
from rdmc_jax.runs.run import run_plan
from rdmc_jax.samplers.noised_pool import shrunk_covariance

POOLED = rj.rdmc(
    rj.samplers.gaussian_start(num_particles=64),
    rj.samplers.levels(
        rj.diffusion.log_snr_grid(3, low=-3.0, high=3.0), rj.estimators.pooled_importance()
    ),
    rj.samplers.gaussian_finish(),
)
MIXTURE = rj.samplers.mixture(num_particles=64, num_components=8, num_rounds=2, num_drawn=64)
METHODS = {
    "mixture": rj.rdmc(MIXTURE, finish=rj.samplers.candidates(2, num_temperatures=4)),
    "restart": rj.rdmc(
        rj.samplers.noised_pool(num_particles=64),
        finish=rj.samplers.annealed_finish(num_temperatures=4, reference=shrunk_covariance),
    ),
}
"""The automatic method, and the one before it, small."""
AXES = {"replicates": 2, "particles": 2}


def density(x, data):
    """Two unequal Gaussians."""
    gaps = jnp.sum(((x[None, :] - data["mean"]) / data["scale"]) ** 2, axis=1)
    return jax.nn.logsumexp(data["log_weight"] - 0.5 * gaps)


# of numpy: jax may not be used before the processes have found each other
DATA = {
    "mean": np.array([[1.0, 0.0], [-1.0, 0.5]], np.float32),
    "scale": np.array([[1.0, 0.5], [0.5, 1.0]], np.float32),
    "log_weight": np.log(np.array([0.4, 0.6], np.float32)),
}


def mesh_of(axes):
    types = (AxisType.Auto,) * len(axes)
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=types)


def draws_of(mesh=None):
    """Seven ensembles in chunks of four: the last is one short of the devices."""
    options = {"data": DATA, "method": POOLED, "num_replicates": 1, "mesh": mesh}
    return rj.sample(jax.random.key(0), density, jnp.zeros(2), 448, chunk_size=256, **options)


def known_draws_of(name, mesh=None):
    """A method from points that are known, so that no pilot is compiled."""
    plan = rj.plan(dim=2, num_samples=448, num_replicates=1, method=METHODS[name])
    rng = np.random.default_rng(0)
    chosen = rng.choice(2, 256, p=[0.5, 0.5])
    noise = rng.standard_normal((256, 2))
    known = (DATA["mean"][chosen] + DATA["scale"][chosen] * noise).astype(np.float32)
    options = {"data": DATA, "known": known, "chunk_size": 256, "mesh": mesh}
    return run_plan(jax.random.key(0), density, jnp.zeros(2), 448, plan, **options)


def saved(output, draws):
    np.savez(
        output,
        position=draws.position,
        log_weight=draws.log_weight,
        log_normalizer=draws.log_normalizer,
        num_evals=draws.num_evals,
    )


def main(output, address=None, num_processes=1, rank=0):
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if address is not None:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, int(num_processes), int(rank))
    assert jax.device_count() == 4 and jax.process_count() == int(num_processes)
    saved(output, draws_of(mesh_of(AXES)))
    if address is None:
        for axis in AXES:
            for name in METHODS:
                saved(f"{output}.{axis}.{name}.npz", known_draws_of(name, mesh_of({axis: 4})))


if __name__ == "__main__":
    main(*sys.argv[1:])
