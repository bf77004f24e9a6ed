"""Markov chains on the denoising posterior of each particle: their steps and averages."""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...montecarlo.kernels import mala
from ...montecarlo.tilted import (
    acceptance_of,
    adapted,
    evaluations_of,
    nonfinite_of,
    tilted_logdensity,
    to_position,
)
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
from ..posterior import check_ensemble
from .batches import total_over_particles
from .chain_starts import (
    ChainsState,
    ChainStart,
    PlacedChains,
    Unit,
    from_candidates,
    from_last_level,
    local,
    standardised_unit,
    where_enough,
)


class ChainAverage(NamedTuple):
    """Mean and variance over chains, with the standard error of the mean."""

    mean: Array  # (dim,)
    variance: Array  # (dim,)
    standard_error: Array  # (dim,)
    ess: Array  # ()


def _between_chains(values: Array) -> tuple[Array, Array]:
    """Mean and its squared standard error from the scatter of the chains' own means."""
    chain_means = jnp.mean(values, axis=0)
    num_chains = chain_means.shape[0]
    return jnp.mean(chain_means, axis=0), jnp.var(chain_means, axis=0, ddof=1) / num_chains


def plain_average(positions: Array, gradients: Array) -> ChainAverage:
    """Mean over all steps of all chains.

    The standard error is the scatter between chains, so it needs no autocorrelation time, and
    the effective sample size is the variance over its square, pooled over the coordinates.

    Args:
        positions: shape (num_steps, num_chains, dim).
        gradients: ``∇log q`` there, same shape; not used.

    Returns:
        `ChainAverage`.

    >>> plain_average(jnp.array([[[0.0], [2.0]]]), jnp.zeros((1, 2, 1))).mean.tolist()
    [1.0]
    """
    mean, error2 = _between_chains(positions)
    variance = jnp.var(positions, axis=(0, 1))
    tiny = jnp.finfo(variance.dtype).tiny
    ess = jnp.mean(variance) / jnp.maximum(jnp.mean(error2), tiny)
    ess = jnp.clip(ess, 1.0, positions.shape[0] * positions.shape[1])
    return ChainAverage(mean, variance, jnp.sqrt(error2), ess)


def zero_variance(positions: Array, gradients: Array) -> ChainAverage:
    """Mean with the control variate ``E_q[∇log q] = 0``, coordinate by coordinate.

    ``m = mean(y) + C mean(g)``, ``C_i = -Cov(y_i, g_i)/Var(g_i)``, at least 0: exact for a
    Gaussian, where g is linear in y. It blends Tweedie's formula with the target-score identity.
    The variance and the effective sample size are those of the plain samples: the control variate
    reduces the error of the mean, not the error of the variance.

    Args:
        positions: shape (num_steps, num_chains, dim).
        gradients: ``∇log q`` of the posterior there, same shape.

    Returns:
        `ChainAverage`, with the standard error of the corrected mean.

    Reference: Mira, Solgi, Imparato (2013), Stat. Comput. 23 (linear trial function).
    """
    plain = plain_average(positions, gradients)
    y = positions - plain.mean[None, None, :]
    g = gradients - jnp.mean(gradients, axis=(0, 1), keepdims=True)
    tiny = jnp.finfo(y.dtype).tiny
    slope = -jnp.mean(y * g, axis=(0, 1)) / jnp.maximum(jnp.mean(g * g, axis=(0, 1)), tiny)
    corrected = positions + jnp.maximum(slope, 0.0)[None, None, :] * gradients
    mean, error2 = _between_chains(corrected)
    return plain._replace(mean=mean, standard_error=jnp.sqrt(error2))


class ChainRun(NamedTuple):
    """Chains under way."""

    chain: Any
    step_size: Array
    acceptance: Array  # sum over the steps
    num_evals: Evaluations
    num_nonfinite: Array


Advance = Callable[[PRNGKey, LogDensityFn, ChainRun], tuple[ChainRun, tuple[Array, Array]]]
"""``(rng_key, target, walk) -> (walk, (positions, gradients))``, both (num_chains, dim)."""


