"""Estimators of the moments of denoising posteriors."""

from .adaptive import adaptive
from .chain_starts import importance_start, standardised_unit, warm_start
from .chains import chains
from .control_variate import plain_average, zero_variance
from .importance import importance
from .independent import independent
from .pooled import pooled_importance, pooled_start

__all__ = [
    "adaptive",
    "chains",
    "importance",
    "importance_start",
    "independent",
    "plain_average",
    "pooled_importance",
    "pooled_start",
    "standardised_unit",
    "warm_start",
    "zero_variance",
]
