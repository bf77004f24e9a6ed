"""Reverse diffusion Monte Carlo in JAX: draws, weights and log Z without training."""

from .estimators import (
    chains,
    importance,
    importance_start,
    independent,
    plain_average,
    warm_start,
    zero_variance,
)
from .finishes import annealed, gaussian_finish, identity
from .grids import log_snr_grid, time_grid
from .kernels import hmc, mala, ula, uld
from .pool import broad_chains, known_points, tempered_smc, union
from .processes import ornstein_uhlenbeck, variance_exploding
from .restart import ensemble_shrunk, no_levels, noised_pool, reweighted
from .sampler import levels, rdmc
from .starts import gaussian, langevin
from .transitions import ancestral, bridge, ddim, exponential, moment_matched

__all__ = [
    "ancestral",
    "annealed",
    "bridge",
    "broad_chains",
    "chains",
    "ddim",
    "ensemble_shrunk",
    "exponential",
    "gaussian",
    "gaussian_finish",
    "hmc",
    "identity",
    "importance",
    "importance_start",
    "independent",
    "known_points",
    "langevin",
    "levels",
    "log_snr_grid",
    "mala",
    "moment_matched",
    "no_levels",
    "noised_pool",
    "ornstein_uhlenbeck",
    "plain_average",
    "rdmc",
    "reweighted",
    "tempered_smc",
    "time_grid",
    "ula",
    "uld",
    "union",
    "variance_exploding",
    "warm_start",
    "zero_variance",
]
