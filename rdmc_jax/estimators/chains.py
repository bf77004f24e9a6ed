"""Markov chains on the denoising posterior of each particle."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..kernels import mala
from ..memo import memoised
from ..tilted import (
    tilted_logdensity,
    to_position,
)
from ..types import (
    Array,
    Estimator,
    KernelFactory,
    LogDensityFn,
    Moments,
    Posterior,
    PRNGKey,
)
from .chain_starts import (
    ChainsState,
    ChainStart,
    Placed,
    Unit,
    from_candidates,
    local,
    no_evals,
    standardised_unit,
    warm_start,
    where_enough,
)
from .control_variate import ChainAverage, zero_variance
from .independent import total_over_particles
from .walks import Walk, advancing, discard, record

Schedule = Callable[[Array], Any]
"""Value at a level, counted from 0 at the noisiest; optax schedules are such functions."""


@memoised
def chains(
    kernel: KernelFactory = mala,
    *,
    start: ChainStart | None = None,
    average: Callable[[Array, Array], ChainAverage] = zero_variance,
    num_chains: int = 16,
    num_steps: int | Schedule = 2,
    num_kept: int | None = None,
    num_start_steps: int = 50,
    num_candidates: int = 64,
    reference_scale: float = 2.0,
    step_size: float | Schedule = 0.5,
    target_acceptance: float = 0.6,
    unit: Unit = standardised_unit,
) -> Estimator:
    """Estimate posterior moments by Markov chains, several per particle.

    Chains walk in units of ``s/√(1+s²)``, the posterior's width for a standardised target, so
    ``step_size`` is dimensionless; per particle it is adapted to ``target_acceptance`` and
    carried across the levels. Unadjusted kernels, and schedules, are obeyed as they are.

    Args:
        kernel: factory ``(logdensity_fn, step_size) -> kernel``, ours or blackjax's
            (``functools.partial`` binds further arguments).
        start: how each level begins; `warm_start()` by default, `importance_start()` in the
            paper.
        average: `zero_variance` (needs gradients) or `plain_average`.
        num_chains: chains per particle, at least 2 (their scatter is the standard error).
        num_steps: kernel steps per level, or a schedule of them.
        num_kept: last steps that enter the averages; all by default, one for a schedule.
        num_start_steps: kernel steps before the first level.
        num_candidates: importance candidates for the first level.
        reference_scale: of those candidates, see `importance`.
        step_size: initial step in the chains' unit, or a schedule (of optax, for instance);
            squared length for Langevin kernels, length for those with momentum.
        target_acceptance: 0.57 is optimal for MALA, 0.65 for HMC.
        unit: length of the chains' unit as a function of s; ``jnp.ones_like`` for none.

    Returns:
        An `Estimator` of the ensemble. Chains do not change modes by themselves: where the
        particle's posterior has several, their proportions come from the start of the chains.

    Raises:
        ValueError: for fewer than two chains or one step.

    Reference: Huang et al. (2024), arXiv 2307.02037, Algorithm 2.
    """
    kept = num_kept or (1 if callable(num_steps) else num_steps)
    if num_chains < 2 or kept < 1 or (not callable(num_steps) and num_steps < kept):
        raise ValueError(
            f"chains needs num_chains >= 2 and num_steps >= num_kept >= 1, but got "
            f"num_chains={num_chains}, num_steps={num_steps}, num_kept={num_kept}."
        )
    begin = warm_start() if start is None else start

    # schedules of the step are obeyed as they are
    advance = advancing(kernel, num_chains, None if callable(step_size) else target_acceptance)

    def step_at(level: Array, dtype: Any) -> Array:
        return jnp.asarray(step_size(level) if callable(step_size) else step_size, dtype)

    def init_one(
        rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior
    ) -> ChainsState:
        place_key, run_key = jax.random.split(rng_key)
        dtype = posterior.center.dtype
        step = step_at(jnp.zeros((), jnp.int32), dtype)
        target = tilted_logdensity(logdensity_fn, local(posterior, unit))
        placed = from_candidates(
            place_key,
            logdensity_fn,
            kernel(target, step),
            unit,
            posterior,
            num_chains,
            num_candidates,
            reference_scale,
        )
        walk = Walk(
            placed.chain, step, jnp.zeros((), dtype), placed.num_evals, placed.num_nonfinite
        )
        walk = discard(advance, run_key, target, walk, num_start_steps)
        zero = jnp.zeros((), jnp.int32)
        return ChainsState(
            walk.chain, posterior, walk.step_size, zero, walk.num_evals, walk.num_nonfinite
        )

    def update_one(
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        posterior: Posterior,
        state: ChainsState,
        placed: Placed,
    ) -> tuple[Moments, ChainsState]:
        discard_key, record_key = jax.random.split(rng_key)
        here = local(posterior, unit)
        target = tilted_logdensity(logdensity_fn, here)
        steps = num_steps(state.num_updates) if callable(num_steps) else num_steps
        length = jnp.maximum(jnp.asarray(steps, jnp.int32), kept)
        walk = Walk(
            placed.chain,
            state.step_size,
            jnp.zeros_like(state.step_size),
            jax.tree.map(jnp.add, state.spent, placed.num_evals),
            state.num_nonfinite + placed.num_nonfinite,
        )
        if callable(num_steps) or num_steps > kept:
            walk = discard(advance, discard_key, target, walk, length - kept)
        walk, (xi, gradient) = record(advance, record_key, target, walk, kept)
        size = jnp.asarray(here.unit)
        averaged = average(size * xi, gradient / size)
        moments = Moments(
            mean=averaged.mean,
            variance=averaged.variance,
            # copies of few starting points are not independent chains
            ess=averaged.ess * jnp.clip(placed.ess / num_chains, 1 / num_chains, 1.0),
            standard_error=averaged.standard_error,
            log_marginal=jnp.full_like(state.step_size, jnp.nan),
            acceptance_rate=walk.acceptance / length,
            num_evals=walk.num_evals,
            num_nonfinite=walk.num_nonfinite,
        )
        zero = jnp.zeros_like(walk.num_nonfinite)
        return moments, ChainsState(
            walk.chain, posterior, walk.step_size, state.num_updates + 1, no_evals(), zero
        )

    def init(rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior) -> ChainsState:
        keys = jax.random.split(rng_key, posterior.scale.shape[0])
        return jax.vmap(lambda key, own: init_one(key, logdensity_fn, own))(keys, posterior)

    def update(
        rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, state: ChainsState
    ) -> tuple[Moments, ChainsState]:
        place_key, walk_key = jax.random.split(rng_key)
        if callable(step_size):
            steps = jax.vmap(lambda level: step_at(level, posterior.center.dtype))
            state = state._replace(step_size=steps(state.num_updates))
        placed = begin.place(place_key, logdensity_fn, kernel, unit, posterior, state, num_chains)
        shared, placed = placed.shared, placed._replace(shared=None)
        keys = jax.random.split(walk_key, posterior.scale.shape[0])
        moments, state = jax.vmap(
            lambda key, own, old, here: update_one(key, logdensity_fn, own, old, here)
        )(keys, posterior, state, placed)
        if shared is not None:
            moments = where_enough(shared, moments)
        return total_over_particles(moments), state

    def draw_one(rng_key: PRNGKey, state: ChainsState) -> Array:
        chosen = jax.random.randint(rng_key, (), 0, num_chains)
        return to_position(local(state.posterior, unit), state.chain.position[chosen])

    def draw(rng_key: PRNGKey, state: ChainsState) -> Array:
        return jax.vmap(draw_one)(jax.random.split(rng_key, state.step_size.shape[0]), state)

    def wider(factor: int) -> Estimator:
        return chains(
            kernel,
            start=start,
            average=average,
            num_chains=factor * num_chains,
            num_steps=num_steps,
            num_kept=num_kept,
            num_start_steps=num_start_steps,
            num_candidates=factor * num_candidates,
            reference_scale=reference_scale,
            step_size=step_size,
            target_acceptance=target_acceptance,
            unit=unit,
        )

    return Estimator(init, update, draw, wider)
