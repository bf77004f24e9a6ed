"""Members of a pool chosen evenly over the space, rather than by chance.

Systematic resampling takes from each stretch of the pool as many members as its weight says, to
within one. Where neighbours in space follow each other in the pool, stretches are regions, and the
noise of *where* draws are is gone: a mode has as many particles as the pool says, and what is left
is the noise of their weights. Any order of the members leaves the choice unbiased that does not
depend on it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from .averages import BLOCK, squared_distance
from .resampling import systematic
from .types import Array, Pool, PRNGKey

NUM_NEIGHBOURHOODS = 64
"""Cells: enough for each mode to have some, few enough for each to have several particles."""


def by_neighbourhood(rng_key: PRNGKey, pool: Pool) -> Pool:
    """The pool in an order in which neighbours follow each other.

    Neighbourhoods are the Voronoi cells of some members, chosen by their weight, on a tour that
    goes on to the nearest one not visited yet: modes that are apart are in different cells, those
    of one mode mostly in one stretch, in any dimension.

    Args:
        rng_key: key; independent of the one that members will be chosen by.
        pool: any.

    Returns:
        The same members and weights.

    >>> from rdmc_jax.pool import fixed_pool
    >>> pool = fixed_pool(jnp.array([[0.0], [9.0], [0.1], [9.1]]), jnp.zeros(4))
    >>> left = by_neighbourhood(jax.random.key(0), pool).position[:, 0] < 5
    >>> int(jnp.sum(left[:-1] != left[1:]))  # changes of side along the pool
    1
    """
    centers = pool.position[systematic(rng_key, pool.log_weight, NUM_NEIGHBOURHOODS)]
    centers = centers[_tour(centers)]
    unit = jnp.ones((), pool.position.dtype)

    def cell(x: Array) -> Array:
        return jnp.argmin(squared_distance(x, centers, unit))

    order = jnp.argsort(jax.lax.map(cell, pool.position, batch_size=BLOCK))
    return pool._replace(
        position=pool.position[order], log_weight=pool.log_weight[order], origin=pool.origin[order]
    )


def _tour(points: Array) -> Array:
    """All points, each followed by the nearest that is not visited yet; shape (num_points,)."""
    num_points = points.shape[0]
    unit = jnp.ones((), points.dtype)

    def go_on(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        here, is_left = carry
        is_left = is_left & (jnp.arange(num_points) != here)
        distance = squared_distance(points[here], points, unit)
        there = jnp.argmin(jnp.where(is_left, distance, jnp.inf)).astype(jnp.int32)
        return (there, is_left), here

    first = (jnp.zeros((), jnp.int32), jnp.ones(num_points, bool))
    return jax.lax.scan(go_on, first, None, length=num_points)[1]


def spread_out(rng_key: PRNGKey, num_particles: int) -> Array:
    """An order of ``0 … num_particles - 1`` of which any stretch is like the whole.

    Ranks of the multiples of the golden ratio modulo 1, turned by a random number: the first draws
    of an ensemble, or the copies that set its step sizes, are spread over the regions as evenly as
    all of it. Each place has each number with equal probability.

    Args:
        rng_key: key.
        num_particles: how many.

    Returns:
        A permutation, shape (num_particles,).

    >>> sorted(spread_out(jax.random.key(0), 5).tolist())
    [0, 1, 2, 3, 4]
    """
    multiples = np.arange(num_particles) * (np.sqrt(5) - 1) / 2 % 1
    rank = jnp.asarray(np.argsort(np.argsort(multiples)), jnp.int32)
    return (rank + jax.random.randint(rng_key, (), 0, num_particles)) % num_particles
