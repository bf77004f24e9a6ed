"""Markov chains on the denoising posterior of each particle."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..kernels import mala
from ..memo import memoised
from ..posterior import log_tilt
from ..resampling import systematic
from ..tilted import (
    Tilted,
    acceptance_of,
    adapted,
    evaluations_of,
    nonfinite_of,
    retarget,
    tilted_logdensity,
    to_position,
)
from ..types import (
    Array,
    Estimator,
    Evaluations,
    KernelFactory,
    LogDensityFn,
    Moments,
    Posterior,
    PRNGKey,
)
from .control_variate import ChainAverage, zero_variance
from .importance import propose
from .independent import independent


class ChainsState(NamedTuple):
    """The chains of one particle."""

    chain: Any  # kernel states, leading axis num_chains
    posterior: Posterior  # that they belong to
    step_size: Array  # () dimensionless
    spent: Evaluations  # by `init`, reported with the next update
    num_nonfinite: Array


class ChainStart(NamedTuple):
    """How the chains of a level begin: ``place(rng_key, logdensity_fn, make, new, state)``."""

    place: Callable[..., tuple[Any, Array, Evaluations, Array]]


def _local(posterior: Posterior) -> Tilted:
    # a standardised target has posterior standard deviations near s/√(1+s²): with this unit the
    # same dimensionless step suits all levels
    unit = posterior.scale / jnp.sqrt(1 + posterior.scale**2)
    return Tilted(lambda y: log_tilt(posterior, y), jnp.zeros_like(unit), unit)


def _no_evals() -> Evaluations:
    return Evaluations(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def _candidates(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    kernel: Any,
    posterior: Posterior,
    num_chains: int,
    num_candidates: int,
    reference_scale: float,
) -> tuple[Any, Array, Evaluations, Array]:
    propose_key, resample_key, init_key = jax.random.split(rng_key, 3)
    points = propose(propose_key, logdensity_fn, posterior, num_candidates, reference_scale)
    chosen = systematic(resample_key, points.log_weight, num_chains)
    local = _local(posterior)
    xi = (points.position[chosen] - local.shift) / local.unit
    chain = jax.vmap(kernel.init)(xi, jax.random.split(init_key, num_chains))
    has_gradient = hasattr(chain, "logdensity_grad")
    spent = Evaluations(
        jnp.asarray(num_candidates + num_chains, jnp.int32),
        jnp.asarray(num_chains if has_gradient else 0, jnp.int32),
    )
    share = jax.nn.softmax(points.log_weight)
    ess = jnp.where(jnp.any(points.log_weight > -jnp.inf), 1 / jnp.sum(share**2), 0.0)
    return chain, ess, spent, jnp.sum(~jnp.isfinite(points.logdensity))


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
        kernel: Any,
        posterior: Posterior,
        state: ChainsState,
        num_chains: int,
    ) -> tuple[Any, Array, Evaluations, Array]:
        return _candidates(
            rng_key,
            logdensity_fn,
            kernel,
            posterior,
            num_chains,
            num_candidates,
            reference_scale,
        )

    return ChainStart(place)


@memoised
def warm_start() -> ChainStart:
    """Begin where the previous level's chains ended, re-drawn for the new posterior.

    The two posteriors differ by their Gaussian factors only, so the weights
    ``N(y; c', s'²)/N(y; c, s²)`` that carry one to the other cost no evaluation.

    Returns:
        A `ChainStart`.

    Reference: Del Moral, Doucet, Jasra (2006), J. R. Statist. Soc. B 68, Section 3.3.
    """

    def place(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        kernel: Any,
        posterior: Posterior,
        state: ChainsState,
        num_chains: int,
    ) -> tuple[Any, Array, Evaluations, Array]:
        old, new = _local(state.posterior), _local(posterior)
        y = to_position(old, state.chain.position)
        log_weight = log_tilt(posterior, y) - log_tilt(state.posterior, y)
        chosen = systematic(rng_key, log_weight, num_chains)
        chain = jax.tree.map(lambda leaf: leaf[chosen], state.chain)
        share = jax.nn.softmax(log_weight)
        moved = jax.vmap(lambda one: retarget(one, old, new))(chain)
        return moved, 1 / jnp.sum(share**2), _no_evals(), jnp.zeros((), jnp.int32)

    return ChainStart(place)


@memoised
def chains(
    kernel: KernelFactory = mala,
    *,
    start: ChainStart | None = None,
    average: Callable[[Array, Array], ChainAverage] = zero_variance,
    num_chains: int = 16,
    num_steps: int = 2,
    num_start_steps: int = 50,
    num_candidates: int = 64,
    reference_scale: float = 2.0,
    step_size: float = 0.5,
    target_acceptance: float = 0.6,
) -> Estimator:
    """Estimate posterior moments by Markov chains, several per particle.

    Chains walk in units of ``s/√(1+s²)``, the posterior's width for a standardised target, so
    ``step_size`` is dimensionless; per particle it is adapted to ``target_acceptance`` and
    carried across the levels (kernels that accept everything keep it).

    Args:
        kernel: factory ``(logdensity_fn, step_size) -> kernel``, ours or blackjax's
            (``functools.partial`` binds further arguments).
        start: how each level begins; `warm_start()` by default, `importance_start()` in the
            paper.
        average: `zero_variance` (needs gradients) or `plain_average`.
        num_chains: chains per particle, at least 2 (their scatter is the standard error).
        num_steps: kernel steps per level, all of which enter the averages.
        num_start_steps: kernel steps before the first level.
        num_candidates: importance candidates for the first level.
        reference_scale: of those candidates, see `importance`.
        step_size: initial dimensionless step; squared length for Langevin kernels, length for
            those with momentum.
        target_acceptance: 0.57 is optimal for MALA, 0.65 for HMC.

    Returns:
        An `Estimator` of the ensemble. Chains do not change modes by themselves: where the
        particle's posterior has several, their proportions come from the start of the chains.

    Raises:
        ValueError: for fewer than two chains or one step.

    Reference: Huang et al. (2024), arXiv 2307.02037, Algorithm 2.
    """
    if num_chains < 2 or num_steps < 1:
        raise ValueError(
            f"chains needs num_chains >= 2 and num_steps >= 1, but got num_chains={num_chains}, "
            f"num_steps={num_steps}."
        )
    start = warm_start() if start is None else start

    def run(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        posterior: Posterior,
        chain: Any,
        step_size: Array,
        length: int,
    ) -> tuple[Any, Array, tuple[Array, Array], tuple[Array, Evaluations, Array]]:
        target = tilted_logdensity(logdensity_fn, _local(posterior))

        def body(carry: Any, key: PRNGKey) -> Any:
            chain, step_size = carry
            keys = jax.random.split(key, num_chains)
            chain, info = jax.vmap(kernel(target, step_size).step)(keys, chain)
            rate = jnp.mean(acceptance_of(info))
            gradient = getattr(chain, "logdensity_grad", jnp.zeros_like(chain.position))
            record = (
                rate,
                _per_chain_total(chain, info, num_chains),
                nonfinite_of(info),
            )
            step_size = adapted(step_size, rate, target_acceptance)
            return (chain, step_size), ((chain.position, gradient), record)

        keys = jax.random.split(rng_key, length)
        (chain, step_size), (samples, record) = jax.lax.scan(body, (chain, step_size), keys)
        rate, evals, bad = record
        totals = (jnp.mean(rate), Evaluations(*(jnp.sum(e) for e in evals)), jnp.sum(bad))
        return chain, step_size, samples, totals

    def init(rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior) -> ChainsState:
        place_key, run_key = jax.random.split(rng_key)
        step = jnp.asarray(step_size, posterior.center.dtype)
        make = kernel(tilted_logdensity(logdensity_fn, _local(posterior)), step)
        chain, _, spent, bad = _candidates(
            place_key, logdensity_fn, make, posterior, num_chains, num_candidates, reference_scale
        )
        chain, step, _, (_, more, more_bad) = run(
            run_key, logdensity_fn, posterior, chain, step, num_start_steps
        )
        total = jax.tree.map(jnp.add, spent, more)
        return ChainsState(chain, posterior, step, total, bad + more_bad)

    def update(
        rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, state: ChainsState
    ) -> tuple[Moments, ChainsState]:
        place_key, run_key = jax.random.split(rng_key)
        make = kernel(tilted_logdensity(logdensity_fn, _local(posterior)), state.step_size)
        chain, start_ess, spent, bad = start.place(
            place_key, logdensity_fn, make, posterior, state, num_chains
        )
        chain, step, (xi, gradient), (rate, evals, more_bad) = run(
            run_key, logdensity_fn, posterior, chain, state.step_size, num_steps
        )
        unit = _local(posterior).unit
        averaged = average(unit * xi, gradient / unit)
        # copies of few starting points are not independent chains
        ess = averaged.ess * jnp.clip(start_ess / num_chains, 1 / num_chains, 1.0)
        moments = Moments(
            mean=averaged.mean,
            variance=averaged.variance,
            ess=ess,
            standard_error=averaged.standard_error,
            log_marginal=jnp.full((), jnp.nan, unit.dtype),
            acceptance_rate=rate,
            num_evals=jax.tree.map(lambda *counts: sum(counts), state.spent, spent, evals),
            num_nonfinite=state.num_nonfinite + bad + more_bad,
        )
        nothing = jnp.zeros_like(state.num_nonfinite)
        return moments, ChainsState(chain, posterior, step, _no_evals(), nothing)

    def draw(rng_key: PRNGKey, state: ChainsState) -> Array:
        chosen = jax.random.randint(rng_key, (), 0, num_chains)
        return to_position(_local(state.posterior), state.chain.position[chosen])

    return independent(Estimator(init, update, draw))


def _per_chain_total(chain: Any, info: Any, num_chains: int) -> Evaluations:
    """Evaluations of one step of all chains, whether or not the kernel counts its own."""
    counted = evaluations_of(chain, info)
    if hasattr(info, "num_integration_steps"):
        return counted
    return jax.tree.map(lambda count: count * num_chains, counted)
