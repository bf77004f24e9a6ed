"""Climb towards modes by L-BFGS, and find new places to climb from.

A point is judged by the mass of the Gaussian that its height and curvature describe. By its height
alone, a spike of no mass would win. A point does not count more because many climbs reached it.

A narrow mode in many dimensions is dominated by wider ones nearly everywhere, so few random
points climb to it. But where it does dominate, the density is higher than the Gaussians of the
modes met so far explain, and one evaluation there shows this.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..diffusion.kde import squared_distance
from ..types import Array, LogDensityFn, PRNGKey
from .curvature import Curvature, curvature, deviations, factor, half_log_det, squared_length
from .pool import deviation_of
from .symmetry import images

NUM_SHRINKS = 8
"""Lengths of an offset that are tried, each a quarter of the one before."""
MASS_RANGE = 16.0
"""Range of log masses: modes below ``e^-16`` of the largest mass are dropped."""
MEMORY = 10
"""Steps that the quasi-Newton matrix of a climb remembers."""
SUFFICIENT = 1e-4
"""Share of the gain that the slope promises from which a step is taken (Armijo)."""
FIRST, GROWTH, SHRINKAGE = 0.5, 8.0, 0.25
"""Longest first step, over the root of the dimension; longest step over the last one that was
taken, or that was refused."""


class LocalGaussian(NamedTuple):
    """Height and curvature at a point."""

    x: Array
    value: Array
    slope: Array
    curvature: Curvature
    deviation: Array  # √diag |H|^{-1}
    log_mass: Array  # value - ½ log det |H|


def local_gaussian(
    logdensity_fn: LogDensityFn, x: Array, value: Array, slope: Array, rng_key: PRNGKey
) -> LocalGaussian:
    """Curvature and Gaussian widths at one point whose value and gradient are known."""
    at = curvature(logdensity_fn, x, slope, rng_key)
    return LocalGaussian(x, value, slope, at, deviations(at), value - half_log_det(at))


class _Climb(NamedTuple):
    z: Array
    value: Array
    slope: Array
    memory: Any
    uphill: Array  # quasi-Newton direction
    step: Array  # that is tried next
    radius: Array  # longest step


def lbfgs_ascent(
    logdensity_fn: LogDensityFn, x: Array, unit: Array, num_iterations: int
) -> tuple[Array, Array, Array, Array]:
    """Climb from one point towards a maximum by L-BFGS within a radius.

    Each iteration evaluates value and gradient once, at ``z + step``. A step that does not gain
    enough is tried again at a quarter of its length. Where the density is not concave along a
    step, the memory is emptied and the next step follows the slope as far as the radius allows.

    Args:
        logdensity_fn: guarded density; steps to where it is -inf are refused.
        x: start, shape (dim,).
        unit: length scale of each coordinate, shape (dim,).
        num_iterations: evaluations, of which the first is at the start.

    Returns:
        The highest point, its value and its gradient, and the number of evaluations without
        density.

    Reference: Nocedal and Wright (2006), Numerical Optimization, Algorithms 7.4 and 3.1.
    """
    quasi_newton = optax.scale_by_lbfgs(MEMORY)
    rise = jax.value_and_grad(lambda z: logdensity_fn(unit * z))
    empty = quasi_newton.init(x)

    def body(at: _Climb, _: None) -> tuple[_Climb, Array]:
        z = at.z + at.step
        value, slope = rise(z)
        is_up = value - at.value >= jnp.maximum(0.0, SUFFICIENT * jnp.vdot(at.step, at.slope))
        is_concave = jnp.vdot(at.step, at.slope - slope) > 0
        memory = jax.tree.map(lambda m, e: jnp.where(is_concave, m, e), at.memory, empty)
        downhill, memory = quasi_newton.update(-slope, memory, z)
        moved = jnp.linalg.norm(at.step)
        radius = jnp.where(is_up, jnp.maximum(at.radius, GROWTH * moved), SHRINKAGE * moved)
        new = _Climb(z, value, slope, memory, -downhill, at.step, radius)
        new = jax.tree.map(lambda a, b: jnp.where(is_up, a, b), new, at)
        length = jnp.linalg.norm(new.uphill)
        wanted = jnp.where(new.memory.count > 1, jnp.minimum(length, radius), radius)
        step = new.uphill * jnp.where(length > 0, wanted / length, 0.0)
        return new._replace(step=step, radius=radius), value == -jnp.inf

    zero = jnp.zeros_like(x)
    radius = jnp.asarray(FIRST * x.shape[0] ** 0.5, x.dtype)
    start = _Climb(x / unit, jnp.asarray(-jnp.inf, x.dtype), zero, empty, zero, zero, radius)
    end, bad = jax.lax.scan(body, start, None, length=num_iterations)
    return unit * end.z, end.value, end.slope / unit, jnp.sum(bad, dtype=jnp.int32)


def supported_point(logdensity_fn: LogDensityFn, position: Array, offset: Array) -> Array:
    """The farthest of ``position + 4^{-k} offset`` with positive density: supports may be small."""
    tries = position[None, :] + 4.0 ** -jnp.arange(NUM_SHRINKS)[:, None] * offset[None, :]
    tries = tries.astype(position.dtype)
    return tries[jnp.argmax(jnp.isfinite(jax.vmap(logdensity_fn)(tries)))]


def clip_widths(met: LocalGaussian) -> LocalGaussian:
    """Limit deviations to 30 times their median, and to that plus the breadth of the points met.

    Where curvature vanishes it says nothing of widths. On a ridge, where it is mostly rounding
    error, it would give far too large masses.
    """
    typical = jnp.nanmedian(
        jnp.where(jnp.isfinite(met.log_mass)[:, None], met.deviation, jnp.nan), 0
    )
    bound = 30 * jnp.broadcast_to(typical, met.deviation.shape)
    is_finite = jnp.isfinite(met.value)[:, None]
    low = jnp.min(jnp.where(is_finite, met.x, jnp.inf), axis=0)
    breadth = jnp.max(jnp.where(is_finite, met.x, -jnp.inf), axis=0) - low
    bound = jnp.where(breadth > 0, jnp.minimum(bound, (typical + breadth)[None, :]), bound)
    deviation = jnp.minimum(met.deviation, bound)
    ratio = deviation / met.deviation
    log_mass = met.log_mass + jnp.sum(jnp.log(ratio), axis=-1)
    return met._replace(deviation=deviation, log_mass=log_mass)


def local_factor(met: LocalGaussian) -> Array:
    """`factor` at one point, with the limited deviations of `clip_widths`."""
    ratio = met.deviation / deviations(met.curvature)
    a = factor(met.curvature)
    return ratio * a if a.ndim == 1 else ratio[:, None] * a


def crowding(met: LocalGaussian) -> Array:
    """Number of points within the Gaussian that the curvature at each point describes."""

    def one(x: Array, deviation: Array) -> Array:
        return jnp.sum(jnp.exp(-0.5 * squared_distance(x, met.x, 2 * deviation)))

    return jnp.maximum(jax.lax.map(lambda p: one(*p), (met.x, met.deviation), batch_size=64), 1.0)


def log_rank(met: LocalGaussian) -> Array:
    """Log weights that choose modes by the square root of their mass, however many points met them.

    The square root is taken because masses are rough. Modes below ``e^{-MASS_RANGE}`` of the best
    mass get no weight.
    """
    mass = jnp.where(jnp.isfinite(met.log_mass), met.log_mass, -jnp.inf)
    is_worth = mass > jnp.max(mass) - MASS_RANGE
    return jnp.where(is_worth, 0.5 * mass - jnp.log(crowding(met)), -jnp.inf)


NUM_EXPLAINING = 64
"""Points whose Gaussians explain the density of candidates, at most."""
NOTABLE = 3.0
"""Excess of the log density over what is explained that makes a candidate notable."""
ROUGH = 1e-4
"""Relative error of the curvature that explains: far outside, rounding alone is many nats."""
UNNOTABLE = -1e30
"""Score of a candidate that is not notable: it wins only if no other candidate is."""
OCTAVES = (0.0, 1.0)
"""Range of the candidates' breadth over the spread of the points met, in powers of two."""
FAR_OCTAVES = (2.0, 8.0)
"""The same for an eighth of the starts: the points met may be one narrow mode of several."""
GOLDEN = 0.6180339887
"""Fractions of its multiples fill the unit interval evenly, so octaves need no random numbers."""
IMAGED = 16
"""Candidates of which one is an image of a point met, see `symmetry.images`."""
FEW, NUMBERS = 128, 2**16
"""Candidates that each start may have in any dimension, and, beyond that number, coordinates that
the candidates of one start may have together. More would need more memory than an ensemble does, in
dimensions where they find nothing."""
SIDE_BY_SIDE = 4096
"""Density values computed at once: as many as an ensemble computes."""
SAME_MODE = 1.0
"""Squared distance, in units of twice the width, within which two points describe one mode."""


