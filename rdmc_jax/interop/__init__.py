"""Bridges to other libraries, each imported only when it is used."""

from . import arviz, numpyro

__all__ = ["arviz", "numpyro"]
