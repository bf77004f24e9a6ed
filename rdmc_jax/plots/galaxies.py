"""The galaxies: their predictive density, and the weights of the labellings."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from ..draws import Draws
from ..types import Array, ArrayTree
from .canvas import BLUE, GREY, ORANGE, new_figure
from .columns import weighted_quantile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    from ..problems.galaxies import GALAXY_VELOCITIES

    def density(position: ArrayTree, velocity: Array) -> Array:
        log_ratio = jnp.append(position["log_ratio"], jnp.zeros((1,)))
        weight = jax.nn.softmax(log_ratio)[:, None]
        deviation = jnp.exp(0.5 * position["log_variance"])
        deviation = jnp.broadcast_to(deviation, position["mean"].shape)[:, None]
        z = (velocity[None, :] - position["mean"][:, None]) / deviation
        return jnp.sum(weight * jnp.exp(-0.5 * z**2) / (deviation * math.sqrt(2 * math.pi)), axis=0)

    figure, ((left, right),) = new_figure(1, 2, (11, 4.2))
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
