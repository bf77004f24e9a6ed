"""``python -m rdmc_jax PROBLEM``: sample a shipped problem or a density of one's own."""

import argparse
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import plots, problems
from .draws import Draws
from .driver import sample
from .problems.record import Problem


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
    parser.add_argument("--max-evals", type=float, help="evaluations per draw, at most")
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
            lines.append(f"mode weights {text}   estimate ± se (exact)")
        error = 0.5 * np.sum(np.abs(estimates - problem.mode_weights))
        lines.append(f"mode error   {error:.3f} total variation of {estimates.size} modes")
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
        figure = plots.galaxy_picture(draws, problem.mode_weights, estimates, errors)
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
