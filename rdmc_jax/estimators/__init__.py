"""Estimators of the moments of denoising posteriors."""

from .chain_starts import importance_start, standardised_unit, warm_start
from .chains import chains
from .control_variate import plain_average, zero_variance
from .importance import importance
from .independent import independent

__all__ = [
    "chains",
    "importance",
    "importance_start",
    "independent",
    "plain_average",
    "standardised_unit",
    "warm_start",
    "zero_variance",
]
