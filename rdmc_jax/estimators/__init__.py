"""Estimators of the moments of denoising posteriors."""

from .chains import chains, importance_start, warm_start
from .control_variate import plain_average, zero_variance
from .importance import importance
from .independent import independent

__all__ = [
    "chains",
    "importance",
    "importance_start",
    "independent",
    "plain_average",
    "warm_start",
    "zero_variance",
]
