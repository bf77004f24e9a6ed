"""Problems of a radius and a direction: rings in the plane, two thin shells in any dimension."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from rdmc_jax.problems.record import Problem, constant, factory, frozen
from rdmc_jax.problems.tables import log_integral, quantile_fn


@factory
def rings() -> Problem:
    """Return four concentric rings: radius ~ 1/4 sum_k N(k, .15^2), k = 1..4, uniform angle.

    The density in the plane is the radius's density over ``2 pi r``. The mode of a point is its
    nearest ring; the weights are equal because neighbours leak into each other equally.

    >>> from rdmc_jax import problems
    >>> problems.rings().mode_weights.tolist()
    [0.25, 0.25, 0.25, 0.25]

    Reference: Grenioux, Noble, Gabrié, Durmus (2024), arXiv 2402.10758, section 5.
    """
    radii, width = np.arange(1.0, 5.0), 0.15
    log_constant = -math.log(4.0 * width) - 1.5 * math.log(2.0 * math.pi)

    def radius(position: jax.Array) -> jax.Array:
        # The floor keeps the density and its gradient finite at the origin's 1/r singularity.
        squared = jnp.sum(position**2)
        return jnp.sqrt(jnp.maximum(squared, jnp.finfo(squared.dtype).tiny))

    def logdensity_fn(position: jax.Array) -> jax.Array:
        r = radius(jnp.asarray(position))
        log_terms = -0.5 * ((r - jnp.asarray(radii, r.dtype)) / width) ** 2
        return jax.nn.logsumexp(log_terms) - jnp.log(r) + log_constant

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        ring_key, width_key, angle_key = jax.random.split(rng_key, 3)
        ring = jax.random.randint(ring_key, (num_samples,), 1, 5)
        r = ring + width * jax.random.normal(width_key, (num_samples,))
        angle = jax.random.uniform(angle_key, (num_samples,), maxval=2.0 * math.pi)
        return jnp.stack([r * jnp.cos(angle), r * jnp.sin(angle)], axis=1)

    def mode_fn(position: jax.Array) -> jax.Array:
        nearest = jnp.round(radius(jnp.asarray(position))).astype(int)
        return jnp.clip(nearest, 1, 4) - 1

    return Problem(
        name="rings()",
        logdensity_fn=logdensity_fn,
        position=constant((2,), 1.0),
        log_normalizer=0.0,
        sample=sample,
        mode_fn=mode_fn,
        mode_weights=frozen(np.full(4, 0.25)),
        reference="Grenioux, Noble, Gabrié, Durmus (2024), arXiv 2402.10758; closed form",
    )


@factory
def shells(dim: int = 2) -> Problem:
    """Return two thin spherical shells under a uniform prior on ``[-6, 6]^dim``.

    The likelihood is ``sum_c (2 pi w^2)^{-1/2} exp(-(|x - c| - 2)^2 / 2 w^2)``, w = .1, with
    centres at -3.5 and 3.5 on the first axis; outside of the cube the density is zero. A shell
    that ends 5 w inside the cube's face loses a mass of 1e-7 there, which the truth ignores.

    Args:
        dim: Dimension, at least 2.

    >>> from rdmc_jax import problems
    >>> round(problems.shells(2).log_normalizer, 5)
    -1.74564

    Reference: Feroz, Hobson, Bridges (2009), "MultiNest", arXiv 0809.3437, section 6.2.
    """
    shell_radius, width, offset, half_side = 2.0, 0.1, 3.5, 6.0
    edges = np.linspace(shell_radius - 10.0 * width, shell_radius + 10.0 * width, 4097)
    midpoints = 0.5 * (edges[1:] + edges[:-1])
    log_gaussian = -0.5 * ((midpoints - shell_radius) / width) ** 2
    log_constant = -0.5 * math.log(2.0 * math.pi * width**2) - dim * math.log(2.0 * half_side)
    log_radial = log_gaussian + (dim - 1) * np.log(midpoints)
    # log of the unit sphere's area; the two shells add log 2.
    log_area = math.log(2.0) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)
    quantile = quantile_fn(edges, log_radial)
    centers = np.zeros((2, dim))
    centers[:, 0] = (-offset, offset)

    def logdensity_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        squared = jnp.sum((x[None, :] - jnp.asarray(centers, x.dtype)) ** 2, axis=1)
        # At a centre the distance has no gradient: any finite one will do.
        distance = jnp.sqrt(jnp.maximum(squared, jnp.finfo(squared.dtype).tiny))
        log_terms = -0.5 * ((distance - shell_radius) / width) ** 2
        inside = jnp.all(jnp.abs(x) <= half_side)
        return jnp.where(inside, jax.nn.logsumexp(log_terms) + log_constant, -jnp.inf)

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        center_key, radius_key, direction_key = jax.random.split(rng_key, 3)
        center = jax.random.bernoulli(center_key, shape=(num_samples,)).astype(int)
        r = quantile(jax.random.uniform(radius_key, (num_samples,)))
        noise = jax.random.normal(direction_key, (num_samples, dim))
        direction = noise / jnp.linalg.norm(noise, axis=1, keepdims=True)
        return jnp.asarray(centers)[center] + r[:, None] * direction

    return Problem(
        name=f"shells(dim={dim})",
        logdensity_fn=logdensity_fn,
        position=constant((dim,)),
        log_normalizer=math.log(2.0) + log_area + log_constant + log_integral(edges, log_radial),
        sample=sample,
        mode_fn=lambda position: (jnp.asarray(position)[0] > 0).astype(int),
        mode_weights=frozen((0.5, 0.5)),
        reference="Feroz, Hobson, Bridges (2009), arXiv 0809.3437; radial quadrature",
    )
