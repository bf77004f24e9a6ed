"""What all pictures share: a figure without pyplot, colours, columns of the draws, histograms."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..draws.draws import Draws
from ..target.flat import ravel_ensemble
from ..types import ArrayTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


BLUE, ORANGE, GREY, BLACK = "#2a6f97", "#d1495b", "#c9ced6", "#22262b"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6d31", "#666666")
"""Colours of clusters, by Okabe and Ito: they differ for every kind of colour vision."""


def new_figure(num_rows: int, num_columns: int, size: tuple[float, float]) -> tuple["Figure", Any]:
    """Make a figure and its axes, shape (num_rows, num_columns); sizes in inches.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib: install rdmc_jax[plot] (pip install 'rdmc_jax[plot]')."
        ) from error
    figure = Figure(layout="constrained", figsize=size, dpi=150)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(num_rows, num_columns, squeeze=False)


def bare(axes: "Axes") -> None:
    """Remove the frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)


def plain_log_ticks(axis: "Axis", low: float, high: float) -> None:
    """Set the ticks of a log axis as plain numbers, few enough not to overlap."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    is_short = high < 300 * low
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if is_short else (1.0,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def column_names(position: ArrayTree) -> list[str]:
    """Name the coordinates of an ensemble, in the order of `flat.ravel_ensemble`.

    Args:
        position: PyTree with a leading axis of draws.

    Returns:
        One name for each coordinate.

    >>> column_names({"mu": np.zeros(9), "w": np.zeros((9, 2)), "z": [np.zeros((9, 1, 2))]})
    ['mu', 'w[0]', 'w[1]', 'z.0[0, 0]', 'z.0[0, 1]']
    """
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(position):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "x"
        shape = np.shape(leaf)[1:]
        for index in np.ndindex(shape):
            names.append(f"{name}[{', '.join(map(str, index))}]" if shape else name)
    return names


def weighted_quantile(values: np.ndarray, weights: np.ndarray, levels: list[float]) -> np.ndarray:
    """Compute quantiles of weighted values, column by column.

    Args:
        values: shape (num_samples, num_columns).
        weights: normalised, shape (num_samples,).
        levels: probabilities.

    Returns:
        Shape (num_levels, num_columns).

    >>> weighted_quantile(np.array([[0.0], [5.0]]), np.array([0.9, 0.1]), [0.5]).tolist()
    [[0.0]]
    """
    order = np.argsort(values, axis=0)
    cumulative = np.cumsum(weights[order], axis=0)
    columns = np.arange(values.shape[1])
    rows = [np.argmax(cumulative >= level * cumulative[-1], axis=0) for level in levels]
    return np.stack([values[order[row, columns], columns] for row in rows])


def marginals(draws: Draws, *, max_columns: int = 4) -> "Figure":
    """Plot weighted histograms of the first coordinates.

    Args:
        draws: any draws.
        max_columns: largest number of coordinates shown.

    Returns:
        A figure; ``figure.savefig(path)`` writes it.
    """
    x = np.asarray(ravel_ensemble(draws.position))
    names = column_names(draws.position)
    count = min(max_columns, x.shape[1])
    figure, (columns,) = new_figure(1, count, (3.2 * count, 3.0))
    for k, axes in enumerate(columns):
        low, high = weighted_quantile(x[:, k : k + 1], draws.weights, [0.001, 0.999])[:, 0]
        axes.hist(
            x[:, k], bins=60, range=(low, high), weights=draws.weights, density=True, color=BLUE
        )
        axes.set(xlabel=names[k], yticks=[])
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(f"log Z = {draws.log_normalizer:.3f} ± {draws.log_normalizer_error:.3f}")
    return figure
