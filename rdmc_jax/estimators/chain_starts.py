"""Where the chains of a level begin: afresh from importance sampling, or where they were."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..memo import memoised
from ..posterior import column, log_tilt
from ..resampling import systematic
from ..tilted import Tilted, retarget, tilted_logdensity, to_position
from ..types import (
    Array,
    Evaluations,
    KernelFactory,
    LogDensityFn,
    Moments,
    Posterior,
    PRNGKey,
)
from .importance import propose

Unit = Callable[[Array], Array]
"""Length unit of the chains' coordinates as a function of the posterior's scale s."""


class ChainsState(NamedTuple):
    """The chains of one particle."""

    chain: Any  # kernel states, leading axis num_chains
    posterior: Posterior  # that they belong to
    step_size: Array  # ()
    num_updates: Array  # () levels done
    spent: Evaluations  # by `init`, reported with the next update
    num_nonfinite: Array


class SharedMoments(NamedTuple):
    """Moments of each posterior from the points of all particles, where these suffice."""

    mean: Array  # (num_particles, dim)
    variance: Array  # (num_particles, dim)
    ess: Array  # (num_particles,)
    is_enough: Array  # (num_particles,) whether to use them


def where_enough(shared: SharedMoments, own: Moments) -> Moments:
    """The shared moments where they suffice, else the particle's own."""
    enough = shared.is_enough
    error = jnp.sqrt(shared.variance / column(jnp.maximum(shared.ess, 1.0)))
    return own._replace(
        mean=jnp.where(column(enough), shared.mean, own.mean),
        variance=jnp.where(column(enough), shared.variance, own.variance),
        ess=jnp.where(enough, shared.ess, own.ess),
        standard_error=jnp.where(column(enough), error, own.standard_error),
    )


class Placed(NamedTuple):
    """Chains placed on posteriors; leading axis num_particles."""

    chain: Any  # and num_chains
    ess: Array  # of the weights they were chosen by, in chains
    num_evals: Evaluations
    num_nonfinite: Array
    shared: SharedMoments | None = None  # what all particles' points say about each posterior


class ChainStart(NamedTuple):
    """How the chains of a level begin, for the whole ensemble.

    ``place(rng_key, logdensity_fn, kernel, unit, posterior, state, num_chains) -> Placed`` with
    ``kernel`` a factory.
    """

    place: Callable[..., Placed]


def standardised_unit(scale: Array) -> Array:
    """``s/√(1+s²)``: the posterior's width for a standardised target.

    In this unit one dimensionless step size suits all levels.
    """
    return scale / jnp.sqrt(1 + scale**2)


def local(posterior: Posterior, unit: Unit) -> Tilted:
    """The posterior as a tilted target in its own unit."""
    length = unit(posterior.scale)
    return Tilted(lambda y: log_tilt(posterior, y), jnp.zeros_like(length), length)


def no_evals() -> Evaluations:
    """Zero evaluations as arrays."""
    return Evaluations(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def from_candidates(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    kernel: Any,
    unit: Unit,
    posterior: Posterior,
    num_chains: int,
    num_candidates: int,
    reference_scale: float,
) -> Placed:
    """Chains on importance-resampled proposals."""
    propose_key, resample_key, init_key = jax.random.split(rng_key, 3)
    points = propose(propose_key, logdensity_fn, posterior, num_candidates, reference_scale)
    chosen = systematic(resample_key, points.log_weight, num_chains)
    xi = points.position[chosen] / unit(posterior.scale)
    chain = jax.vmap(kernel.init)(xi, jax.random.split(init_key, num_chains))
    has_gradient = hasattr(chain, "logdensity_grad")
    spent = Evaluations(
        jnp.asarray(num_candidates + num_chains, jnp.int32),
        jnp.asarray(num_chains if has_gradient else 0, jnp.int32),
    )
    share = jax.nn.softmax(points.log_weight)
    any_mass = jnp.any(points.log_weight > -jnp.inf)
    ess = jnp.where(any_mass, 1 / jnp.sum(share**2), 0.0)
    bad = jnp.sum(~jnp.isfinite(points.logdensity), dtype=jnp.int32)
    return Placed(chain, ess, spent, bad)


@memoised
def importance_start(*, num_candidates: int = 64, reference_scale: float = math.inf) -> ChainStart:
    """Begin every level anew from importance-resampled proposals, as in the paper.

    Args:
        num_candidates: proposals per particle and level; one density evaluation each.
        reference_scale: see `importance`.

    Returns:
        A `ChainStart`.

    Reference: Huang et al. (2024), arXiv 2307.02037, Section 3.2 and Algorithm 2.
    """

    def place(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        kernel: KernelFactory,
        unit: Unit,
        posterior: Posterior,
        state: ChainsState,
        num_chains: int,
    ) -> Placed:
        def one(key: PRNGKey, own: Posterior, step: Array) -> Placed:
            made = kernel(tilted_logdensity(logdensity_fn, local(own, unit)), step)
            return from_candidates(
                key, logdensity_fn, made, unit, own, num_chains, num_candidates, reference_scale
            )

        keys = jax.random.split(rng_key, posterior.scale.shape[0])
        return jax.vmap(one)(keys, posterior, state.step_size)

    return ChainStart(place)


@memoised
def warm_start() -> ChainStart:
    """Begin where the previous level's chains ended, re-drawn for the new posterior.

    The two posteriors differ by their Gaussian factors only, so the weights
    ``N(y; c', s'²)/N(y; c, s²)`` that carry one to the other cost no evaluation.

    Returns:
        A `ChainStart`.

    Reference: Del Moral, Doucet, Jasra (2006), J. R. Statist. Soc. B 68.
    """

    def place(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        kernel: KernelFactory,
        unit: Unit,
        posterior: Posterior,
        state: ChainsState,
        num_chains: int,
    ) -> Placed:
        def one(key: PRNGKey, new_posterior: Posterior, own: ChainsState) -> Placed:
            old, new = local(own.posterior, unit), local(new_posterior, unit)
            y = to_position(old, own.chain.position)
            log_weight = log_tilt(new_posterior, y) - log_tilt(own.posterior, y)
            chosen = systematic(key, log_weight, num_chains)
            chain = jax.tree.map(lambda leaf: leaf[chosen], own.chain)
            share = jax.nn.softmax(log_weight)
            moved = jax.vmap(lambda chain: retarget(chain, old, new))(chain)
            return Placed(moved, 1 / jnp.sum(share**2), no_evals(), jnp.zeros((), jnp.int32))

        keys = jax.random.split(rng_key, posterior.scale.shape[0])
        return jax.vmap(one)(keys, posterior, state)

    return ChainStart(place)
