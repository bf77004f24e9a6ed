"""Start, levels and finish: the parts of a method, and the methods that have a name."""

from .finishes import annealed_finish, gaussian_finish, identity_finish
from .methods import LargerPool, MixtureSizes, mixture_draws, published, restart
from .mixture import candidates, mixture
from .noised_pool import noised_pool, shrunk_covariance
from .reweighting import reweighted
from .sampler import levels, rdmc
from .starts import gaussian_start, langevin_start

__all__ = [
    "LargerPool",
    "MixtureSizes",
    "annealed_finish",
    "candidates",
    "gaussian_finish",
    "gaussian_start",
    "identity_finish",
    "langevin_start",
    "levels",
    "mixture",
    "mixture_draws",
    "noised_pool",
    "published",
    "rdmc",
    "restart",
    "reweighted",
    "shrunk_covariance",
]
