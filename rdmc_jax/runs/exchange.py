"""What one replicate's pool saw and another's did not, and a pool of both for it.

Each replicate searches for itself, and a narrow mode inside a wide one is missed now and then.
Pools are fixed before any draw that is reported, so a pool of both leaves weights as exact as they
were; where pools agree nothing changes, and replicates have nothing in common.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..montecarlo.resampling import comb
from ..samplers.core import Preparation
from ..target.flat import from_standard, to_standard
from ..types import Array

NUM_JUDGED = 512
"""Members that stand for a pool, by a comb over its weights."""
NUM_PARTS = 8
"""Of these, one after the other: users may know a hundred thousand positions."""
NEAREST = (20, 0.04)
"""Members in the ball around each of them in which those of the other pool are counted: so many, or
this share of all if that is more."""
FEW = 0.04
"""Of these, so few of the other pool are a lack."""
NUM_COMPARED = 3
"""Replicates whose pools each looks at: all by default."""
SMALL = 0.1
"""Share of a pool's weight whose lack is left to the weights: members come in clumps where chains
are short, and on thin rings 8 % of the weight lie in clumps where the other pool has few."""


def missing_share(own: Preparation, other: Preparation) -> float:
    """Share of the weight of another replicate's pool where the own one has almost no members.

    Args:
        own: preparation of a replicate.
        other: of another one.

    Returns:
        Weight of the members of the other pool in whose neighbourhood, the ball that holds the 4 %
        of that pool (20 members or more) that are nearest, the own pool has 4 % of as many at most.
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
    for some in np.split(judged, NUM_PARTS):
        nearest = np.partition(_squared_distances(some, seen), num_nearest, axis=1)
        radius2 = nearest[:, num_nearest, None]
        num_near.append(np.sum(_squared_distances(some, points) <= radius2, axis=1))
    return float(np.mean(np.concatenate(num_near) <= FEW * num_nearest))


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1)[None, :] - 2 * x @ y.T


def _inside(own: Preparation, other: Preparation) -> Array:
    """The members of another pool in the own coordinates."""
    location, scale = jnp.asarray(other.location), jnp.asarray(other.scale)
    x = from_standard(location, scale, jnp.asarray(other.pool.position))
    return to_standard(jnp.asarray(own.location), jnp.asarray(own.scale), x)


def joined_pool(own: Preparation, other: Preparation) -> Preparation:
    """The own preparation with the members of another pool too, each pool with half the weight.

    Its evaluations stay the own ones: those of the other pool are counted where they were made.
    """
    pool, extra = own.pool, other.pool
    shares = [jax.nn.log_softmax(jnp.asarray(one.log_weight)) for one in (pool, extra)]
    position = jnp.concatenate([jnp.asarray(pool.position), _inside(own, other)])
    source = jnp.concatenate([jnp.asarray(pool.source), jnp.asarray(extra.source)])
    joined = pool._replace(position=position, log_weight=jnp.concatenate(shares), source=source)
    return own._replace(pool=jax.device_get(joined))


def exchange_pools(prepares: list[Preparation]) -> tuple[list[Preparation], tuple[str, ...]]:
    """Each replicate with the pool of that of the next three which saw most of what it lacks.

    Args:
        prepares: of all replicates.

    Returns:
        Preparations, the same where nothing is missing, and a sentence for each other one.
    """
    found, said = list(prepares), []
    for k, own in enumerate(prepares):
        others = [(k + 1 + j) % len(prepares) for j in range(min(len(prepares) - 1, NUM_COMPARED))]
        lack, most = max(((missing_share(own, prepares[j]), j) for j in others), default=(0.0, k))
        if lack > SMALL:
            found[k] = joined_pool(own, prepares[most])
            said.append(f"replicate {k} lacked {lack:.0%} of what replicate {most} saw")
    return found, tuple(said)
