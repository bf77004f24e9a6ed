"""Which further modes the searches would have seen, over their width."""

from typing import TYPE_CHECKING

import numpy as np

from ..draws.detection import PROBABILITY
from ..draws.draws import Draws
from ..pools.injection import WIDTHS
from .figure import BLACK, COLOURS, GREY, bare, new_figure, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.5, 0.1, 0.01)
"""Shares of the mass, a curve for each."""


def detection_plot(draws: Draws) -> "Figure":
    """Plot the probability that the searches would have seen a further mode, over its width.

    Widths are relative to the typical width of the modes met; see `Draws.detection_probability`.
    The curves speak of modes like those met, placed like the candidates of the search: a needle far
    outside is not among them.

    Args:
        draws: draws of a run whose pilot had candidates.

    Returns:
        A figure with one axes, a curve for each of `SHARES`.

    Raises:
        ValueError: for draws without a detection limit.
        ImportError: without matplotlib.
    """
    if np.isnan(draws.detection_limit):
        raise ValueError(
            "detection_plot needs a detection limit, but these draws have none: only searches with "
            "gradients have candidates. Take rdmc_jax.sample() of a density in JAX, without method."
        )
    figure, ((axes,),) = new_figure(1, 1, (5.6, 3.8))
    width = np.geomspace(WIDTHS[-1], WIDTHS[0], 200)
    for share, colour in zip(SHARES, COLOURS, strict=False):
        seen = [draws.detection_probability(share, float(one)) for one in width]
        axes.plot(width, seen, color=colour, lw=1.6, label=f"{share:g} of the mass")
    axes.axhline(PROBABILITY, color=GREY, lw=1.0, zorder=0)
    limit = draws.detection_limit
    if np.isfinite(limit):
        axes.plot(limit, PROBABILITY, "o", ms=5, color=BLACK, label="detection limit")
    axes.set_xscale("log")
    plain_log_ticks(axes.xaxis, float(width[0]), float(width[-1]))
    axes.set_ylim(-0.03, 1.03)
    axes.set(xlabel="width / typical width of the modes met", ylabel="probability of being seen")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    bare(axes)
    return figure
