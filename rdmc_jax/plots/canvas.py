"""An empty figure without pyplot: no global state, no display; and colours for everybody."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
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


def plain_log_ticks(axis: "Axis", low: float, high: float) -> None:
    """Ticks of a log axis as plain numbers, few enough not to lie on each other."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    is_short = high < 300 * low
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if is_short else (1.0,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
