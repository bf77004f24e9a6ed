"""Reverse diffusion Monte Carlo in JAX: draws, weights and log Z without training."""

from . import interop, metrics, plots, problems
from .annealing import annealed
from .bijections import Bijection, box, half_line, pulled_back
from .compose import levels, rdmc
from .core import Plan, core
from .diagnostics import Finding, RDMCWarning
from .draws import Draws
from .driver import sample
from .estimators import (
    adaptive,
    chains,
    importance,
    importance_start,
    independent,
    plain_average,
    pooled_importance,
    pooled_start,
    warm_start,
    zero_variance,
)
from .finishes import gaussian_finish, identity
from .foresight import Foresight
from .grids import log_snr_grid, time_grid
from .kernels import hmc, mala, random_walk, ula, uld
from .looking_ahead import plan
from .many import ManyDraws, sample_many
from .planning import make_plan
from .pool import broad_chains, fixed_pool, known_points, union
from .processes import ornstein_uhlenbeck, variance_exploding
from .published import paper
from .restart import ensemble_shrunk, no_levels, noised_pool
from .reweighting import reweighted
from .starts import gaussian, langevin
from .tempering import tempered_smc
from .transitions import ancestral, bridge, ddim, exponential, moment_matched

__all__ = [
    "Bijection",
    "Draws",
    "Finding",
    "Foresight",
    "ManyDraws",
    "Plan",
    "RDMCWarning",
    "adaptive",
    "ancestral",
    "annealed",
    "box",
    "bridge",
    "broad_chains",
    "chains",
    "core",
    "ddim",
    "ensemble_shrunk",
    "exponential",
    "fixed_pool",
    "gaussian",
    "gaussian_finish",
    "half_line",
    "hmc",
    "identity",
    "importance",
    "importance_start",
    "independent",
    "interop",
    "known_points",
    "langevin",
    "levels",
    "log_snr_grid",
    "make_plan",
    "mala",
    "metrics",
    "moment_matched",
    "no_levels",
    "noised_pool",
    "ornstein_uhlenbeck",
    "paper",
    "plain_average",
    "plan",
    "plots",
    "pooled_importance",
    "pooled_start",
    "problems",
    "pulled_back",
    "random_walk",
    "rdmc",
    "reweighted",
    "sample",
    "sample_many",
    "tempered_smc",
    "time_grid",
    "ula",
    "uld",
    "union",
    "variance_exploding",
    "warm_start",
    "zero_variance",
]
