"""An empty figure without pyplot: no global state, no display; and colours for everybody."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, BLACK = "#2a6f97", "#d1495b", "#c9ced6", "#22262b"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6d31", "#666666")
"""Of clusters: those of Okabe and Ito, told apart with any kind of colour vision."""


def new_figure(num_rows: int, num_columns: int, size: tuple[float, float]) -> tuple["Figure", Any]:
    """A figure and its axes, shape (num_rows, num_columns); sizes in inches.

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
    """Without the frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)
