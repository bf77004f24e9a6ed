"""Estimators of the moments of denoising posteriors."""

from .batches import adaptive, independent
from .chain_starts import importance_start, pooled_start, warm_start
from .chains import chains, plain_average, zero_variance
from .importance import importance, pooled_importance

__all__ = [
    "adaptive",
    "chains",
    "importance",
    "importance_start",
    "independent",
    "plain_average",
    "pooled_importance",
    "pooled_start",
    "warm_start",
    "zero_variance",
]
