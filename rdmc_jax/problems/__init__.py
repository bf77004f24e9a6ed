"""Targets with exact truth: tests, benchmarks and notebooks all use these.

Every factory returns a `Problem` record; equal calls return the identical record.
"""

from rdmc_jax.problems.curved import bananas, rosenbrock
from rdmc_jax.problems.exoplanets import exoplanet
from rdmc_jax.problems.funnels import funnel
from rdmc_jax.problems.galaxies import galaxy
from rdmc_jax.problems.gaussians import gaussian, gaussian_rotated, gaussian_scales
from rdmc_jax.problems.label_switching import mixture_posterior
from rdmc_jax.problems.lattice import phi4_chain
from rdmc_jax.problems.mixtures import gmm4, gmm8, gmm40, two_modes, unequal_mixture
from rdmc_jax.problems.overlapping import separation, spike_slab
from rdmc_jax.problems.radial import rings, shells
from rdmc_jax.problems.regression import logistic
from rdmc_jax.problems.wells import eggbox, many_well

__all__ = [
    "bananas",
    "eggbox",
    "exoplanet",
    "funnel",
    "galaxy",
    "gaussian",
    "gaussian_rotated",
    "gaussian_scales",
    "gmm4",
    "gmm8",
    "gmm40",
    "logistic",
    "many_well",
    "mixture_posterior",
    "phi4_chain",
    "rings",
    "rosenbrock",
    "separation",
    "shells",
    "spike_slab",
    "two_modes",
    "unequal_mixture",
]