def affordable(num_candidates: int, dim: int) -> int:
    """The number of candidates for each start, lowered where there are very many dimensions.

    >>> affordable(512, 64), affordable(512, 256), affordable(512, 2048), affordable(16, 2048)
    (512, 256, 128, 16)
    """
    return min(num_candidates, max(FEW, NUMBERS // dim))


def thinned_to(number: int, leaf: Array) -> Array:
    """Rows at equal distances, ``number`` of them."""
    return leaf[jnp.arange(number) * leaf.shape[0] // number]


def divisor(number: int, most: int) -> int:
    """Largest divisor of ``number`` that is at most ``most``: equal batches compile once."""
    return next(k for k in range(min(number, most), 0, -1) if number % k == 0)


def best_first(met: LocalGaussian) -> Array:
    """Numbers of the points in order of mass; those that repeat a mode of more mass come last."""
    mass = jnp.where(jnp.isfinite(met.log_mass), met.log_mass, -jnp.inf)
    number = jnp.arange(mass.shape[0])

    def is_repeated(one: tuple[Array, Array, Array, Array]) -> Array:
        x, deviation, own, k = one
        is_before = (mass > own) | ((mass == own) & (number < k))
        return jnp.any(is_before & (squared_distance(x, met.x, 2 * deviation) < SAME_MODE))

    repeated = jax.lax.map(is_repeated, (met.x, met.deviation, mass, number), batch_size=64)
    return jnp.lexsort((-mass, repeated | (mass == -jnp.inf)))


def log_explained(met: LocalGaussian, x: Array) -> Array:
    """Log of the largest of the Gaussians that height and curvature at the points ``met`` describe.

    ``max_k (log π(x_k) - ½ (x - x_k)ᵀ |H_k| (x - x_k))``

    Args:
        met: points, leading axis num_met.
        x: where to evaluate, shape (num_points, dim).

    Returns:
        Shape (num_points,).
    """

    def one(largest: Array, at: LocalGaussian) -> tuple[Array, None]:
        height = at.value - 0.5 * squared_length(at.curvature, x - at.x[None, :])
        return jnp.maximum(largest, height), None

    return jax.lax.scan(one, jnp.full(x.shape[:1], -jnp.inf, x.dtype), met)[0]


BETWEEN = (0.25, 0.5, 0.75)
"""Where the density between two points is looked at."""
BARRIER = 1.0
"""How much lower than at both ends the log density between them is if these are two modes."""
OUTWARD = (1.0, 2.0**5, 2.0**10, 2.0**20)
"""Steps, in multiples of its distance from the user's position or of its own width, at which the
density beyond a point is looked at. The log density of a proper one falls by more than `BARRIER`
there, be its tail as heavy as it may."""
FAR = 30.0
"""Distance, in length scales of the user's position, from which on a coordinate may run away."""
LOOKS = len(BETWEEN) + len(OUTWARD)
"""Evaluations of `judged`."""


class Judged(NamedTuple):
    """What the density around the end of a climb says of it."""

    is_new: Array  # none of the points met explains it, and a valley is between
    is_runaway: Array  # far out, and the density never falls beyond


def judged(
    logdensity_fn: LogDensityFn,
    met: LocalGaussian,
    position: Array,
    guess: Array,
    end: LocalGaussian,
) -> Judged:
    """Judge the end of a climb by the density on two lines.

    Bent modes are not explained by Gaussians, so the straight line to the point met that explains
    it best is looked at. An improper density (a missing prior, a clipped value, a probability for
    its logarithm) rises or stays flat for ever: its masses are no masses.

    Args:
        logdensity_fn: target.
        met: points that explain the density.
        position: the user's, shape (dim,).
        guess: length scales there, shape (dim,).
        end: of a climb.
    """
    x, value = end.x, end.value

    def explained(at: LocalGaussian) -> Array:
        return at.value - 0.5 * squared_length(at.curvature, (x - at.x)[None])[0]

    heights = jax.vmap(explained)(met)
    nearest = jnp.argmax(heights)
    between = x[None] + jnp.asarray(BETWEEN, x.dtype)[:, None] * (met.x[nearest] - x)[None]
    is_far = jnp.abs(x - position) > FAR * guess
    step = jnp.sign(x - position) * jnp.maximum(jnp.abs(x - position), end.deviation)
    steps = jnp.asarray(OUTWARD, x.dtype)[:, None] * jnp.where(is_far, step, 0.0)[None]
    beyond = x[None] + steps
    seen = jax.vmap(logdensity_fn)(jnp.concatenate([between, beyond]))
    lowest, farther = jnp.min(seen[: len(BETWEEN)]), jnp.min(seen[len(BETWEEN) :])
    is_valley = lowest < jnp.minimum(value, met.value[nearest]) - BARRIER
    is_new = (value > heights[nearest] + NOTABLE) & is_valley
    return Judged(is_new, jnp.any(is_far) & (farther > value - BARRIER))


def around(best: LocalGaussian, unit: Array) -> tuple[Array, Array]:
    """Mean of the points met, and their deviation with a width added, in units of the widths."""
    spread = jnp.mean((deviation_of(best.x) / unit) ** 2)
    return jnp.mean(best.x, axis=0), jnp.sqrt(1 + spread)


class Proposal(NamedTuple):
    """Starts of one block of candidates."""

    starts: Array  # (num_new, dim)
    num_notable: Array  # starts whose density the points met do not explain
    num_nonfinite: Array
    tries: Array  # (num_new · num_candidates, dim) all candidates
    noticed: Array  # (num_new · num_candidates,) log density from which on each is climbed from


def propose_starts(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    best: LocalGaussian,
    explaining: LocalGaussian,
    unit: Array,
    *,
    num_new: int,
    num_candidates: int,
    exchanges: np.ndarray | None = None,
) -> Proposal:
    """New starts where the density exceeds what the Gaussians of the points met explain.

    Candidates are Gaussian around the mean of ``best``, with one deviation for all coordinates in
    units of their typical widths: two or three modes say nothing of the directions in which
    others lie. One in `IMAGED` is an image of a point met. Each start is one of
    ``num_candidates``: by turns the one of largest excess, and the highest of those with a notable
    excess.

    Args:
        rng_key: key.
        logdensity_fn: target.
        best: points met so far, chosen by `log_rank`, leading axis num_best.
        explaining: points whose Gaussians explain the density.
        unit: typical width of a mode in each coordinate, shape (dim,).
        num_new: number of starts.
        num_candidates: candidates for each of them.
        exchanges: of the coordinates of the user's PyTree, see `symmetry.tree_exchanges`.

    Returns:
        `Proposal`.
    """
    dim, dtype = best.x.shape[1], best.x.dtype
    center, breadth = around(best, unit)
    number = jnp.arange(num_new)
    is_far = number // 2 % 8 == 7
    low, high = (
        jnp.where(is_far, far, near) for near, far in zip(OCTAVES, FAR_OCTAVES, strict=True)
    )
    octave = low + (high - low) * (number * GOLDEN % 1.0).astype(dtype)
    noise_key, image_key = jax.random.split(rng_key)
    noise = jax.random.normal(noise_key, (num_new, num_candidates, dim), dtype)
    z = ((2.0**octave * breadth)[:, None, None] * noise).reshape(-1, dim)
    tries = (center[None] + unit[None] * z).reshape(num_new, num_candidates, dim)
    num_images = -(-num_candidates // IMAGED)
    image = images(image_key, best.x, exchanges, num_new * num_images)
    tries = tries.at[:, :num_images].set(image.reshape(num_new, num_images, dim)).reshape(-1, dim)
    value = jax.lax.map(logdensity_fn, tries, batch_size=divisor(len(tries), SIDE_BY_SIDE))
    value, explained = (
        one.reshape(num_new, -1) for one in (value, log_explained(explaining, tries))
    )
    is_finite = jnp.isfinite(value)
    is_by_excess = number[:, None] % 2 == 0
    # log density from which on a candidate is notable: the explanation has an error of its own
    noticed = explained + NOTABLE + ROUGH * (jnp.max(explaining.value) - explained)
    excess = jnp.where(is_finite, value - noticed, -jnp.inf)
    is_notable = excess > 0
    # without a notable one the first wins: differences of explained values are rounding
    unnotable = jnp.where(is_finite, UNNOTABLE, -jnp.inf)
    score = jnp.where(is_notable, jnp.where(is_by_excess, excess, value), unnotable)
    winner = jnp.argmax(score, axis=1)[:, None]
    chosen = jnp.take_along_axis(tries.reshape(num_new, -1, dim), winner[:, :, None], axis=1)[:, 0]
    fallback = thinned_to(num_new, best.x)
    # log density from which on it would have won
    best_score = jnp.take_along_axis(score, winner, axis=1)
    wins = jnp.where(is_by_excess, noticed + best_score, best_score)
    return Proposal(
        jnp.where(jnp.any(is_finite, axis=1)[:, None], chosen, fallback),
        jnp.sum(jnp.any(is_notable, axis=1), dtype=jnp.int32),
        jnp.sum(~is_finite, dtype=jnp.int32),
        tries,
        jnp.maximum(noticed, wins).reshape(-1),
    )