def chain_step(kernel: KernelFactory, num_chains: int, target_acceptance: float | None) -> Advance:
    """Make the function that moves all chains of a particle by one kernel step.

    Args:
        kernel: factory ``(logdensity_fn, step_size) -> kernel``.
        num_chains: of the particle.
        target_acceptance: rate to which the step size is adapted; None leaves it as it is.
    """

    def advance(
        key: PRNGKey, target: LogDensityFn, walk: ChainRun
    ) -> tuple[ChainRun, tuple[Array, Array]]:
        keys = jax.random.split(key, num_chains)
        chain, info = jax.vmap(kernel(target, walk.step_size).step)(keys, walk.chain)
        rate = jnp.mean(acceptance_of(info))
        new_step = walk.step_size
        if target_acceptance is not None:
            new_step = adapted(walk.step_size, rate, target_acceptance)
        gradient = getattr(chain, "logdensity_grad", jnp.zeros_like(chain.position))
        evals = evaluations_of(chain, info, num_chains)
        walk = ChainRun(
            chain,
            new_step,
            walk.acceptance + rate,
            jax.tree.map(jnp.add, walk.num_evals, evals),
            walk.num_nonfinite + nonfinite_of(info),
        )
        return walk, (chain.position, gradient)

    return advance


def run_and_keep(
    advance: Advance, rng_key: PRNGKey, target: LogDensityFn, walk: ChainRun, length: int
) -> tuple[ChainRun, tuple[Array, Array]]:
    """Run chains and keep all steps: positions and gradients, (length, num_chains, dim)."""
    keys = jax.random.split(rng_key, length)
    return jax.lax.scan(lambda walk, key: advance(key, target, walk), walk, keys)


def run_and_discard(
    advance: Advance, rng_key: PRNGKey, target: LogDensityFn, walk: ChainRun, length: Any
) -> ChainRun:
    """Run chains and keep only their last points; the number of steps may be an array."""

    def body(k: Array, walk: ChainRun) -> ChainRun:
        return advance(jax.random.fold_in(rng_key, k), target, walk)[0]

    return jax.lax.fori_loop(0, length, body, walk)


Schedule = Callable[[Array], Any]
"""Value at a level, counted from 0 at the noisiest; optax schedules are such functions."""


