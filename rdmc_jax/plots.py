"""Pictures of weighted draws; matplotlib is imported when one is made."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .border import ravel_ensemble
from .draws import Draws
from .types import Array, ArrayTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#2a6f97", "#d1495b", "#c9ced6"


def _figure(num_columns: int, **options: Any) -> tuple["Figure", Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib: install rdmc_jax[plot] (pip install 'rdmc_jax[plot]')."
        ) from error
    # no pyplot: no global state, no display needed
    figure = Figure(layout="constrained", **options)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, num_columns, squeeze=False)[0]


def weighted_quantile(values: np.ndarray, weights: np.ndarray, levels: list[float]) -> np.ndarray:
    """Quantiles of weighted values, column by column.

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


def predictive(
    axes: "Axes",
    draws: Draws,
    density_fn: Callable[[ArrayTree, Array], Array],
    grid: np.ndarray,
    observations: np.ndarray,
    label: str,
) -> None:
    """Histogram of the observations with the predictive density and its central 90 % band.

    Args:
        axes: where to draw.
        draws: the posterior.
        density_fn: ``density_fn(position, grid) -> density`` of an observation, one position.
        grid: where to evaluate it, shape (num_points,).
        observations: shape (num_observations,).
        label: of the horizontal axis.
    """
    curves = np.asarray(jax.vmap(density_fn, (0, None))(draws.position, jnp.asarray(grid)))
    weights = draws.weights
    low, high = weighted_quantile(curves, weights, [0.05, 0.95])
    axes.hist(
        observations, bins=30, density=True, color=GREY, label=f"{observations.size} observations"
    )
    axes.fill_between(grid, low, high, color=BLUE, alpha=0.25, lw=0, label="90 % band")
    axes.plot(grid, weights @ curves, color=BLUE, lw=2, label="predictive density")
    axes.set(xlabel=label, ylabel="density", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def mode_weights(
    axes: "Axes", estimates: np.ndarray, errors: np.ndarray, truth: np.ndarray, names: list[str]
) -> None:
    """Estimated weight of each mode with two standard errors, against the truth.

    Args:
        axes: where to draw.
        estimates: shape (num_modes,).
        errors: standard errors, same shape.
        truth: same shape.
        names: of the modes.
    """
    places = np.arange(estimates.size)
    axes.bar(places, estimates, width=0.6, color=BLUE, alpha=0.75, label="estimate")
    axes.errorbar(
        places, estimates, 2 * errors, fmt="none", ecolor="black", capsize=4, label="± 2 se"
    )
    axes.hlines(truth, places - 0.42, places + 0.42, color=ORANGE, lw=2, label="exact", zorder=3)
    axes.set(ylabel="posterior weight", ylim=(0, None))
    axes.set_xticks(places, names)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right", ncols=3)


def galaxy_picture(
    draws: Draws, truth: np.ndarray, estimates: np.ndarray, errors: np.ndarray
) -> "Figure":
    """The data with the predictive density, and the weights of the labellings.

    Args:
        draws: posterior of `problems.galaxy`.
        truth: exact weights of the labellings.
        estimates: estimated ones.
        errors: their standard errors.

    Returns:
        A figure; ``figure.savefig(path)`` writes it.
    """
    from .problems.galaxies import GALAXY_VELOCITIES

    def density(position: ArrayTree, velocity: Array) -> Array:
        log_ratio = jnp.append(position["log_ratio"], jnp.zeros((1,)))
        weight = jax.nn.softmax(log_ratio)[:, None]
        deviation = jnp.exp(0.5 * position["log_variance"])
        deviation = jnp.broadcast_to(deviation, position["mean"].shape)[:, None]
        z = (velocity[None, :] - position["mean"][:, None]) / deviation
        return jnp.sum(weight * jnp.exp(-0.5 * z**2) / (deviation * math.sqrt(2 * math.pi)), axis=0)

    figure, (left, right) = _figure(2, figsize=(11, 4.2), dpi=150)
    grid = np.linspace(7.0, 37.0, 400, dtype=np.float32)
    predictive(left, draws, density, grid, GALAXY_VELOCITIES, "velocity (1000 km/s)")
    left.set_title(f"log Z = {draws.log_normalizer:.2f} ± {draws.log_normalizer_error:.2f}")
    names = _orderings(truth.size)
    mode_weights(right, estimates, errors, truth, names)
    right.set(title="labellings of the components", xlabel="components by increasing mean")
    right.set_ylim(0, 1.45 * max(float(np.max(estimates + 2 * errors)), float(np.max(truth))))
    return figure


def _orderings(num_modes: int) -> list[str]:
    """Names of the permutations by rank: '123', '132', …; plain numbers where that is too many."""
    from itertools import permutations

    for size in range(1, 6):
        if math.factorial(size) == num_modes:
            return ["".join(str(k + 1) for k in order) for order in permutations(range(size))]
    return [str(k) for k in range(num_modes)]


def marginals(draws: Draws, *, max_columns: int = 4) -> "Figure":
    """Weighted histograms of the first coordinates.

    Args:
        draws: any draws.
        max_columns: number of coordinates shown at most.

    Returns:
        A figure; ``figure.savefig(path)`` writes it.
    """
    x = np.asarray(ravel_ensemble(draws.position))
    leaves = jax.tree_util.tree_leaves_with_path(draws.position)
    names = []
    for path, leaf in leaves:
        name, size = jax.tree_util.keystr(path), int(np.prod(leaf.shape[1:]))
        names += [name or "x"] if leaf.ndim == 1 else [f"{name or 'x'}[{k}]" for k in range(size)]
    count = min(max_columns, x.shape[1])
    figure, columns = _figure(count, figsize=(3.2 * count, 3.0), dpi=150)
    for k, axes in enumerate(columns):
        low, high = weighted_quantile(x[:, k : k + 1], draws.weights, [0.001, 0.999])[:, 0]
        axes.hist(
            x[:, k], bins=60, range=(low, high), weights=draws.weights, density=True, color=BLUE
        )
        axes.set(xlabel=names[k], yticks=[])
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(f"log Z = {draws.log_normalizer:.3f} ± {draws.log_normalizer_error:.3f}")
    return figure
