"""Whether replicates agree about log Z and about where the mass is."""

from typing import TYPE_CHECKING

import numpy as np

from ..draws.coverage import NUM_CELLS, cells, part_weights
from ..draws.draws import Draws
from ..montecarlo.weights import log_mean_exp, relative_weights
from ..target.flat import ravel_ensemble
from .clusters import checked_clusters
from .figure import BLACK, BLUE, COLOURS, ORANGE, bare, new_figure
from .weights import check_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def replicate_plot(draws: Draws, *, clusters: np.ndarray | None = None) -> "Figure":
    """Plot log Z and the weights of the clusters, estimated from each replicate alone.

    Left: the log Z of each replicate with two standard errors from its own weights, and the pooled
    value with its 95 % interval (`Draws.log_normalizer_interval`). Right: bars are pooled weights
    of the clusters, points are weights in each replicate with two standard errors. Clusters are
    found by `plots.find_clusters` unless given; if there is only one, the cells that finding R112
    compares are shown.

    Agreement is no proof: replicates also agree if all of them missed the same mode.

    Args:
        draws: draws that are not resampled; without weights only the right part is shown.
        clusters: cluster of each draw, whole numbers, shape (num_samples,).

    Returns:
        A figure with two axes, or one for draws without weights.

    Raises:
        ValueError: for resampled draws, weights that are all zero, or clusters of another shape.
        ImportError: without matplotlib.
    """
    if draws.weighted:
        check_weights(draws, "replicate_plot")
    log_weight, replicate = np.asarray(draws.log_weight), np.asarray(draws.replicate)
    if not draws.weighted:
        log_weight = np.zeros_like(log_weight)  # equal weights
    x = np.asarray(ravel_ensemble(draws.position))
    label = checked_clusters(clusters, x, log_weight)
    name, weight = "cluster", relative_weights(log_weight)
    if clusters is None and label.max() == 0:
        name, label = "cell of one cluster", cells(x, weight / np.sum(weight), NUM_CELLS[1])
    figure, (columns,) = new_figure(1, 1 + draws.weighted, (4.6 * (1 + draws.weighted), 3.6))
    if draws.weighted:
        _log_normalizer(columns[0], draws, log_weight, replicate)
    _parts(columns[-1], log_weight, replicate, label, name)
    return figure


def _log_normalizer(
    axes: "Axes", draws: Draws, log_weight: np.ndarray, replicate: np.ndarray
) -> None:
    labels = np.unique(replicate)
    parts = [log_weight[replicate == one] for one in labels]
    values = np.array([log_mean_exp(part) for part in parts])
    errors = np.array(
        [
            np.std(relative_weights(part), ddof=1) / np.sqrt(part.size) if part.size > 1 else 0.0
            for part in parts
        ]
    )
    places, is_some = np.arange(labels.size), np.isfinite(values)
    low, high = draws.log_normalizer_interval()
    if np.isfinite(high - low):
        axes.axhspan(low, high, color=ORANGE, alpha=0.15, lw=0, label="95 % interval of it")
    axes.axhline(draws.log_normalizer, color=ORANGE, lw=1.6, label="pooled")
    axes.errorbar(
        places[is_some],
        values[is_some],
        2 * errors[is_some],
        fmt="o",
        color=BLUE,
        capsize=3,
        label="replicate ± 2 se",
    )
    for place in places[~is_some]:
        axes.text(place, 0.02, "−∞", transform=axes.get_xaxis_transform(), ha="center")
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top + 0.35 * (top - bottom))  # room for the legend
    axes.set_xlim(-0.5, labels.size - 0.5)
    axes.set_xticks(places, [str(one) for one in labels])
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set(xlabel="replicate", ylabel="log Z")
    axes.set_title(
        f"log Z = {draws.log_normalizer:.3f} ± {draws.log_normalizer_error:.3f}"
        + ("" if labels.size > 1 else " (one replicate: unchecked)"),
        fontsize=10,
    )
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", columnspacing=1.0)
    bare(axes)


def _parts(
    axes: "Axes", log_weight: np.ndarray, replicate: np.ndarray, label: np.ndarray, name: str
) -> None:
    numbers = np.unique(label)
    is_in = label[:, None] == numbers[None, :]
    weight = relative_weights(log_weight)
    shares, errors = part_weights(is_in, log_weight, replicate)
    places = np.arange(numbers.size)
    colours = [COLOURS[k % len(COLOURS)] for k in places]
    axes.bar(places, weight @ is_in / np.sum(weight), 0.8, color=colours, alpha=0.45)
    for place, (own, error) in zip(
        _within_bar(len(shares)), zip(shares, errors, strict=True), strict=True
    ):
        is_some = np.isfinite(own)
        axes.errorbar(
            (places + place)[is_some],
            own[is_some],
            2 * error[is_some],
            fmt="o",
            ms=3.5,
            color=BLACK,
            elinewidth=1.0,
            capsize=2,
        )
    axes.set_xticks(places, [str(k + 1) for k in places])
    axes.set_ylim(0, None)
    axes.set(xlabel=name, ylabel="weight")
    axes.set_title("bars: pooled; points: replicates ± 2 se, in order", fontsize=10)
    bare(axes)


def _within_bar(count: int) -> np.ndarray:
    """Place the replicates side by side around the middle of a bar."""
    return 0.6 * ((np.arange(count) + 0.5) / count - 0.5)
