"""Find the mass before any draw: pilots that search, and pools of points."""

from .pilot import climbing_pilot, gradient_free_pilot
from .pool import broad_chains, fixed_pool, known_points, union
from .tempering import tempered_smc

__all__ = [
    "broad_chains",
    "climbing_pilot",
    "fixed_pool",
    "gradient_free_pilot",
    "known_points",
    "tempered_smc",
    "union",
]
