"""Curved targets: bananas, Rosenbrock's valley, the funnel, rings and shells."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from .problem import Problem, constant, frozen, log_integral, memoised_problem, quantile_fn


@memoised_problem
def rosenbrock() -> Problem:
    """Return Rosenbrock's valley ``exp(-(100 (x_2 - x_1²)² + (1 - x_1)²)/20)`` in the plane.

    ``x_1 ~ N(1, 10)`` and ``x_2 | x_1 ~ N(x_1², .1)``: unimodal, .3 wide and some 60 long.

    >>> from rdmc_jax import problems
    >>> round(problems.rosenbrock().log_normalizer, 6)  # log 2π
    1.837877

    Reference: Goodman and Weare (2010), Commun. Appl. Math. Comput. Sci. 5.
    """

    def logdensity_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        return -5.0 * (x[1] - x[0] ** 2) ** 2 - 0.05 * (1.0 - x[0]) ** 2

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        noise = jax.random.normal(rng_key, (num_samples, 2))
        first = 1.0 + np.sqrt(10.0) * noise[:, 0]
        return jnp.stack([first, first**2 + np.sqrt(0.1) * noise[:, 1]], axis=1)

    return Problem(
        name="rosenbrock()",
        logdensity_fn=logdensity_fn,
        position=constant((2,)),
        log_normalizer=float(np.log(2.0 * np.pi)),
        sample=sample,
        mode_fn=None,
        mode_weights=None,
        reference="Goodman and Weare (2010); closed form",
    )


@memoised_problem
def bananas() -> Problem:
    """Return two parabolas that cross, of mass 1/3 (opening down) and 2/3 (opening up).

    ``x_1 ~ N(0, 16)`` and ``x_2 | x_1 ~ N(± c, .1)`` with ``c = .3 (x_1² - 16)``. A point belongs
    to the nearer parabola; the mode weights are normal probabilities, averaged over x_1.

    >>> from rdmc_jax import problems
    >>> problems.bananas().mode_weights.round(3).tolist()
    [0.338, 0.662]
    """
    from scipy.special import ndtr

    width, spread, shares = np.sqrt(0.1), 4.0, np.array([1.0, 2.0]) / 3.0
    node = np.linspace(-10.0, 10.0, 40_001)  # the crossings are some thirty of these wide
    node_weight = np.exp(-0.5 * node**2)
    height = np.abs(0.3 * ((spread * node) ** 2 - 16.0))
    own = float(np.sum(node_weight * ndtr(height / width)) / np.sum(node_weight))
    log_constant = -np.log(2.0 * np.pi * width * spread)

    def bend(x: jax.Array) -> jax.Array:
        return 0.3 * (x**2 - 16.0)

    def logdensity_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        down = np.log(shares[0]) - 0.5 * ((x[1] + bend(x[0])) / width) ** 2
        up = np.log(shares[1]) - 0.5 * ((x[1] - bend(x[0])) / width) ** 2
        return jnp.logaddexp(down, up) - 0.5 * (x[0] / spread) ** 2 + log_constant

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        side_key, noise_key = jax.random.split(rng_key)
        side = jnp.where(jax.random.uniform(side_key, (num_samples,)) < shares[0], -1.0, 1.0)
        noise = jax.random.normal(noise_key, (num_samples, 2))
        first = spread * noise[:, 0]
        return jnp.stack([first, side * bend(first) + width * noise[:, 1]], axis=1)

    def mode_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        return (x[1] * bend(x[0]) > 0).astype(int)

    return Problem(
        name="bananas()",
        logdensity_fn=logdensity_fn,
        position=constant((2,)),
        log_normalizer=0.0,
        sample=sample,
        mode_fn=mode_fn,
        mode_weights=frozen(own * shares + (1.0 - own) * shares[::-1]),
        reference="closed form; mode weights by quadrature",
    )


@memoised_problem
def funnel(dim: int = 10, variance: float = 3.0) -> Problem:
    """Return Neal's funnel: ``x_1 ~ N(0, variance)`` and ``x_i | x_1 ~ N(0, exp(x_1))``.

    Args:
        dim: Dimension, at least 2.
        variance: Variance of the neck coordinate. Two funnels circulate: 3 (here) and 9.

    >>> from rdmc_jax import problems
    >>> problems.funnel().log_normalizer
    0.0

    Reference: Neal (2003), "Slice sampling", section 8; variance 3 as in arXiv 2402.10758.
    """
    log_constant = -0.5 * (dim * np.log(2.0 * np.pi) + np.log(variance))

    def logdensity_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        standardised = x[1:] * jnp.exp(-0.5 * x[0])
        neck = -0.5 * x[0] ** 2 / variance - 0.5 * (dim - 1) * x[0]
        return neck - 0.5 * jnp.sum(standardised**2) + log_constant

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        noise = jax.random.normal(rng_key, (num_samples, dim))
        neck = np.sqrt(variance) * noise[:, :1]
        return jnp.concatenate([neck, jnp.exp(0.5 * neck) * noise[:, 1:]], axis=1)

    return Problem(
        name=f"funnel(dim={dim}, variance={variance:g})",
        logdensity_fn=logdensity_fn,
        position=constant((dim,)),
        log_normalizer=0.0,
        sample=sample,
        mode_fn=None,
        mode_weights=None,
        reference="Neal (2003); closed form",
    )


@memoised_problem
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


@memoised_problem
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
