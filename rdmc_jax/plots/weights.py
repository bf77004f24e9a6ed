"""The tail of the weights, with the Pareto law fitted to it."""

from typing import TYPE_CHECKING

import numpy as np

from ..draws.draws import Draws
from ..montecarlo.weights import Tail, pareto_tail, relative_weights
from .figure import BLUE, GREY, ORANGE, bare, new_figure, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def weight_plot(draws: Draws) -> "Figure":
    """Plot the share of draws with a larger weight over the weight, both on log scales.

    Weights are in units of their mean. The line is the generalised Pareto law fitted to the
    largest ones. Its shape k says how many moments the weights have: the variance is finite below
    0.5, and above 0.7 log Z, the bounds and their errors are unreliable.

    A mode that no particle met is not in the weights, and a perfect picture does not exclude one.

    Args:
        draws: draws with weights of their own.

    Returns:
        A figure with one axes; the ESS and k are in its title.

    Raises:
        ValueError: for draws without weights, resampled draws, or where all weights are zero.
        ImportError: without matplotlib.
    """
    check_weights(draws, "weight_plot")
    w = np.sort(relative_weights(np.asarray(draws.log_weight)))[::-1]
    above = np.arange(1, w.size + 1) / w.size
    tail = pareto_tail(np.asarray(draws.log_weight))
    figure, ((axes,),) = new_figure(1, 1, (5.6, 3.8))
    is_some = w > 0
    axes.loglog(
        w[is_some], above[is_some], ".", ms=4, color=BLUE, label=f"{np.sum(is_some)} weights"
    )
    axes.axvline(1.0, color=GREY, lw=1.0, zorder=0, label="their mean")
    if np.isfinite(tail.k):
        rank = np.geomspace(above[0] / 2, tail.size / w.size, 100)
        line = tail.threshold + excess(tail, rank * w.size / tail.size)
        axes.plot(line, rank, color=ORANGE, lw=1.6, label=f"Pareto fit to the largest {tail.size}")
    low, high = max(0.7 * float(w[is_some][-1]), 1e-4), 2 * float(w[0])
    axes.set_xlim(low, high)
    plain_log_ticks(axes.xaxis, low, high)
    axes.set_ylim(0.4 / w.size, 1.6)
    axes.set(xlabel="weight / mean weight", ylabel="share of draws with a larger weight")
    axes.set_title(f"ESS {draws.ess:.0f} of {draws.num_samples}, {_judged(tail.k)}", fontsize=10)
    axes.legend(frameon=False, loc="lower left", fontsize=8)
    bare(axes)
    return figure


def excess(tail: Tail, share: np.ndarray) -> np.ndarray:
    """Compute the excess over the threshold that a share of the fitted tail exceeds.

    >>> excess(Tail(1.0, 2.0, 3.0, 10), np.array([0.5, 0.25])).tolist()
    [2.0, 6.0]
    """
    if abs(tail.k) < 1e-6:
        return -tail.scale * np.log(share)
    return tail.scale * np.expm1(-tail.k * np.log(share)) / tail.k


def check_weights(draws: Draws, name: str) -> None:
    """Refuse draws that have no weights of their own.

    Raises:
        ValueError: for draws without weights, resampled draws, or where all weights are zero.
    """
    if not draws.weighted:
        raise ValueError(
            f"{name} needs weights, but these draws have none (draws.weighted is False). Take "
            "rdmc_jax.sample() with method=None, or compose a start and transitions with a density."
        )
    if draws.source_ess is not None:
        raise ValueError(
            f"{name} needs the weights of a run, but these {draws.num_samples} draws were "
            "resampled and weigh the same. Pass the draws that resample() was called on."
        )
    if not np.any(np.asarray(draws.log_weight) > -np.inf):
        raise ValueError(
            f"{name} needs weights, but all {draws.num_samples} are zero: no draw found any mass. "
            "See draws.check(); pass known_positions, or raise max_evals."
        )


def _judged(k: float) -> str:
    if np.isnan(k):
        return "too few draws for Pareto k"
    if k == -np.inf:
        return "equal weights, no tail"
    verdict = "good" if k < 0.5 else "heavy tail" if k <= 0.7 else "unreliable"
    return f"Pareto k {k:.2f} ({verdict})"
