"""Pictures of draws; matplotlib (the extra ``plot``) is imported when one is made.

Each function returns a `matplotlib.figure.Figure`, made without pyplot;
``figure.savefig(path)`` writes it.
"""

from .clusters import find_clusters
from .detection import detection_plot
from .figure import column_names, marginals, weighted_quantile
from .levels import level_plot
from .pairs import pair_plot
from .replicates import replicate_plot
from .weights import weight_plot

__all__ = [
    "column_names",
    "detection_plot",
    "find_clusters",
    "level_plot",
    "marginals",
    "pair_plot",
    "replicate_plot",
    "weight_plot",
    "weighted_quantile",
]
