"""Markov kernels for one chain, with the calling convention of blackjax."""

from .hamiltonian import hmc, uld
from .langevin import mala, ula

__all__ = ["hmc", "mala", "ula", "uld"]
