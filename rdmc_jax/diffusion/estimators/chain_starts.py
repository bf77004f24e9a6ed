"""Where the chains of a level begin: at proposals, at their own points, or at all particles'."""

import math
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ...montecarlo.resampling import effective_size, systematic
from ...montecarlo.tilted import Tilted, retarget, tilted_logdensity, to_position
from ...types import (
    Array,
    Evaluations,
    KernelFactory,
    LogDensityFn,
    Moments,
    Posterior,
    PRNGKey,
    record,
)
from ..kde import average_of
from ..posterior import as_column, log_tilt
from .importance import ROWS_AT_ONCE, propose

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
    error = jnp.sqrt(shared.variance / as_column(jnp.maximum(shared.ess, 1.0)))
    return own._replace(
        mean=jnp.where(as_column(enough), shared.mean, own.mean),
        variance=jnp.where(as_column(enough), shared.variance, own.variance),
        ess=jnp.where(enough, shared.ess, own.ess),
        standard_error=jnp.where(as_column(enough), error, own.standard_error),
    )


class PlacedChains(NamedTuple):
    """Chains placed on posteriors; leading axis num_particles."""

    chain: Any  # and num_chains
    ess: Array  # of the weights they were chosen by, in chains
    num_evals: Evaluations
    num_nonfinite: Array
    shared: SharedMoments | None = None  # each posterior's, from all particles' points


class ChainStart(Protocol):
    """How the chains of a level begin, for the whole ensemble."""

    def place(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        kernel: KernelFactory,
        unit: Unit,
        posterior: Posterior,
        state: ChainsState,
        num_chains: int,
        /,
    ) -> PlacedChains:
        """Place ``num_chains`` chains on each posterior; ``state`` is of the level before."""


def standardised_unit(scale: Array) -> Array:
    """``s/√(1+s²)``: the posterior's width for a standardised target.

    In this unit one dimensionless step size suits all levels.
    """
    return scale / jnp.sqrt(1 + scale**2)


def local(posterior: Posterior, unit: Unit) -> Tilted:
    """The posterior as a tilted target in its own unit."""
    length = unit(posterior.scale)
    return Tilted(lambda y: log_tilt(posterior, y), jnp.zeros_like(length), length)


def from_candidates(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    kernel: Any,
    unit: Unit,
    posterior: Posterior,
    num_chains: int,
    num_candidates: int,
    reference_scale: float,
) -> PlacedChains:
    """Place chains on importance-resampled proposals."""
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
    ess = effective_size(points.log_weight)
    bad = jnp.sum(~jnp.isfinite(points.logdensity), dtype=jnp.int32)
    return PlacedChains(chain, ess, spent, bad)


@record
class from_importance:
    """Begin every level anew from importance-resampled proposals, as in the paper.

    Args:
        num_candidates: proposals per particle and level; one density evaluation each.
        reference_scale: see `importance`.

    It is a `ChainStart`, for the ``begin`` of `chains`.

    Reference: Huang et al. (2024), arXiv 2307.02037, Section 3.2 and Algorithm 2.
    """

    _: KW_ONLY
    num_candidates: int = 64
    reference_scale: float = math.inf

    def place(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        kernel: KernelFactory,
        unit: Unit,
        posterior: Posterior,
        state: ChainsState,
        num_chains: int,
    ) -> PlacedChains:
        """Place the chains; the arguments are those of a `ChainStart`."""

        def one(key: PRNGKey, own: Posterior, step: Array) -> PlacedChains:
            made = kernel(tilted_logdensity(logdensity_fn, local(own, unit)), step)
            return from_candidates(
                key,
                logdensity_fn,
                made,
                unit,
                own,
                num_chains,
                self.num_candidates,
                self.reference_scale,
            )

        keys = jax.random.split(rng_key, posterior.scale.shape[0])
        return jax.vmap(one)(keys, posterior, state.step_size)


