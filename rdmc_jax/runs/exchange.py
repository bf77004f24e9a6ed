"""Exchange of pools: a replicate receives the pool that has regions which its own one misses.

Each replicate searches on its own, and a narrow mode inside a wide one is missed now and then.
Pools are fixed before any draw that is reported, so weights stay exact with the joined pool. If
pools agree, nothing is exchanged and replicates stay independent.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..montecarlo.resampling import comb
from ..samplers.core import Preparation
from ..target.flat import from_standard, to_standard
from ..types import Array

NUM_JUDGED = 512
"""Points of a pool around which the other pool is searched, chosen systematically by weight."""
NUM_BLOCKS = 8
"""Blocks of these points, one after the other: users may know a hundred thousand positions."""
NEAREST = (20, 0.04)
"""Size of a point's neighbourhood: its nearest points of the same pool, this number or this share
of all, whichever is more."""
MISSING_SHARE = 0.04
"""A neighbourhood is missing from a pool that has at most this fraction of the points there."""
NUM_COMPARED = 3
"""Other replicates whose pools each replicate is compared with: all by default."""
MIN_MISSING_WEIGHT = 0.1
"""Share of another pool's weight that must be missing for an exchange. For less the weights
correct. Points lie in clumps where chains are short: on thin rings 8 % of the weight lie in clumps
where the other pool has few points."""


def missing_share(own: Preparation, other: Preparation) -> float:
    """Share of the weight of another replicate's pool where the own pool has almost no points.

    Args:
        own: preparation of a replicate.
        other: preparation of another one.

    Returns:
        Weight of the points of the other pool whose neighbourhood is missing from the own pool. The
        neighbourhood is the ball that holds the nearest 4 % of the other pool (20 points or more).
        It is missing if the own pool has at most 4 % of that number of points in it.
    """
    seen = np.asarray(other.pool.position, np.float64)
    log_weight = np.asarray(other.pool.log_weight, np.float64)
    is_own = np.isfinite(np.asarray(own.pool.log_weight))
    points = np.asarray(_inside(other, own), np.float64)[is_own]
    weight = np.exp(log_weight - np.max(log_weight))
    seen, weight = seen[weight > 0], weight[weight > 0]
    num_nearest = max(NEAREST[0], round(NEAREST[1] * weight.size))
    if weight.size <= num_nearest:
        return 0.0
    judged = seen[comb(weight, NUM_JUDGED)]
    num_near = []
    for some in np.split(judged, NUM_BLOCKS):
        nearest = np.partition(_squared_distances(some, seen), num_nearest, axis=1)
        radius2 = nearest[:, num_nearest, None]
        num_near.append(np.sum(_squared_distances(some, points) <= radius2, axis=1))
    return float(np.mean(np.concatenate(num_near) <= MISSING_SHARE * num_nearest))


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1)[None, :] - 2 * x @ y.T


def _inside(own: Preparation, other: Preparation) -> Array:
    """Express the points of another pool in the own coordinates."""
    location, scale = jnp.asarray(other.location), jnp.asarray(other.scale)
    x = from_standard(location, scale, jnp.asarray(other.pool.position))
    return to_standard(jnp.asarray(own.location), jnp.asarray(own.scale), x)


def joined_pool(own: Preparation, others: list[Preparation]) -> Preparation:
    """The points of several pools, in the coordinates of the first; each has the same weight.

    It has twice as many points as the own pool, whatever the number of pools, so that one program
    serves all replicates: points are left out at equal steps. Evaluations of the other pools are
    not added: they are counted where they were made.
    """
    size = 2 * own.pool.position.shape[0] // (1 + len(others))
    parts = []
    for one in (own, *others):
        count = one.pool.position.shape[0]
        chosen = np.arange(size) * count // size
        place = one.pool.position if one is own else _inside(own, one)
        weight = jax.nn.log_softmax(jnp.asarray(one.pool.log_weight)[chosen])
        parts.append((jnp.asarray(place)[chosen], weight, jnp.asarray(one.pool.source)[chosen]))
    position, log_weight, source = (jnp.concatenate(leaves) for leaves in zip(*parts, strict=True))
    joined = own.pool._replace(position=position, log_weight=log_weight, source=source)
    return own._replace(pool=jax.device_get(joined))


def exchange_pools(
    prepares: list[Preparation], *, always: bool = False
) -> tuple[list[Preparation], tuple[str, ...]]:
    """Add to each pool that misses regions the pool that has most of them.

    Each replicate is compared with the next three (`NUM_COMPARED`).

    Args:
        prepares: preparations of all replicates.
        always: whether each pool receives those of the compared replicates anyway. What one search
            met is then in all pools; a mixture that is fitted to them corrects the proportions.

    Returns:
        Preparations, and a sentence for each pool that missed something.
    """
    found, said = list(prepares), []
    for k, own in enumerate(prepares):
        others = [(k + 1 + j) % len(prepares) for j in range(min(len(prepares) - 1, NUM_COMPARED))]
        missing, most = max(
            ((missing_share(own, prepares[j]), j) for j in others), default=(0.0, k)
        )
        if missing > MIN_MISSING_WEIGHT:
            said.append(f"replicate {k} lacked {missing:.0%} of what replicate {most} saw")
        if others and (always or missing > MIN_MISSING_WEIGHT):
            found[k] = joined_pool(own, [prepares[j] for j in (others if always else [most])])
    return found, tuple(said)
