"""The drift test: do chains that leave the target invariant move the draws away?

Weighted draws of the target, resampled and moved by a kernel that leaves it invariant, are draws of
it again. Where a part next to the draws is missing (the mouth of a funnel), chains walk into it.
Then points that have moved fill a tail that points before them never reached: of the `NUM_EXTREME`
most extreme values of a coordinate, of its distance from the middle or of the log density, all
belong to moved points. Without drift each is one of them with probability one half.

Far modes are not seen: no chain reaches them.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..montecarlo.resampling import comb
from ..target.flat import bind, ravel_ensemble
from ..target.programs import compiled
from ..types import Array, ArrayTree, Finding, LogDensityFn, PRNGKey

NUM_MOVED, NUM_STEPS = 2000, 32
"""Draws that are moved, and steps of each."""
NUM_EXTREME = 16
"""Extreme values of each function that are looked at. By chance all belong to moved points in one
of 65,536 cases, for each function and side: in 100 dimensions in .6 % of all tests."""
OCTAVES = (-8.0, 0.0)
"""Range of the length of a step over the difference of two draws, in powers of two."""


class Density:
    """The density of a run, for checks that evaluate it anew.

    All are equal and hash alike, so that draws of densities that are written anew have one type.
    They are not pickled: a function need not be.
    """

    def __init__(self, logdensity_fn: LogDensityFn | None = None, data: Any = None) -> None:
        self.logdensity_fn, self.data = logdensity_fn, data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Density)

    def __hash__(self) -> int:
        return hash(Density)

    def __reduce__(self) -> Any:
        return Density, ()


@functools.partial(compiled, static=("num_steps",))
def _moved(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    x: Array,
    *,
    num_steps: int,
) -> tuple[Array, Array, Array]:
    """Move points by differences of pairs of points, of random length; a Metropolis kernel.

    Returns:
        Moved points, and the log density before and after.
    """
    density = jax.vmap(bind(logdensity_fn, position, data).logdensity_fn)
    first, num = x, x.shape[0]

    def step(state: tuple[Array, Array], key: PRNGKey) -> tuple[tuple[Array, Array], None]:
        y, value = state
        pair_key, octave_key, accept_key = jax.random.split(key, 3)
        one, other = jax.random.randint(pair_key, (2, num), 0, num)
        octave = jax.random.uniform(octave_key, (num, 1), x.dtype, *OCTAVES)
        tried = y + 2.0**octave * (first[one] - first[other])
        tried_value = density(tried)
        is_taken = jnp.log(jax.random.uniform(accept_key, (num,), x.dtype)) < tried_value - value
        y = jnp.where(is_taken[:, None], tried, y)
        return (y, jnp.where(is_taken, tried_value, value)), None

    before = density(x)
    (y, after), _ = jax.lax.scan(step, (x, before), jax.random.split(rng_key, num_steps))
    return y, before, after


def num_moved_among_extremes(
    before: np.ndarray, after: np.ndarray, num: int = NUM_EXTREME
) -> np.ndarray:
    """Count the moved points among the largest and among the smallest values of each function.

    Args:
        before: values at the points, shape (num_points, num_functions).
        after: values at the moved points.
        num: extreme values that are looked at.

    Returns:
        Shape (2, num_functions): of the largest, of the smallest.

    >>> num_moved_among_extremes(np.arange(9.0)[:, None], np.arange(9.0)[:, None] + 0.5, 3).tolist()
    [[2], [1]]
    """
    both = np.concatenate([before, after])
    found = []
    for sign in (-1, 1):
        extreme = np.argsort(sign * both, axis=0, kind="stable")[:num]
        found.append(np.sum(extreme >= len(before), axis=0))
    return np.stack(found)


def drift(
    rng_key: PRNGKey,
    density: Density,
    position: ArrayTree,
    log_weight: Array,
    *,
    num_steps: int = NUM_STEPS,
) -> list[Finding]:
    """Move resampled draws and say whether they leave for where none were.

    Args:
        rng_key: key.
        density: of the run.
        position: weighted draws, leading axis num_samples.
        log_weight: their weights.
        num_steps: steps of each chain; each costs an evaluation of every draw.

    Returns:
        Finding R118, or an empty list. With few effective draws fewer are moved, as copies of one
        draw move together.

    Raises:
        ValueError: without a density.
    """
    if density.logdensity_fn is None:
        raise ValueError(
            "the drift test evaluates the density, which these draws do not have (they were loaded "
            "or made by hand). Call check() without thorough=True, or sample() again."
        )
    weight = np.asarray(jax.nn.softmax(jnp.asarray(log_weight)), np.float64)
    num = int(min(NUM_MOVED, 2 / np.max(weight))) if np.max(weight) > 0 else 0
    if num < 2 * NUM_EXTREME:
        return []  # R103 says that there are too few effective draws
    choose_key, move_key = jax.random.split(rng_key)
    chosen = comb(weight, num, float(jax.random.uniform(choose_key)))
    x = np.asarray(ravel_ensemble(position))[chosen]
    # always as many, so that nothing is compiled again: repeats are moved and not counted
    repeated = x[np.arange(NUM_MOVED) % num]
    example = jax.tree.map(lambda leaf: np.asarray(leaf)[0], position)
    moved = _moved(
        move_key, density.logdensity_fn, example, density.data, repeated, num_steps=num_steps
    )
    y, before, after = (leaf[:num] for leaf in jax.device_get(moved))
    middle = np.mean(x, axis=0)

    def values(value: np.ndarray, point: np.ndarray) -> np.ndarray:
        return np.concatenate([value[:, None], point, np.abs(point - middle)], axis=1)

    counts = num_moved_among_extremes(values(before, x), values(after, y))
    if np.max(counts) < NUM_EXTREME:
        return []
    side, number = np.unravel_index(np.argmax(counts), counts.shape)
    dim = x.shape[1]
    name = "the log density"
    if number > 0:
        name = f"coordinate {(number - 1) % dim + 1}"
        name = name if number <= dim else f"the distance of {name} from its mean"
    text = (
        f"chains that leave the target invariant move the draws to where there were none: the "
        f"{NUM_EXTREME} {'smallest' if side else 'largest'} values of {name} all belong to moved "
        f"draws ({num} draws, {num_steps} steps of each). Mass next to the draws is missing, and "
        "log Z is too low. Ask for a smaller tolerance or more draws, or reparameterise a funnel."
    )
    return [Finding("R118", text)]
