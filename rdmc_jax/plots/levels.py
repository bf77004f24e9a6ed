"""Inner estimates and chains, level by level."""

from typing import TYPE_CHECKING

import numpy as np

from ..draws.draws import Draws
from .figure import BLUE, ORANGE, bare, new_figure, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


COLLAPSED = 2.0
"""Effective inner samples below which finding R106 is reported."""


def level_plot(draws: Draws) -> "Figure":
    """Plot the effective number of inner samples and the acceptance rate of each step.

    Steps are the levels, from noise to data, and last the finish. Values are means over the
    ensembles. The upper axes show the median over the particles and a band down to their 5 %
    quantile. If the median is below 2, score estimates are mostly noise (finding R106). The lower
    axes show the mean acceptance rate of the inner chains, and of the finish. The default method
    has no levels, so its only step is the finish.

    It says nothing about the weights of the draws: see `weight_plot`.

    Args:
        draws: any draws, with weights or without.

    Returns:
        A figure with two axes over the steps; a text says what a method does not have.

    Raises:
        ImportError: without matplotlib.
    """
    info = draws.info
    ess, low = np.atleast_1d(info.ess_median), np.atleast_1d(info.ess_low)
    rate, log_snr = np.atleast_1d(info.acceptance_rate), np.atleast_1d(info.log_snr)
    steps = np.arange(1, ess.size + 1)
    figure, ((upper,), (lower,)) = new_figure(2, 1, (6.4, 4.6))
    marker = "o" if ess.size <= 40 else ""
    if np.any(np.isfinite(ess)):
        reach = np.stack([np.maximum(ess - low, 0), np.zeros_like(ess)])
        upper.errorbar(
            steps, ess, reach, fmt="none", ecolor=BLUE, alpha=0.4, label="down to 5 % quantile"
        )
        upper.plot(steps, ess, color=BLUE, marker=marker, ms=4, label="median of the particles")
        upper.axhline(COLLAPSED, color=ORANGE, ls="--", lw=1.2, label="collapsed below (R106)")
        upper.set_yscale("log")
        bottom, top = min(1.0, 0.8 * float(np.nanmin(low))), 1.5 * float(np.nanmax(ess))
        upper.set_ylim(bottom, top)
        plain_log_ticks(upper.yaxis, bottom, top)
        upper.legend(
            frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0)
        )
    else:
        _absent(upper, "this method has no inner samples: it estimates no scores")
    if np.any(np.isfinite(rate)):
        lower.plot(steps, rate, color=BLUE, marker=marker, ms=4)
        lower.set_ylim(0, 1.05)
    else:
        _absent(lower, "this method has no accept or reject step")
    upper.set(ylabel="inner ESS")
    lower.set(ylabel="acceptance rate", xlabel="step (log-SNR)")
    shown = np.unique(np.linspace(0, ess.size - 1, min(ess.size, 9)).round().astype(int))
    texts = [_level(k, ess.size, float(log_snr[k])) for k in shown]
    for axes in (upper, lower):
        axes.set_xlim(0.5, ess.size + 0.5)
        axes.set_xticks(steps[shown], texts if axes is lower else [""] * len(texts), fontsize=8)
        bare(axes)
    figure.suptitle(f"{ess.size} step{'s' if ess.size > 1 else ''}, noise to data", fontsize=10)
    return figure


def _level(step: int, num_steps: int, log_snr: float) -> str:
    value = f"({round(log_snr, 1) + 0.0:.1f})" if np.isfinite(log_snr) else "(no noise)"
    return f"finish\n{value}" if step == num_steps - 1 else f"{step + 1}\n{value}"


def _absent(axes: "Axes", text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=9)
    axes.set_yticks([])