@record
class chains:
    """Estimate posterior moments by Markov chains, several per particle.

    Chains walk in units of ``s/√(1+s²)``, the posterior's width for a standardised target, so
    ``step_size`` is dimensionless. It is adapted to ``target_acceptance`` for each particle, and
    carried across the levels. Step sizes of unadjusted kernels, and schedules, are left unchanged.

    Args:
        kernel: factory ``(logdensity_fn, step_size) -> kernel``, ours or blackjax's
            (``functools.partial`` binds further arguments).
        begin: where the chains of each level begin; `from_last_level()` by default,
            `from_importance()` in the paper.
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

    It is an `Estimator` of the ensemble. Chains do not change modes by themselves: where the
    particle's posterior has several, their proportions come from where the chains begin. A draw is
    the point of one of the particle's chains.

    Raises:
        ValueError: for fewer than two chains or one step.

    >>> import dataclasses
    >>> dataclasses.replace(chains(num_steps=4), num_chains=64)
    chains(num_chains=64, num_steps=4)

    Reference: Huang et al. (2024), arXiv 2307.02037, Algorithm 2.
    """

    kernel: KernelFactory = mala
    _: KW_ONLY
    begin: ChainStart = from_last_level()
    average: Callable[[Array, Array], ChainAverage] = zero_variance
    num_chains: int = 16
    num_steps: int | Schedule = 2
    num_kept: int | None = None
    num_start_steps: int = 50
    num_candidates: int = 64
    reference_scale: float = 2.0
    step_size: float | Schedule = 0.5
    target_acceptance: float = 0.6
    unit: Unit = standardised_unit

    def __post_init__(self) -> None:
        is_too_short = not callable(self.num_steps) and self.num_steps < self._kept
        if self.num_chains < 2 or self._kept < 1 or is_too_short:
            raise ValueError(
                f"chains needs num_chains >= 2 and num_steps >= num_kept >= 1, but got "
                f"num_chains={self.num_chains}, num_steps={self.num_steps}, "
                f"num_kept={self.num_kept}."
            )

    @property
    def _kept(self) -> int:
        """Steps of a level that enter the averages."""
        return self.num_kept or (1 if callable(self.num_steps) else self.num_steps)

    def _advance(self) -> Advance:
        """One step of a particle's chains; schedules of the step size are left unchanged."""
        target = None if callable(self.step_size) else self.target_acceptance
        return chain_step(self.kernel, self.num_chains, target)

    def _step_at(self, level: Array, dtype: Any) -> Array:
        value = self.step_size(level) if callable(self.step_size) else self.step_size
        return jnp.asarray(value, dtype)

    def _init_one(
        self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior
    ) -> ChainsState:
        place_key, run_key = jax.random.split(rng_key)
        dtype = posterior.center.dtype
        step = self._step_at(jnp.zeros((), jnp.int32), dtype)
        target = tilted_logdensity(logdensity_fn, local(posterior, self.unit))
        placed = from_candidates(
            place_key,
            logdensity_fn,
            self.kernel(target, step),
            self.unit,
            posterior,
            self.num_chains,
            self.num_candidates,
            self.reference_scale,
        )
        walk = ChainRun(
            placed.chain, step, jnp.zeros((), dtype), placed.num_evals, placed.num_nonfinite
        )
        walk = run_and_discard(self._advance(), run_key, target, walk, self.num_start_steps)
        zero = jnp.zeros((), jnp.int32)
        return ChainsState(
            walk.chain, posterior, walk.step_size, zero, walk.num_evals, walk.num_nonfinite
        )

    def _update_one(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        posterior: Posterior,
        state: ChainsState,
        placed: PlacedChains,
    ) -> tuple[Moments, ChainsState]:
        discard_key, record_key = jax.random.split(rng_key)
        here = local(posterior, self.unit)
        target = tilted_logdensity(logdensity_fn, here)
        steps = self.num_steps(state.num_updates) if callable(self.num_steps) else self.num_steps
        length = jnp.maximum(jnp.asarray(steps, jnp.int32), self._kept)
        walk = ChainRun(
            placed.chain,
            state.step_size,
            jnp.zeros_like(state.step_size),
            jax.tree.map(jnp.add, state.spent, placed.num_evals),
            state.num_nonfinite + placed.num_nonfinite,
        )
        if callable(self.num_steps) or self.num_steps > self._kept:
            walk = run_and_discard(self._advance(), discard_key, target, walk, length - self._kept)
        walk, (xi, gradient) = run_and_keep(self._advance(), record_key, target, walk, self._kept)
        size = jnp.asarray(here.unit)
        averaged = self.average(size * xi, gradient / size)
        moments = Moments(
            mean=averaged.mean,
            variance=averaged.variance,
            # copies of few starting points are not independent chains
            ess=averaged.ess * jnp.clip(placed.ess / self.num_chains, 1 / self.num_chains, 1.0),
            standard_error=averaged.standard_error,
            log_marginal=jnp.full_like(state.step_size, jnp.nan),
            acceptance_rate=walk.acceptance / length,
            num_evals=walk.num_evals,
            num_nonfinite=walk.num_nonfinite,
        )
        zero = jnp.zeros_like(walk.num_nonfinite)
        return moments, ChainsState(
            walk.chain, posterior, walk.step_size, state.num_updates + 1, Evaluations.zero(), zero
        )

    def init(
        self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior
    ) -> ChainsState:
        """Chains on importance-resampled points, walked for ``num_start_steps``."""
        keys = jax.random.split(rng_key, posterior.scale.shape[0])
        return jax.vmap(lambda key, own: self._init_one(key, logdensity_fn, own))(keys, posterior)

    def update(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        posterior: Posterior,
        state: ChainsState,
    ) -> tuple[Moments, ChainsState]:
        """Place the chains on the level's posteriors, walk them, and average."""
        check_ensemble(posterior)
        place_key, walk_key = jax.random.split(rng_key)
        if callable(self.step_size):
            steps = jax.vmap(lambda level: self._step_at(level, posterior.center.dtype))
            state = state._replace(step_size=steps(state.num_updates))
        placed = self.begin.place(
            place_key, logdensity_fn, self.kernel, self.unit, posterior, state, self.num_chains
        )
        shared, placed = placed.shared, placed._replace(shared=None)
        keys = jax.random.split(walk_key, posterior.scale.shape[0])
        moments, state = jax.vmap(
            lambda key, own, old, here: self._update_one(key, logdensity_fn, own, old, here)
        )(keys, posterior, state, placed)
        if shared is not None:
            moments = where_enough(shared, moments)
        return total_over_particles(moments), state

    def _draw_one(self, rng_key: PRNGKey, state: ChainsState) -> Array:
        chosen = jax.random.randint(rng_key, (), 0, self.num_chains)
        return to_position(local(state.posterior, self.unit), state.chain.position[chosen])

    def draw(self, rng_key: PRNGKey, state: ChainsState) -> Array:
        """The point of one of each particle's chains."""
        return jax.vmap(self._draw_one)(jax.random.split(rng_key, state.step_size.shape[0]), state)
