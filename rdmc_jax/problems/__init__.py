"""Targets with exact truth: tests, benchmarks and notebooks all use these.

Every factory returns a `Problem` record; equal calls return the identical record.
"""

from .curved import bananas, funnel, rings, rosenbrock, shells
from .exoplanet import exoplanet
from .galaxies import galaxy, mixture_posterior
from .logistic import logistic
from .mixtures import (
    concentric_spike,
    gaussian,
    gaussian_rotated,
    gaussian_scales,
    gmm4,
    gmm8,
    gmm40,
    separation,
    spike_slab,
    two_modes,
    unequal_mixture,
)
from .wells import eggbox, many_well, phi4_chain

__all__ = [
    "bananas",
    "concentric_spike",
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
