"""Estimators of the moments of denoising posteriors."""

from .batches import adaptive, independent
from .chain_starts import from_all_particles, from_importance, from_last_level
from .chains import chains, plain_average, zero_variance
from .importance import importance, pooled_importance

__all__ = [
    "adaptive",
    "chains",
    "from_all_particles",
    "from_importance",
    "from_last_level",
    "importance",
    "independent",
    "plain_average",
    "pooled_importance",
    "zero_variance",
]
