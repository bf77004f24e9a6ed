"""Hypothetical modes: which would a search have noticed?

Astronomers inject signals into a survey and count those that are recovered. Here this needs no
evaluation: the candidates of a search are known, with the log density from which on the search
would have climbed from each (`mode_search.propose_starts`). A mode that exceeds it at one of them
would have been seen. `draws.detection` makes probabilities of this.
"""

import functools
import math

import jax
import jax.numpy as jnp

from ..target.flat import EXACT
from ..types import Array
from .mode_search import OCTAVES, LocalGaussian, around, log_explained, thinned_to

NUM_INJECTED = 128
"""Hypothetical modes that are injected."""
WIDTHS = tuple(2.0 ** (1 - 0.5 * k) for k in range(13))
"""Their widths, relative to the typical width of the modes that were met first."""


def _injected(best: LocalGaussian, unit: Array) -> tuple[Array, Array]:
    """Mean of the points met, and where injected modes lie from there, (num_injected, dim).

    They lie like candidates: their deviations from the mean are the same, in units of the breadth,
    in every block and every search.
    """
    middle, breadth = around(best, unit)
    center_key, octave_key = jax.random.split(jax.random.key(0))
    octave = jax.random.uniform(octave_key, (NUM_INJECTED, 1), unit.dtype, *OCTAVES)
    noise = jax.random.normal(center_key, (NUM_INJECTED, unit.shape[0]), unit.dtype)
    return middle, breadth * 2.0**octave * unit[None] * noise


def _log_peaks(reference: Array) -> Array:
    """Log density of an injected mode at its middle, for each of `WIDTHS`."""
    dim, widths = reference.shape[0], jnp.asarray(WIDTHS, reference.dtype)
    log_unit = 0.5 * dim * math.log(2 * math.pi) + jnp.sum(jnp.log(reference))
    return -log_unit - dim * jnp.log(widths)


def log_overlap(
    explaining: LocalGaussian, best: LocalGaussian, unit: Array, reference: Array
) -> Array:
    """Log ratio of the Gaussians at modes to an injected mode of all mass, in the middle of it.

    Draws come from these Gaussians. Where they exceed the mode itself, its mass is in the weights.

    Returns:
        Shape (num_injected, num_widths).
    """
    middle, offset = _injected(best, unit)
    return log_explained(explaining, middle[None] + offset)[:, None] - _log_peaks(reference)[None]


def _to_injected(x: Array, best: LocalGaussian, unit: Array, reference: Array) -> Array:
    """Squared distances of points to the injected modes, in units of their widths at width 1.

    Each mode has the ratios of widths that one of the points met has, along axes of its own, as
    candidates know no direction.

    Args:
        x: points, shape (num_points, dim).
        best: points met.
        unit: typical widths of these, shape (dim,).
        reference: widths of the injected modes, shape (dim,).

    Returns:
        Shape (num_points, num_injected).
    """
    middle, offset = _injected(best, unit)
    log_width = -0.5 * jnp.log(thinned_to(NUM_INJECTED, best.curvature.values))
    log_width -= jnp.mean(log_width, axis=1, keepdims=True)
    precision = jnp.exp(-2 * log_width)
    z, center = (x - middle[None]) / reference[None], offset / reference[None]
    product = functools.partial(jnp.matmul, precision=EXACT)
    distance2 = product(z**2, precision.T) - 2 * product(z, (precision * center).T)
    return jnp.maximum(distance2 + jnp.sum(precision * center**2, axis=1)[None], 0.0)


def log_excess_of_injected(
    x: Array, noticed: Array, best: LocalGaussian, unit: Array, reference: Array
) -> Array:
    """Largest log ratio of the Gaussian density of hypothetical modes to what would be noticed.

    Args:
        x: candidates, shape (num_candidates, dim).
        noticed: log density from which on each is climbed from.
        best: points met.
        unit: typical widths of these, shape (dim,).
        reference: widths of the injected modes, shape (dim,).

    Returns:
        For each mode and each of `WIDTHS`, ``max_x (log N(x; mode) - noticed)``: with a share of
        the mass times Z above minus its logarithm, the search would have seen the mode.
    """
    distance2 = _to_injected(x, best, unit, reference)

    def of_width(width: Array) -> Array:
        return jnp.max(-0.5 * distance2 / width**2 - noticed[:, None], axis=0)

    return jax.lax.map(of_width, jnp.asarray(WIDTHS, x.dtype)).T + _log_peaks(reference)[None]


def covered(points: Array, best: LocalGaussian, unit: Array, reference: Array) -> Array:
    """Whether there is a point in the bulk of an injected mode, whose mass draws then have.

    A light mode on the flank of a met one has no peak of its own, and need not be seen.

    Args:
        points: on the modes met, shape (num_points, dim).
        best: points met.
        unit: typical widths of these, shape (dim,).
        reference: widths of the injected modes, shape (dim,).

    Returns:
        Shape (num_injected, num_widths).
    """
    nearest = jnp.min(_to_injected(points, best, unit, reference), axis=0)
    bulk = points.shape[1] + 2 * math.sqrt(2 * points.shape[1])
    return nearest[:, None] < bulk * jnp.asarray(WIDTHS, points.dtype)[None] ** 2
