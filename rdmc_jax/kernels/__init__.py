"""Markov kernels for one chain, with the calling convention of blackjax."""

from .hamiltonian import hmc, uld
from .langevin import mala, ula
from .random_walk import random_walk

__all__ = ["hmc", "mala", "random_walk", "ula", "uld"]
