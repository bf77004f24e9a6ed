"""A pilot for densities without a gradient: tempering from a reference of all scales at once."""

import math

import jax
import jax.numpy as jnp

from .kernels import random_walk
from .memo import memoised
from .moments import deviation_of
from .pilot import Pilot, PilotFn
from .tempering import Tempering, temper
from .types import Array, LogDensityFn, PRNGKey

LOW_OCTAVE, HIGH_OCTAVE = -10, 12
"""Scales of the reference over ``1 + |position|``, in powers of two."""
NUM_NEIGHBOURS = 16
NUM_CENTERS = 64


def _log_reference(center: Array, unit: Array, y: Array) -> Array:
    """Equal mixture of Gaussians around ``center``, one for each octave of scale."""
    octave = jnp.arange(LOW_OCTAVE, HIGH_OCTAVE + 1, dtype=y.dtype)
    distance2 = jnp.sum(((y - center) / unit) ** 2)
    each = -0.5 * distance2 / 4.0**octave - y.shape[0] * math.log(2.0) * octave
    return jax.nn.logsumexp(each)


def _width(points: Array, scale: Array) -> Array:
    """Typical deviation within a mode: of the nearest neighbours of some points, per coordinate.

    Neighbours alone are too close together; in dim dimensions the k nearest of the n points of a
    mode reach to about ``(k/n)^{1/dim}`` of its width, which is divided out.
    """
    z = points / scale[None, :]
    centers = z[:: max(1, z.shape[0] // NUM_CENTERS)]
    count = min(NUM_NEIGHBOURS, z.shape[0])

    def one(center: Array) -> Array:
        offset = z - center[None, :]
        _, nearest = jax.lax.top_k(-jnp.sum(offset**2, axis=1), count)
        return jnp.sqrt(jnp.mean(offset[nearest] ** 2, axis=0) + 1e-12)

    near = jnp.exp(jnp.mean(jnp.log(jax.vmap(one)(centers)), axis=0))
    filled = (count / z.shape[0]) ** (1 / z.shape[1])
    return scale * jnp.minimum(near / filled, 1.0)


@memoised
def gradient_free_pilot(*, num_particles: int = 1024, num_steps: int = 6) -> PilotFn:
    """Location, scale and first points from density values alone.

    Adaptive tempered sequential Monte Carlo with random walks, from a mixture of Gaussians around
    the example position whose scales run from a thousandth to 4,000 times ``1 + |position|``.

    Args:
        num_particles: particles, the number of points returned.
        num_steps: random-walk steps per temperature.

    Returns:
        A `PilotFn`. Up to about ten dimensions; where there is a gradient, `climbing_pilot` sees
        far more.
    """
    options = Tempering(random_walk, 0.3, num_steps, 100, 3)

    def pilot(
        rng_key: PRNGKey, logdensity_fn: LogDensityFn, position: Array, known: Array | None
    ) -> Pilot:
        octave_key, noise_key, temper_key = jax.random.split(rng_key, 3)
        dim, dtype = position.shape[0], position.dtype
        unit = 1 + jnp.abs(position)
        octave = jax.random.randint(octave_key, (num_particles,), LOW_OCTAVE, HIGH_OCTAVE + 1)
        noise = jax.random.normal(noise_key, (num_particles, dim), dtype)
        offsets = 2.0 ** octave.astype(dtype)[:, None] * noise
        x = (position[None, :] + unit[None, :] * offsets).at[0].set(position)
        if known is not None:
            # no draws of the reference, but tempering sees that the target is higher there
            thinned = known[:: -(-2 * known.shape[0] // num_particles)].astype(dtype)
            x = x.at[-thinned.shape[0] :].set(thinned)

        def log_reference(y: Array) -> Array:
            return _log_reference(position, unit, y)

        state, evals, bad = temper(temper_key, logdensity_fn, x, log_reference, options)
        location, scale = jnp.mean(state.position, axis=0), deviation_of(state.position)
        scale = jnp.where(scale > 0, scale, unit)
        width = _width(state.position, scale)
        return Pilot(location, scale, width, state.position, state.logdensity, evals, bad)

    return pilot
