"""Exchange of pools: a replicate receives the points of regions that its own pool misses.

Each replicate searches on its own, and a narrow mode inside a wide one is missed now and then. What
only one search saw says how much none has seen (Good 1953, Biometrika 40). Pools are fixed before
any draw that is reported, so weights stay exact with the joined pool.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..montecarlo.resampling import comb
from ..samplers.core import Preparation
from ..target.flat import (
    factors_from_standard,
    factors_to_standard,
    from_standard,
    to_standard,
)
from ..types import Array, Laplace

NUM_JUDGED = 512
"""Points of a pool around which the other pool is searched, chosen systematically by weight."""
NUM_BLOCKS = 8
"""Blocks of these points, one after the other: users may know a hundred thousand positions."""
NEAREST = (30, 0.1)
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


def missing_share(own: list[Preparation], other: Preparation, *, of_pilot: bool = False) -> float:
    """Share of the weight of another search's pool where the own pools have almost no points.

    Args:
        own: preparations whose pools are taken together.
        other: preparation of another search.
        of_pilot: whether only the pilot's points of the other pool are judged. Its climbs put
            points into each mode they met; points of tempering lie in clumps where they are few.

    Returns:
        Weight of the points of the other pool whose neighbourhood is missing from the own pools.
        The neighbourhood is the ball that holds the nearest tenth of the other pool (30 points or
        more). It is missing if the own pools have at most 4 % of that number of points in it.
    """
    log_weight = np.asarray(other.pool.log_weight, np.float64)
    is_judged = np.isfinite(log_weight)
    if of_pilot:
        is_judged &= np.asarray(other.pool.source) == 0
    points = np.concatenate(
        [
            np.asarray(_inside(other, one), np.float64)[np.isfinite(one.pool.log_weight)]
            for one in own
        ]
    )
    seen = np.asarray(other.pool.position, np.float64)[is_judged]
    num_nearest = max(NEAREST[0], round(NEAREST[1] * len(seen)))
    if len(seen) <= num_nearest:
        return 0.0
    weight = np.exp(log_weight[is_judged] - np.max(log_weight[is_judged]))
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
    x = from_standard(other.location, other.scale, other.pool.position)
    return to_standard(own.location, own.scale, x)


def joined_pool(own: Preparation, others: list[Preparation]) -> Preparation:
    """The points of several pools, in the coordinates of the first; each has the same weight.

    The own pool stays whole, with the points that users know. The others have as many points
    together, whatever their number, so that one program serves all replicates: points are left out
    at equal steps. Evaluations of the other pools are not added: they are counted where they were
    made.
    """
    size = own.pool.position.shape[0]
    parts = [(own.pool.position, _shares_of(own.pool.log_weight), own.pool.source)]
    bounds = np.arange(len(others) + 1) * size // len(others)
    for one, low, high in zip(others, bounds[:-1], bounds[1:], strict=True):
        count = one.pool.position.shape[0]
        chosen = np.arange(high - low) * count // (high - low)
        weight = _shares_of(np.asarray(one.pool.log_weight)[chosen])
        place = np.asarray(_inside(own, one))[chosen]
        parts.append((place, weight, np.asarray(one.pool.source)[chosen]))
    leaves: list[Any] = [np.concatenate(part) for part in zip(*parts, strict=True)]
    joined = own.pool._replace(position=leaves[0], log_weight=leaves[1], source=leaves[2])
    if own.pool.laplace is not None:
        joined = joined._replace(laplace=_joined_laplace(own, others))
    return own._replace(pool=jax.device_get(joined))


def _joined_laplace(own: Preparation, others: list[Preparation]) -> Laplace:
    """The Gaussians at modes of several searches, left out like points of pools."""
    assert own.pool.laplace is not None
    size = own.pool.laplace.mean.shape[0]
    parts = [own.pool.laplace]
    bounds = np.arange(len(others) + 1) * size // len(others)
    for one, low, high in zip(others, bounds[:-1], bounds[1:], strict=True):
        assert one.pool.laplace is not None
        count = one.pool.laplace.mean.shape[0]
        chosen = np.arange(high - low) * count // (high - low)
        mean, factor = (np.asarray(leaf)[chosen] for leaf in one.pool.laplace)
        mean = to_standard(own.location, own.scale, from_standard(one.location, one.scale, mean))
        factor = factors_to_standard(own.scale, factors_from_standard(one.scale, factor))
        parts.append(Laplace(mean, factor))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@jax.jit
def _shares_of(log_weight: Array) -> Array:
    """Log weights that sum to one, or none where no point has weight."""
    shares = jax.nn.log_softmax(log_weight)
    return jnp.where(jnp.any(jnp.isfinite(log_weight)), shares, -jnp.inf)


def exchange_pools(prepares: list[Preparation]) -> tuple[list[Preparation], tuple[str, ...]]:
    """Add to each pool that misses regions the pool that has most of them.

    Each replicate is compared with the next three (`NUM_COMPARED`). If pools agree, nothing is
    exchanged and replicates stay independent.

    Args:
        prepares: preparations of all replicates.

    Returns:
        Preparations, and a sentence for each pool that missed something.
    """
    found, said = list(prepares), []
    for k, own in enumerate(prepares):
        missing, most = max(
            ((missing_share([own], prepares[j]), j) for j in _compared(k, len(prepares))),
            default=(0.0, k),
        )
        if missing > MIN_MISSING_WEIGHT:
            said.append(f"replicate {k} lacked {missing:.0%} of what replicate {most} saw")
            found[k] = joined_pool(own, [prepares[most]])
    return found, tuple(said)


def seen_once(searches: list[list[Preparation]]) -> tuple[str, ...]:
    """Name the newest searches of which a tenth or more was seen by no other search.

    Args:
        searches: rounds of searches, each with one of every replicate.

    Returns:
        A sentence for each of these searches. Without any, a further search would rarely see more.
    """
    said = []
    *earlier, newest = searches
    for k, one in enumerate(newest):
        others = [found for some in earlier for found in some]
        others += [newest[j] for j in _compared(k, len(newest))]
        missing = missing_share(others, one, of_pilot=True) if others else 0.0
        if missing > MIN_MISSING_WEIGHT:
            said.append(f"replicate {k} saw {missing:.0%} that no other search had seen")
    return tuple(said)


def shared_pools(searches: list[list[Preparation]]) -> list[Preparation]:
    """Give each replicate the points of all searches, its own first; see `joined_pool`.

    What one search met is then in all pools, and a mixture that is fitted to them corrects the
    proportions. Of many replicates each has the points of the next three.
    """
    found, num_replicates = [], len(searches[0])
    for k, own in enumerate(searches[0]):
        near = (k, *_compared(k, num_replicates))
        others = [some[j] for some in searches for j in near if some[j] is not own]
        found.append(joined_pool(own, others) if others else own)
    return found


def _compared(replicate: int, num_replicates: int) -> list[int]:
    """The other replicates with which one is compared."""
    count = min(num_replicates - 1, NUM_COMPARED)
    return [(replicate + 1 + j) % num_replicates for j in range(count)]
