"""Scatter plots of pairs of coordinates, marginals on the diagonal, clusters in colour."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..draws.draws import Draws
from ..target.flat import ravel_ensemble
from ..types import ArrayTree
from .clusters import checked_clusters
from .figure import BLACK, COLOURS, bare, column_names, new_figure, weighted_quantile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


AREA = 5.0
"""Area of a point of mean weight, in points squared."""
MAX_AREA = 60.0
MAX_POINTS = 4000
"""Draws that are shown."""
SHOWN = (0.0005, 0.9995)
"""Quantiles between which the axes run."""
MASSES = (0.9, 0.5)
"""Shares of the truth inside its contours."""
NUM_CELLS = 48
"""Cells of the histogram of the truth, in each direction."""


def pair_plot(
    draws: Draws,
    *,
    truth: ArrayTree | None = None,
    max_columns: int = 4,
    clusters: np.ndarray | None = None,
) -> "Figure":
    """Plot pairs of coordinates against each other, with weighted marginals on the diagonal.

    The area of a point is proportional to its weight. Colours are clusters, found from the draws
    (`plots.find_clusters`) unless given. Points of zero weight are invisible.

    Not for many dimensions: only the first ones are shown; pass draws with the leaves of interest.
    Not for judging accuracy: a mode that the run missed is missing here too, unless ``truth`` has
    it.

    Args:
        draws: any draws; resampled ones have equal points.
        truth: exact draws, a PyTree like ``draws.position``, with a leading axis of its own; some
            thousands make smooth contours. The lines enclose 50 % and 90 % of them.
        max_columns: largest number of coordinates shown.
        clusters: cluster of each draw, whole numbers, shape (num_samples,).

    Returns:
        A figure with one row and one column of axes for each coordinate; those above the diagonal
        are hidden.

    Raises:
        ValueError: for a truth of another structure, clusters of another shape, max_columns < 1.
        ImportError: without matplotlib.
    """
    if max_columns < 1:
        raise ValueError(f"max_columns must be at least 1, but got {max_columns}. Try 4.")
    x = np.asarray(ravel_ensemble(draws.position))
    label = checked_clusters(clusters, x, np.asarray(draws.log_weight))
    exact = None if truth is None else _checked_truth(draws, truth)
    names, weight = column_names(draws.position), draws.weights
    count = min(max_columns, x.shape[1])
    side = 2.0 * count + 0.6
    figure, grid = new_figure(count, count, (max(side, 4.6), max(side, 3.6)))
    ranges = [_shown(x[:, k], weight, None if exact is None else exact[:, k]) for k in range(count)]
    for row in range(count):
        for column in range(count):
            axes = grid[row, column]
            if column > row:
                axes.set_visible(False)
                continue
            own = None if exact is None else exact[:, [column, row]]
            if column == row:
                _marginal(axes, x[:, row], weight, label, own, ranges[row])
            else:
                _scatter(axes, x[:, [column, row]], weight, label)
                axes.set_ylim(ranges[row])
                if own is not None:
                    _contours(axes, own, ranges[column], ranges[row])
            _labels(axes, row, column, count, names)
            axes.set_xlim(ranges[column])
    _legend(figure, weight, label, exact is not None, count)
    hidden = x.shape[1] - count
    figure.suptitle(
        f"{draws.num_samples} draws, area of a point ∝ weight"
        + (f" ({hidden} more coordinates)" if hidden else ""),
        fontsize=10,
    )
    return figure


def _checked_truth(draws: Draws, truth: ArrayTree) -> np.ndarray:
    want, got = (jax.tree_util.tree_leaves_with_path(one) for one in (draws.position, truth))
    shapes = [
        {jax.tree_util.keystr(path) or "x": np.shape(leaf)[1:] for path, leaf in one}
        for one in (want, got)
    ]
    counts = {np.shape(leaf)[0] if np.ndim(leaf) else 0 for _, leaf in got}
    if shapes[0] != shapes[1] or len(counts) != 1 or 0 in counts:
        came = {jax.tree_util.keystr(path) or "x": np.shape(leaf) for path, leaf in got}
        raise ValueError(
            f"truth must be draws like draws.position, leaves {shapes[0]} behind one leading axis, "
            f"but has leaves {came}. Pass exact draws: problem.sample(rng_key, 4000), say."
        )
    return np.asarray(ravel_ensemble(truth))


def _shown(values: np.ndarray, weight: np.ndarray, exact: np.ndarray | None) -> tuple[float, float]:
    low, high = weighted_quantile(values[:, None], weight, list(SHOWN))[:, 0]
    if exact is not None:
        other = np.quantile(exact, SHOWN)
        low, high = min(low, other[0]), max(high, other[1])
    margin = 0.06 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _marginal(
    axes: "Axes",
    values: np.ndarray,
    weight: np.ndarray,
    label: np.ndarray,
    exact: np.ndarray | None,
    between: tuple[float, float],
) -> None:
    numbers = range(int(label.max()) + 1)
    options: dict[str, Any] = {"bins": 50, "range": between, "density": True}
    axes.hist(
        [values[label == k] for k in numbers],
        weights=[weight[label == k] for k in numbers],
        color=[COLOURS[k % len(COLOURS)] for k in numbers],
        histtype="stepfilled",
        stacked=True,
        alpha=0.75,
        **options,
    )
    if exact is not None:
        axes.hist(exact[:, 1], histtype="step", color=BLACK, lw=1.0, **options)
    axes.set_ylim(0, None)


def _scatter(axes: "Axes", pair: np.ndarray, weight: np.ndarray, label: np.ndarray) -> None:
    kept = np.arange(0, weight.size, -(-weight.size // MAX_POINTS))  # from all replicates alike
    axes.scatter(
        pair[kept, 0],
        pair[kept, 1],
        s=np.minimum(AREA * weight.size * weight[kept], MAX_AREA),
        c=[COLOURS[k % len(COLOURS)] for k in label[kept]],
        alpha=0.45,
        linewidths=0,
        rasterized=True,
    )


def _contours(
    axes: "Axes", pair: np.ndarray, across: tuple[float, float], up: tuple[float, float]
) -> None:
    """Draw lines around the cells of highest density that contain given shares of the truth."""
    x, y = pair.T
    counts, x_edges, y_edges = np.histogram2d(x, y, bins=NUM_CELLS, range=(across, up))
    density = counts
    for axis in (0, 1, 0, 1, 0, 1):
        density = np.apply_along_axis(np.convolve, axis, density, [0.25, 0.5, 0.25], "same")
    order = np.argsort(-density, axis=None)
    # shares are of the raw counts: smoothing moves mass outwards, and lines would enclose too much
    cumulative = np.cumsum(counts.ravel()[order]) / np.sum(counts)
    highest = density.ravel()[order]
    levels = sorted({float(highest[np.searchsorted(cumulative, mass)]) for mass in MASSES})
    middles = [(one[1:] + one[:-1]) / 2 for one in (x_edges, y_edges)]
    axes.contour(*middles, density.T, levels=levels, colors=BLACK, linewidths=0.8)


def _labels(axes: "Axes", row: int, column: int, count: int, names: list[str]) -> None:
    bare(axes)
    axes.tick_params(labelsize=8, labelbottom=row == count - 1)
    axes.locator_params(nbins=4)
    if row == count - 1:
        axes.set_xlabel(names[column])
    if row == column:
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    elif column == 0:
        axes.set_ylabel(names[row])
    else:
        axes.tick_params(labelleft=False)


def _legend(
    figure: "Figure", weight: np.ndarray, label: np.ndarray, has_truth: bool, count: int
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker="o",
            color=COLOURS[k % len(COLOURS)],
            label=f"cluster {k + 1}: {np.sum(weight[label == k]):.3f}",
        )
        for k in range(min(int(label.max()) + 1, 12))
    ]
    if has_truth:
        handles.append(Line2D([], [], color=BLACK, lw=1.0, label="exact: 50 and 90 %"))
    options: dict[str, Any] = {"loc": "outside lower center", "ncols": 3}
    if count > 1:  # in the empty triangle
        options = {"loc": "upper right", "bbox_to_anchor": (1.0, 1.0 - 0.12 / (count / 4 + 0.5))}
    figure.legend(handles=handles, frameon=False, fontsize=8, **options)
