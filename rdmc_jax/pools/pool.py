"""Pools: points that between them should touch every mode; their proportions need not be right.

A pool is fixed before it is used, so weights that are computed with it are exact for any pool.
A region without pool members stays unseen: unions of unlike generators guard against that.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import jax
import jax.numpy as jnp

from ..montecarlo.kernels import mala
from ..montecarlo.tilted import adapted
from ..types import (
    Array,
    Evaluations,
    LogDensityFn,
    Pool,
    PoolGenerator,
    PRNGKey,
    as_code,
    record,
)


def deviation_of(points: Array) -> Array:
    """Standard deviation of each coordinate, exactly zero for equal points.

    Differences to the first point are taken before anything else: the mean of equal numbers is
    not exactly that number, and rounding is no spread.

    Args:
        points: shape (num_points, dim).

    Returns:
        Shape (dim,).

    >>> float(deviation_of(jnp.full((256, 1), 300.1))[0])
    0.0
    """
    return jnp.std(points - points[:1], axis=0)


def spread(known: Pool, factor: float) -> tuple[Array, Array]:
    """Center and breadth of a broad start: ``factor`` times what the known points span.

    Returns:
        Mean of the known points and ``factor`` times their standard deviations (1 where they
        have none), each of shape (dim,).
    """
    deviation = deviation_of(known.position)
    return jnp.mean(known.position, axis=0), factor * jnp.where(deviation > 0, deviation, 1.0)


def fixed_pool(position: Array, log_weight: Array | None = None) -> Pool:
    """A pool of given points, which cost nothing.

    Args:
        position: shape (num_points, dim).
        log_weight: shape (num_points,), unnormalised; equal by default.

    Returns:
        A `Pool`.

    >>> fixed_pool(jnp.zeros((5, 2))).log_weight.shape
    (5,)
    """
    zero = jnp.zeros((), jnp.int32)
    count = position.shape[0]
    weight = jnp.zeros(count, position.dtype) if log_weight is None else log_weight
    source, unmeasured = jnp.zeros(count, jnp.int32), jnp.zeros((), position.dtype)
    return Pool(position, weight, Evaluations(zero, zero), zero, source, unmeasured)


def as_known(pool: Pool) -> Pool:
    """The pool with its costs set to zero, because they were counted before."""
    return pool._replace(num_evals=Evaluations.zero(), num_nonfinite=jnp.zeros((), jnp.int32))


def pool_of(
    position: Array, logdensity: Array, num_evals: Evaluations, num_nonfinite: Array
) -> Pool:
    """Pool of equally weighted points.

    Points of zero density stay, without weight, because shapes are fixed.
    """
    log_weight = jnp.where(jnp.isfinite(logdensity), 0.0, -jnp.inf).astype(position.dtype)
    log_weight = jnp.where(jnp.any(log_weight == 0), log_weight, jnp.zeros_like(log_weight))
    pool = fixed_pool(position, log_weight)
    return pool._replace(num_evals=num_evals, num_nonfinite=num_nonfinite)


def adapted_chains(
    rng_key: PRNGKey,
    move: Callable[[Array, PRNGKey, Any], tuple[Any, Any]],
    state: Any,
    step_size: Array,
    num_steps: int,
) -> tuple[Any, Array]:
    """Run chains with a step size each, adapted to the optimal acceptance rate of `mala`, 0.57.

    Args:
        rng_key: key.
        move: ``(step_sizes, keys, states) -> (states, infos)``: one step of all chains.
        state: of all chains, leading axis num_chains.
        step_size: first step sizes, shape (num_chains,).
        num_steps: of each chain.

    Returns:
        The states at the end, and the number of non-finite values met.
    """

    def body(carry: Any, key: PRNGKey) -> Any:
        state, step_size = carry
        state, info = move(step_size, jax.random.split(key, step_size.shape[0]), state)
        step_size = adapted(step_size, info.acceptance_rate, 0.57, 0.4)
        return (state, step_size), jnp.sum(info.num_nonfinite)

    keys = jax.random.split(rng_key, num_steps)
    (state, _), bad = jax.lax.scan(body, (state, step_size), keys)
    return state, jnp.sum(bad)


@record
class broad_chains:
    """Ends of MALA chains from a broad Gaussian start, each with its own step size.

    It is a `PoolGenerator`. It finds the modes whose basins the broad start touches, in the
    proportions of the basins.

    Args:
        num_chains: number of chains, the pool's size.
        num_steps: steps of each; ``num_steps + 1`` evaluations.
        factor: breadth of the start over the spread of the known points.
        first_step: first step size; adapted per chain to acceptance 0.57.
    """

    _: KW_ONLY
    num_chains: int
    num_steps: int = 100
    factor: float = 2.0
    first_step: float = 0.05

    def __call__(self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Pool) -> Pool:
        """Make the pool; the arguments are those of a `PoolGenerator`."""
        dim, dtype = known.position.shape[1], known.position.dtype
        start_key, scan_key = jax.random.split(rng_key)
        center, breadth = spread(known, self.factor)
        x = center[None, :] + breadth[None, :] * jax.random.normal(
            start_key, (self.num_chains, dim), dtype
        )
        state = jax.vmap(mala(logdensity_fn, 1.0).init)(x)
        step_size = jnp.full((self.num_chains,), self.first_step, dtype)

        def move(step_size: Array, keys: PRNGKey, state: Any) -> Any:
            return jax.vmap(lambda h, k, one: mala(logdensity_fn, h).step(k, one))(
                step_size, keys, state
            )

        first_bad = jnp.sum(~jnp.isfinite(state.logdensity), dtype=jnp.int32)
        state, bad = adapted_chains(scan_key, move, state, step_size, self.num_steps)
        count = jnp.asarray(self.num_chains * (self.num_steps + 1), jnp.int32)
        evals = Evaluations(count, count)
        return pool_of(state.position, state.logdensity, evals, first_bad + bad)


@record
class known_points:
    """The points that the pilot or the user already has, with their weights, at no cost.

    It is a `PoolGenerator` that evaluates nothing.
    """

    def __call__(self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Pool) -> Pool:
        """Make the pool; the arguments are those of a `PoolGenerator`."""
        return as_known(known)


@record
class union:
    """All points of several pools, which cover different regions; each keeps its weights.

    Points have the number of their generator (``source``), so that a run can tell which generator
    found which region.

    Args:
        generators: pool generators, each an argument of its own.

    It is a `PoolGenerator` itself.
    """

    generators: tuple[PoolGenerator, ...]

    def __init__(self, *generators: PoolGenerator) -> None:
        object.__setattr__(self, "generators", generators)

    def __repr__(self) -> str:
        return f"union({', '.join(map(as_code, self.generators))})"

    def __call__(self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Pool) -> Pool:
        """Make the pool; the arguments are those of a `PoolGenerator`."""
        keys = jax.random.split(rng_key, len(self.generators))
        pools = [
            one(key, logdensity_fn, known) for one, key in zip(self.generators, keys, strict=True)
        ]
        return Pool(
            jnp.concatenate([pool.position for pool in pools]),
            jnp.concatenate([pool.log_weight for pool in pools]),
            jax.tree.map(lambda *counts: sum(counts), *(pool.num_evals for pool in pools)),
            sum((pool.num_nonfinite for pool in pools), jnp.zeros((), jnp.int32)),
            jnp.concatenate([jnp.full_like(pool.source, k) for k, pool in enumerate(pools)]),
            jnp.zeros((), pools[0].position.dtype),
        )
