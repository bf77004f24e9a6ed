"""Images of points under exchanges and reflections, of which a density may know nothing.

Most modes that people have are images of each other: labels of components may be exchanged, signs
of factors turned. Nobody tells the search, but an image of a mode costs one evaluation. If the
density is not symmetric, it is a candidate like others.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..types import Array, ArrayTree, PRNGKey

MOST_NUMBERS = 2**18
"""Indices that all exchanges of a tree may have together; of more, some at equal steps are kept."""
REFLECTED = 0.25
"""Share of the images that are reflections; the others are exchanges."""


def tree_exchanges(position: ArrayTree) -> np.ndarray:
    """Exchanges of neighbours along the axes of a PyTree's leaves.

    Components of a model have an index, which is an axis of several leaves: all axes of one length
    are taken together, and each one alone. Exchanges of neighbours generate all orders.

    Args:
        position: example position.

    Returns:
        Indices of the flat coordinates, shape (num_exchanges, dim).

    >>> tree = {"mean": jnp.zeros(2), "noise": jnp.zeros(()), "scale": jnp.zeros(2)}
    >>> tree_exchanges(tree).tolist()
    [[1, 0, 2, 4, 3], [1, 0, 2, 3, 4], [0, 1, 2, 4, 3]]
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(position)]
    bounds = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
    places = [
        np.arange(low, high).reshape(shape)
        for low, high, shape in zip(bounds[:-1], bounds[1:], shapes, strict=True)
    ]
    axes = [(leaf, axis) for leaf, shape in enumerate(shapes) for axis in range(len(shape))]
    groups: list[list[tuple[int, int]]] = []
    for length in sorted({shapes[leaf][axis] for leaf, axis in axes}):
        together = [one for one in axes if shapes[one[0]][one[1]] == length]
        groups += [together] if len(together) > 1 else []
        groups += [[one] for one in together]
    found: list[np.ndarray] = []
    for group in groups:
        leaf, axis = group[0]
        for k in range(shapes[leaf][axis] - 1):
            moved = list(places)
            for leaf, axis in group:
                order = np.arange(shapes[leaf][axis])
                order[[k, k + 1]] = k + 1, k
                moved[leaf] = np.take(moved[leaf], order, axis=axis)
            found.append(np.concatenate([one.ravel() for one in moved]))
    dim = int(bounds[-1])
    step = -(-len(found) * dim // MOST_NUMBERS) if found else 1
    return np.array(found[:: max(1, step)], np.int32).reshape(-1, dim)


def exchanged(u: Array, dim: int) -> Array:
    """Random exchange of two neighbouring blocks of a flat array, or of their interleaved entries.

    Somewhere ``n`` components with ``m`` parameters each lie one after the other: all parameters of
    one component first, or the values that all components have of one parameter.

    Args:
        u: five numbers in [0, 1).
        dim: length of the array.

    Returns:
        Indices, shape (dim,).
    """

    def integer(share: Array, count: Any) -> Array:
        return jnp.minimum(jnp.floor(share * count).astype(jnp.int32), count - 1)

    number = 2 + integer(u[0] ** 3, max(1, dim - 1))  # of components, mostly few
    size = 1 + integer(u[1], jnp.maximum(1, dim // number))
    left = jnp.maximum(0, dim - number * size)  # coordinates that are not theirs
    # the others lie behind, before, or around them
    first = jnp.where(
        u[2] < 0.4, 0, jnp.where(u[2] < 0.6, left, integer(u[2] * 2.5 - 1.5, left + 1))
    )
    index = jnp.arange(dim)
    at = index - first
    is_interleaved = u[3] < 0.5
    place = jnp.where(is_interleaved, at % number, at // size)
    step = jnp.where(is_interleaved, 1, size)
    one = integer(u[4], number - 1)
    is_theirs = (at >= 0) & (at < number * size)
    up, down = is_theirs & (place == one), is_theirs & (place == one + 1)
    return jnp.clip(jnp.where(up, index + step, jnp.where(down, index - step, index)), 0, dim - 1)


def reflected(u: Array, dim: int) -> Array:
    """Signs that turn one coordinate, all or some neighbours, from three numbers in [0, 1)."""
    first = jnp.floor(u[0] * dim)
    some = jnp.floor(first + 1 + u[1] * (dim - first))
    last = jnp.where(u[2] < 0.4, first + 1, some)
    is_all = u[2] > 0.9
    index = jnp.arange(dim)
    return jnp.where(((index >= first) & (index < last)) | is_all, -1.0, 1.0)


def images(rng_key: PRNGKey, points: Array, exchanges: np.ndarray | None, count: int) -> Array:
    """Images of random points under random exchanges and reflections about zero.

    Args:
        rng_key: key.
        points: shape (num_points, dim).
        exchanges: of `tree_exchanges`; each is as likely as any, in half of the images.
        count: number of images.

    Returns:
        Shape (count, dim).
    """
    num_points, dim = points.shape
    u = jax.random.uniform(rng_key, (count, 9))
    x = points[(u[:, 0] * num_points).astype(jnp.int32)]
    order = jax.vmap(lambda one: exchanged(one, dim))(u[:, 1:6])
    if exchanges is not None and len(exchanges):
        of_tree = jnp.asarray(exchanges)[(u[:, 8] * len(exchanges)).astype(jnp.int32)]
        order = jnp.where(u[:, 6:7] < 0.5, of_tree, order)
    signs = jax.vmap(lambda one: reflected(one, dim))(u[:, 1:4]).astype(points.dtype)
    swapped = jnp.take_along_axis(x, order, axis=1)
    return jnp.where(u[:, 7:8] < REFLECTED, signs * x, swapped)