@record
class from_last_level:
    """Begin where the previous level's chains ended, re-drawn for the new posterior.

    The two posteriors differ by their Gaussian factors only, so the weights
    ``N(y; c', s'²)/N(y; c, s²)`` from the old to the new one cost no evaluation.

    It is a `ChainStart`, for the ``begin`` of `chains`.

    Reference: Del Moral, Doucet, Jasra (2006), J. R. Statist. Soc. B 68.
    """

    def place(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        kernel: KernelFactory,
        unit: Unit,
        posterior: Posterior,
        state: ChainsState,
        num_chains: int,
    ) -> PlacedChains:
        """Place the chains; the arguments are those of a `ChainStart`."""

        def one(key: PRNGKey, new_posterior: Posterior, own: ChainsState) -> PlacedChains:
            old, new = local(own.posterior, unit), local(new_posterior, unit)
            y = to_position(old, own.chain.position)
            log_weight = log_tilt(new_posterior, y) - log_tilt(own.posterior, y)
            chosen = systematic(key, log_weight, num_chains)
            chain = jax.tree.map(lambda leaf: leaf[chosen], own.chain)
            moved = jax.vmap(lambda chain: retarget(chain, old, new))(chain)
            ess = effective_size(log_weight)
            return PlacedChains(moved, ess, Evaluations.zero(), jnp.zeros((), jnp.int32))

        keys = jax.random.split(rng_key, posterior.scale.shape[0])
        return jax.vmap(one)(keys, posterior, state)


@record
class from_all_particles:
    """Re-draw every particle's chains from the chains of all particles.

    Together the chains of all particles are draws of the target (each particle is a noised draw,
    its chains are draws of what it came from), so ``N(x_i; αy, σ²)`` weights them for particle i
    at no cost. While the effective number of points stays above ``threshold`` their weighted
    moments are used too. Below it, late and in many dimensions, the particle keeps to its own
    chains. Wrong mode proportions of the pool give coherent scores of the re-weighted target,
    which the path weights repair.

    Args:
        threshold: effective number of points from which on those of all particles are used.

    It is a `ChainStart`, for the ``begin`` of `chains`.
    """

    _: KW_ONLY
    threshold: float = 32.0

    def place(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        kernel: KernelFactory,
        unit: Unit,
        posterior: Posterior,
        state: ChainsState,
        num_chains: int,
    ) -> PlacedChains:
        """Place the chains; the arguments are those of a `ChainStart`."""
        num_particles, dim = posterior.center.shape
        y = jax.vmap(lambda own: to_position(local(own.posterior, unit), own.chain.position))(state)
        points = y.reshape(-1, dim)

        def row(
            args: tuple[Posterior, Posterior, Array, PRNGKey],
        ) -> tuple[Array, Array, Array, Array, Array]:
            own, before, index, key = args
            shared_key, own_key = jax.random.split(key)
            log_weight = log_tilt(own, points)
            found = average_of(log_weight, points)
            mine = y[index]
            own_weight = log_tilt(own, mine) - log_tilt(before, mine)
            from_all = systematic(shared_key, log_weight, num_chains)
            from_own = index * num_chains + systematic(own_key, own_weight, num_chains)
            is_enough = found.ess >= self.threshold
            chosen = jnp.where(is_enough, from_all, from_own)
            own_ess = jnp.where(is_enough, num_chains, effective_size(own_weight))
            return found.mean, found.variance, found.ess, chosen, own_ess

        keys = jax.random.split(rng_key, num_particles)
        index = jnp.arange(num_particles)
        mean, variance, ess, chosen, own_ess = jax.lax.map(
            row, (posterior, state.posterior, index, keys), batch_size=ROWS_AT_ONCE
        )
        merged = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), state.chain)
        chain = jax.tree.map(lambda leaf: leaf[chosen], merged)
        source = jax.tree.map(lambda leaf: leaf[chosen // num_chains], state.posterior)

        def move(one: object, old: Posterior, new: Posterior) -> object:
            return retarget(one, local(old, unit), local(new, unit))

        moved = jax.vmap(
            lambda chains, olds, new: jax.vmap(lambda one, old: move(one, old, new))(chains, olds)
        )(chain, source, posterior)
        each = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, ess.shape), Evaluations.zero())
        shared = SharedMoments(mean, variance, ess, ess >= self.threshold)
        return PlacedChains(moved, own_ess, each, jnp.zeros(ess.shape, jnp.int32), shared)
