"""Reverse diffusion Monte Carlo in JAX: draws, weights and log Z without training."""

from . import diffusion, interop, metrics, plots, pools, problems, samplers
from .diffusion import (
    ancestral,
    bridge,
    ddim,
    estimators,
    exponential,
    log_snr_grid,
    moment_matched,
    ornstein_uhlenbeck,
    time_grid,
    variance_exploding,
)
from .diffusion.estimators import (
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
from .draws.draws import Draws
from .montecarlo import kernels
from .montecarlo.kernels import hmc, mala, random_walk, ula, uld
from .planning.defaults import make_plan
from .planning.forecast import Foresight
from .pools import broad_chains, fixed_pool, known_points, tempered_smc, union
from .runs.forecast import plan
from .runs.many import ManyDraws, sample_many
from .samplers import (
    annealed,
    ensemble_shrunk,
    gaussian,
    gaussian_finish,
    identity,
    langevin,
    levels,
    no_levels,
    noised_pool,
    rdmc,
    reweighted,
)
from .samplers.core import Plan, core
from .sampling import paper, sample
from .target import bijections
from .target.bijections import Bijection, box, half_line, pulled_back
from .types import Finding, RDMCWarning

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
    "bijections",
    "box",
    "bridge",
    "broad_chains",
    "chains",
    "core",
    "ddim",
    "diffusion",
    "ensemble_shrunk",
    "estimators",
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
    "kernels",
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
    "pools",
    "problems",
    "pulled_back",
    "random_walk",
    "rdmc",
    "reweighted",
    "sample",
    "sample_many",
    "samplers",
    "tempered_smc",
    "time_grid",
    "ula",
    "uld",
    "union",
    "variance_exploding",
    "warm_start",
    "zero_variance",
]
