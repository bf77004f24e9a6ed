"""Targets with exact truth: tests, benchmarks and notebooks all use these.

Every factory returns a `Problem` record; equal calls return the identical record.
"""

from rdmc_jax.problems.funnels import funnel
from rdmc_jax.problems.galaxies import galaxy
from rdmc_jax.problems.gaussians import gaussian, gaussian_rotated, gaussian_scales
from rdmc_jax.problems.mixtures import gmm4, gmm8, gmm40, two_modes, unequal_mixture
from rdmc_jax.problems.overlapping import separation, spike_slab

__all__ = [
    "funnel",
    "galaxy",
    "gaussian",
    "gaussian_rotated",
    "gaussian_scales",
    "gmm4",
    "gmm8",
    "gmm40",
    "separation",
    "spike_slab",
    "two_modes",
    "unequal_mixture",
]
