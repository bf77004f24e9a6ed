"""Noise, its denoising posterior, and steps from one level to the next, cleaner one.

Estimators of the posterior's moments are in `rdmc_jax.estimators`.
"""

from .grids import log_snr_grid, time_grid
from .processes import ornstein_uhlenbeck, variance_exploding
from .transitions import ancestral, bridge, ddim, exponential, moment_matched

__all__ = [
    "ancestral",
    "bridge",
    "ddim",
    "exponential",
    "log_snr_grid",
    "moment_matched",
    "ornstein_uhlenbeck",
    "time_grid",
    "variance_exploding",
]
