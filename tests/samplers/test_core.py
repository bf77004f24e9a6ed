"""What a replicate knows before its ensembles run, in the coordinates that these run in."""

import jax
import numpy as np

import rdmc_jax as rj
from rdmc_jax.pools.pilot import climbing_pilot
from rdmc_jax.pools.pool import known_points
from rdmc_jax.samplers import candidates, mixture
from rdmc_jax.samplers.core import prepare


def test_gaussians_at_modes_are_in_the_coordinates_of_the_pool():
    problem = rj.problems.gaussian_rotated(4)
    draws = np.asarray(problem.sample(jax.random.key(1), 20_000), float)
    pilot = climbing_pilot(
        num_rounds=2, num_starts=16, num_iterations=40, num_chains=64, num_steps=8
    )
    method = rj.rdmc(mixture(num_particles=64), finish=candidates(), pool=known_points())
    program = jax.jit(
        lambda key: prepare(
            key, problem.logdensity_fn, problem.position, None, None, pilot=pilot, method=method
        )
    )
    found = program(jax.random.key(0))
    location, scale = (np.asarray(one, float) for one in (found.location, found.scale))
    deviation = draws.std(axis=0)
    expected = np.cov((draws / deviation).T)
    for mean, a in zip(*found.pool.laplace, strict=True):
        back = scale @ np.asarray(a, float) / deviation[:, None]
        np.testing.assert_allclose(back @ back.T, expected, atol=0.06)
        center = location + scale @ np.asarray(mean, float)
        assert np.all(np.abs(center - draws.mean(axis=0)) < 0.1 * deviation)
