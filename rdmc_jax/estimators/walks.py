"""Kernel steps of all chains of one particle."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..tilted import acceptance_of, adapted, evaluations_of, nonfinite_of
from ..types import Array, Evaluations, KernelFactory, LogDensityFn, PRNGKey


class Walk(NamedTuple):
    """Chains under way."""

    chain: Any
    step_size: Array
    acceptance: Array  # sum over the steps
    num_evals: Evaluations
    num_nonfinite: Array


Advance = Callable[[PRNGKey, LogDensityFn, Walk], tuple[Walk, tuple[Array, Array]]]
"""``(rng_key, target, walk) -> (walk, (positions, gradients))``, both (num_chains, dim)."""


def advancing(kernel: KernelFactory, num_chains: int, target_acceptance: float | None) -> Advance:
    """One kernel step of all chains of a particle.

    Args:
        kernel: factory ``(logdensity_fn, step_size) -> kernel``.
        num_chains: of the particle.
        target_acceptance: to which the step is adapted; None leaves it as it is.
    """

    def advance(key: PRNGKey, target: LogDensityFn, walk: Walk) -> tuple[Walk, tuple[Array, Array]]:
        keys = jax.random.split(key, num_chains)
        chain, info = jax.vmap(kernel(target, walk.step_size).step)(keys, walk.chain)
        rate = jnp.mean(acceptance_of(info))
        new_step = walk.step_size
        if target_acceptance is not None:
            new_step = adapted(walk.step_size, rate, target_acceptance)
        gradient = getattr(chain, "logdensity_grad", jnp.zeros_like(chain.position))
        evals = evaluations_of(chain, info, num_chains)
        walk = Walk(
            chain,
            new_step,
            walk.acceptance + rate,
            jax.tree.map(jnp.add, walk.num_evals, evals),
            walk.num_nonfinite + nonfinite_of(info),
        )
        return walk, (chain.position, gradient)

    return advance


def record(
    advance: Advance, rng_key: PRNGKey, target: LogDensityFn, walk: Walk, length: int
) -> tuple[Walk, tuple[Array, Array]]:
    """Steps that are kept: positions and gradients, (length, num_chains, dim)."""
    keys = jax.random.split(rng_key, length)
    return jax.lax.scan(lambda walk, key: advance(key, target, walk), walk, keys)


def discard(
    advance: Advance, rng_key: PRNGKey, target: LogDensityFn, walk: Walk, length: Any
) -> Walk:
    """Steps of which only the last point is kept; their number may be an array."""

    def body(k: Array, walk: Walk) -> Walk:
        return advance(jax.random.fold_in(rng_key, k), target, walk)[0]

    return jax.lax.fori_loop(0, length, body, walk)
