"""Start, levels and finish: the parts of a method, and the methods that have a name."""

from .finishes import annealed, gaussian_finish, identity
from .noised_pool import ensemble_shrunk, no_levels, noised_pool
from .reweighting import reweighted
from .sampler import levels, rdmc
from .starts import gaussian, langevin

__all__ = [
    "annealed",
    "ensemble_shrunk",
    "gaussian",
    "gaussian_finish",
    "identity",
    "langevin",
    "levels",
    "no_levels",
    "noised_pool",
    "rdmc",
    "reweighted",
]
