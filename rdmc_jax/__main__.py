"""The command line: sample a density, print a summary, write draws and a picture."""

import argparse
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from . import plots, problems
from .draws.draws import Draws
from .plots.figure import BLUE, GREY, ORANGE, new_figure, weighted_quantile
from .problems.problem import Problem
from .sampling import sample
from .types import Array, ArrayTree

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
    """Plot a histogram of observations with the predictive density and its central 90 % band.

    Args:
        axes: where to draw.
        draws: the posterior.
        density_fn: ``density_fn(position, grid) -> density`` of an observation, one position.
        grid: where to evaluate it, shape (num_points,).
        observations: shape (num_observations,).
        label: text of the horizontal axis.
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
    """Plot the estimated weight of each mode with two standard errors, and the truth.

    Args:
        axes: where to draw.
        estimates: shape (num_modes,).
        errors: standard errors, same shape.
        truth: same shape.
        names: names of the modes.
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
    """Plot the data with the predictive density, and the weights of the labellings.

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
    """Name the permutations by rank: '123', '132', …; by plain numbers if there are too many."""
    from itertools import permutations

    for size in range(1, 6):
        if math.factorial(size) == num_modes:
            return ["".join(str(k + 1) for k in order) for order in permutations(range(size))]
    return [str(k) for k in range(num_modes)]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rdmc_jax",
        description="Sample a density, print a summary, write draws (npz) and a picture (png).",
    )
    parser.add_argument(
        "target",
        help=f"a shipped problem ({', '.join(problems.__all__)}) or path/to/file.py:logdensity_fn",
    )
    parser.add_argument("--dim", type=int, help="dimension of the position (own density: needed)")
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--num-replicates", type=int)
    parser.add_argument("--max-evals", type=float, help="evaluations of the run, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(), help="folder for npz and png")
    return parser.parse_args(arguments)


def _own_density(target: str, dim: int | None) -> Problem:
    path, _, name = target.rpartition(":")
    if not path.endswith(".py") or not name:
        raise SystemExit(
            f"unknown target {target!r}: give one of {', '.join(problems.__all__)}, or "
            "path/to/file.py:logdensity_fn."
        )
    if dim is None or dim < 1:
        raise SystemExit(f"a density of your own needs its dimension: add --dim (got {dim}).")
    if not Path(path).is_file():
        raise SystemExit(f"no such file: {path}")
    spec = importlib.util.spec_from_file_location("user_density", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        names = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise SystemExit(f"{path} has no function {name!r}; it has {names}.")
    zeros = jnp.zeros(dim)
    return Problem(name, getattr(module, name), zeros, None, None, None, None, path)


def _problem(target: str, dim: int | None) -> Problem:
    if target not in problems.__all__:
        return _own_density(target, dim)
    factory = getattr(problems, target)
    if dim is None:
        return factory()
    if "dim" not in inspect.signature(factory).parameters:
        raise SystemExit(f"problem {target} has no dimension to choose: leave out --dim.")
    return factory(dim=dim)


def _mode_estimates(draws: Draws, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    assert problem.mode_fn is not None and problem.mode_weights is not None
    count, mode_fn = problem.mode_weights.size, problem.mode_fn
    return draws.expectation(lambda position: jax.nn.one_hot(mode_fn(position), count))


def _truth_lines(draws: Draws, problem: Problem) -> list[str]:
    lines = []
    if problem.log_normalizer is not None:
        gap = draws.log_normalizer - problem.log_normalizer
        published = "; Neal (1999): -226.84" if problem is problems.galaxy() else ""
        lines.append(f"true log Z   {problem.log_normalizer:.3f} (off by {gap:+.3f}{published})")
    if problem.mode_fn is not None and problem.mode_weights is not None:
        estimates, errors = _mode_estimates(draws, problem)
        if estimates.size <= 12:
            rows = zip(estimates, errors, problem.mode_weights, strict=True)
            text = ", ".join(f"{e:.3f}±{s:.3f} ({t:.3f})" for e, s, t in rows)
            lines.append(f"mode weights {text}   estimate ± standard error (exact)")
        error = 0.5 * np.sum(np.abs(estimates - problem.mode_weights))
        lines.append(
            f"mode error   {error:.3f} total variation from the exact weights of "
            f"{estimates.size} modes"
        )
    return lines


def _write(draws: Draws, problem: Problem, stem: Path) -> list[Path]:
    leaves = jax.tree_util.tree_leaves_with_path(draws.position)
    arrays: dict[str, Any] = {
        f"position{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves
    }
    archive, picture = stem.with_suffix(".npz"), stem.with_suffix(".png")
    np.savez(
        archive,
        log_weight=np.asarray(draws.log_weight),
        replicate=np.asarray(draws.replicate),
        log_normalizer=draws.log_normalizer,
        log_normalizer_error=draws.log_normalizer_error,
        **arrays,
    )
    if problem.name.startswith("galaxy") and problem.mode_weights is not None:
        estimates, errors = _mode_estimates(draws, problem)
        figure = galaxy_picture(draws, problem.mode_weights, estimates, errors)
    else:
        figure = plots.marginals(draws)
    figure.savefig(picture)
    return [archive, picture]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parse(arguments)
    problem = _problem(options.target, options.dim)
    print(f"sampling {problem.name} (compiling first) ...", flush=True)
    draws = sample(
        jax.random.key(options.seed),
        problem.logdensity_fn,
        problem.position,
        options.num_samples,
        num_replicates=options.num_replicates,
        max_evals=options.max_evals,
    )
    print(draws.summary())
    for line in _truth_lines(draws, problem):
        print(line)
    options.output.mkdir(parents=True, exist_ok=True)
    name = options.target if options.target in problems.__all__ else problem.name
    for path in _write(draws, problem, options.output / f"{name}_draws"):
        print(f"wrote        {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
