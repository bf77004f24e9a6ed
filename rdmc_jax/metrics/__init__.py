"""Distances between weighted clouds of draws, and errors of mode weights.

Every distance of finitely many draws has a floor: print exact against exact draws beside it.
"""

from rdmc_jax.metrics.clouds import random_directions
from rdmc_jax.metrics.discrepancy import mmd_squared
from rdmc_jax.metrics.distribution import (
    kolmogorov_smirnov,
    kolmogorov_smirnov_exact,
    sliced_kolmogorov_smirnov,
)
from rdmc_jax.metrics.modes import mode_weight_error
from rdmc_jax.metrics.transport import sliced_wasserstein, wasserstein

__all__ = [
    "kolmogorov_smirnov",
    "kolmogorov_smirnov_exact",
    "mmd_squared",
    "mode_weight_error",
    "random_directions",
    "sliced_kolmogorov_smirnov",
    "sliced_wasserstein",
    "wasserstein",
]
