"""Start, levels and finish composed into one sampler with one exact weight.

``log w = log R̂ + Σ_levels [log F - log B] - log ρ(start)``: the finish's factor, the ratio of
forward and reverse kernel of every level, and the start's density. Its mean is the normalising
constant exactly, for any estimator inside the levels: the law of its randomness is a factor
of the proposal and of the extended target alike, and cancels.
"""

import itertools
from dataclasses import KW_ONLY
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..diffusion.posterior import posterior_at
from ..diffusion.processes import ornstein_uhlenbeck, variance_exploding
from ..diffusion.transitions import moment_matched, noise_kl
from ..pools.pool import fixed_pool
from ..target.flat import bind, flatten, ravel_ensemble
from ..types import (
    Array,
    ArrayTree,
    Estimator,
    Evaluations,
    Finish,
    FittedStart,
    Levels,
    LogDensityFn,
    Method,
    Moments,
    Pool,
    PoolGenerator,
    PRNGKey,
    Process,
    Sampler,
    Start,
    Transition,
    record,
)
from .finishes import annealed_finish
from .mixture import candidates


class SamplerState(NamedTuple):
    """The ensemble between two steps."""

    position: ArrayTree  # leading axis num_particles: noisy points, the draws after the finish
    log_weight: Array  # (num_particles,) nan from where the method has no density
    time: Array  # (num_particles,)
    num_done: Array  # () steps
    estimator: Any
    spent: Evaluations  # not yet reported
    num_nonfinite: Array  # not yet reported


class StepInfo(NamedTuple):
    """Record of one step: scalars."""

    log_snr: Array  # median over the particles
    ess_median: Array  # of the inner samples
    ess_low: Array  # 5 % quantile
    acceptance_rate: Array
    relative_error: Array  # standard error of the posterior mean over its standard deviation
    noise_kl: Array  # what the errors of the estimate add to the path's divergence, in nats
    num_evals: Evaluations
    num_nonfinite: Array


class _Moved(NamedTuple):
    """What a transition or a finish did."""

    position: ArrayTree
    time: Array
    log_ratio: Array
    acceptance_rate: Array
    noise_kl: Array
    num_evals: Evaluations
    num_nonfinite: Array


def bound(method: Method, logdensity_fn: LogDensityFn, data: Any) -> Sampler:
    """The sampler of a method on a density; see `rdmc`."""
    start, middle, finish = method.start, method.levels, method.finish
    # without levels particles are noised as a pool is, and stop at times that the start chooses
    process = variance_exploding() if middle is None else middle.process
    num_levels = 0 if middle is None else len(middle.times) - 1

    def one_of(state: SamplerState) -> ArrayTree:
        return jax.tree.map(lambda leaf: leaf[0], state.position)

    def init(
        position: ArrayTree, rng_key: PRNGKey | None = None, known: Pool | None = None
    ) -> SamplerState:
        if rng_key is None:
            raise ValueError(
                "rdmc draws its own start: call init(position, rng_key) with a key; position "
                "gives structure and dtype only."
            )
        flat = flatten(logdensity_fn, position, data)
        if known is None:
            known = fixed_pool(flat.position[None])
            if method.pool is not None:
                pool_key, rng_key = jax.random.split(rng_key)
                known = method.pool(pool_key, flat.logdensity_fn, known)
        start_key, estimator_key = jax.random.split(rng_key)
        time = 0.0 if middle is None else middle.times[0]
        drawn = start.sample(start_key, flat.logdensity_fn, process, time, known)
        unknown = jnp.full(drawn.time.shape, jnp.nan, flat.position.dtype)
        if middle is None:
            state = drawn.moments
        else:
            posterior = posterior_at(process, drawn.x, drawn.time)
            state = middle.estimator.init(estimator_key, flat.logdensity_fn, posterior)
        return SamplerState(
            position=jax.vmap(flat.unravel)(drawn.x),
            log_weight=unknown if drawn.log_density is None else -drawn.log_density,
            time=drawn.time,
            num_done=jnp.zeros((), jnp.int32),
            estimator=state,
            spent=_int32(drawn.num_evals),
            num_nonfinite=_int32(drawn.num_nonfinite),
        )

    def finish_step(rng_key: PRNGKey, state: SamplerState, moments: Moments | None) -> _Moved:
        flat = bind(logdensity_fn, one_of(state), data)
        x, t = ravel_ensemble(state.position), state.time
        end = finish.sample(rng_key, flat.logdensity_fn, process, x, t, moments)
        position = jax.vmap(flat.unravel)(end.position)
        return _Moved(
            position,
            jnp.zeros_like(t),
            end.log_weight,
            jnp.mean(end.acceptance_rate),
            jnp.full((), jnp.nan, t.dtype),
            _int32(end.num_evals),
            _int32(end.num_nonfinite),
        )

    def level_step(rng_key: PRNGKey, state: SamplerState, moments: Moments) -> _Moved:
        assert middle is not None
        draw_key, move_key = jax.random.split(rng_key)
        unravel = bind(logdensity_fn, one_of(state), data).unravel
        x, t = ravel_ensemble(state.position), state.time
        s = jnp.full_like(t, jnp.asarray(middle.times, t.dtype)[state.num_done + 1])
        needs_draw = getattr(middle.transition, "needs_draw", False)
        drawn = middle.estimator.draw(draw_key, state.estimator) if needs_draw else None
        new_x, log_ratio = middle.transition(move_key, process, x, t, s, moments, drawn)
        return _Moved(
            jax.vmap(unravel)(new_x),
            s,
            jnp.full_like(t, jnp.nan) if log_ratio is None else log_ratio,
            jnp.mean(moments.acceptance_rate),
            jnp.mean(noise_kl(process, t, s, moments)),
            _zeros_like(state.spent),
            jnp.zeros_like(state.num_nonfinite),
        )

    def estimate(rng_key: PRNGKey, state: SamplerState) -> tuple[Moments, Any]:
        if middle is None:
            return state.estimator, state.estimator  # the start knows the moments
        flat = bind(logdensity_fn, one_of(state), data)
        x = ravel_ensemble(state.position)
        posterior = posterior_at(process, x, state.time)
        return middle.estimator.update(rng_key, flat.logdensity_fn, posterior, state.estimator)

    def advance(
        state: SamplerState, moved: _Moved, moments: Moments | None, estimator_state: Any
    ) -> tuple[SamplerState, StepInfo]:
        info = _info(process, state, moved, moments)
        new = SamplerState(
            position=moved.position,
            log_weight=state.log_weight + moved.log_ratio,
            time=moved.time,
            num_done=state.num_done + 1,
            estimator=estimator_state,
            spent=_zeros_like(state.spent),
            num_nonfinite=jnp.zeros_like(state.num_nonfinite),
        )
        return new, info

    def blind_finish(rng_key: PRNGKey, state: SamplerState) -> tuple[SamplerState, StepInfo]:
        return advance(state, finish_step(rng_key, state, None), None, state.estimator)

    def informed(
        rng_key: PRNGKey, state: SamplerState, is_level: Array | bool
    ) -> tuple[SamplerState, StepInfo]:
        # the estimate is shared by both branches, so its program is compiled once
        update_key, move_key = jax.random.split(rng_key)
        moments, estimator_state = estimate(update_key, state)
        ready = state._replace(estimator=estimator_state)
        if is_level is False:
            moved = finish_step(move_key, ready, moments)
        elif is_level is True:
            moved = level_step(move_key, ready, moments)
        else:
            moved = jax.lax.cond(is_level, level_step, finish_step, move_key, ready, moments)
        return advance(state, moved, moments, estimator_state)

    def step(rng_key: PRNGKey, state: SamplerState) -> tuple[SamplerState, StepInfo]:
        if num_levels == 0:
            return (
                informed(rng_key, state, False)
                if finish.needs_moments
                else blind_finish(rng_key, state)
            )
        is_level = state.num_done < num_levels
        if finish.needs_moments:
            return informed(rng_key, state, is_level)
        return jax.lax.cond(
            is_level, lambda key, s: informed(key, s, True), blind_finish, rng_key, state
        )

    return Sampler(init, step, num_levels + 1)


def _int32(counts: Any) -> Any:
    # sums of integers widen under double precision, and both branches must agree
    return jax.tree.map(lambda count: jnp.asarray(count, jnp.int32), counts)


def _zeros_like(a: Evaluations) -> Evaluations:
    return jax.tree.map(jnp.zeros_like, a)


def _info(
    process: Process, state: SamplerState, moved: _Moved, moments: Moments | None
) -> StepInfo:
    log_snr = jnp.median(process.log_snr(state.time))
    none = jnp.full_like(log_snr, jnp.nan)
    spent = jax.tree.map(jnp.add, state.spent, moved.num_evals)
    bad = state.num_nonfinite + moved.num_nonfinite
    if not isinstance(moments, Moments):
        return StepInfo(log_snr, none, none, moved.acceptance_rate, none, none, spent, bad)
    relative = moments.standard_error**2 / jnp.maximum(moments.variance, 1e-30)
    return StepInfo(
        log_snr,
        jnp.median(moments.ess),
        jnp.quantile(moments.ess, 0.05),
        moved.acceptance_rate,
        jnp.median(jnp.sqrt(jnp.mean(relative, axis=-1))),
        moved.noise_kl,
        jax.tree.map(jnp.add, spent, _int32(moments.num_evals)),
        bad + _int32(moments.num_nonfinite),
    )


@record
class levels:
    """The middle stage: one transition between each two neighbours of ``times``.

    Args:
        times: decreasing, noise to data, from a grid function.
        estimator: of the posterior moments.
        transition: law of the next point.
        process: the noising process.

    Raises:
        ValueError: if the times do not decrease.
    """

    times: tuple[float, ...]
    estimator: Estimator
    transition: Transition = moment_matched()
    _: KW_ONLY
    process: Process = ornstein_uhlenbeck()

    def __post_init__(self) -> None:
        times = self.times
        if len(times) < 1 or times[-1] < 0 or any(s >= t for t, s in itertools.pairwise(times)):
            raise ValueError(
                f"levels needs decreasing times (noise to data), but got {times}. "
                "Make them with log_snr_grid or time_grid."
            )


@record
class rdmc:
    """Reverse diffusion Monte Carlo: a start, levels or none, a finish, and a pool.

    Equal compositions are equal records, so they share compiled programs. A lambda or a
    `functools.partial` among the parts is equal to itself only: create it once and reuse it.

    Args:
        start: `gaussian_start`, `langevin_start`, `noised_pool` or `mixture`.
        levels: see `levels`; None behind a start whose particles have levels of their own.
        finish: `annealed_finish`, `gaussian_finish` or `identity_finish`.
        pool: generator of the points that `noised_pool` starts from, made once for all ensembles
            of a replicate; None for the points of the pilot and the user.

    Raises:
        ValueError: if the start needs levels and there are none, or has its own and there are
            others; if `mixture` or `candidates` is without the other; if `identity_finish` follows
            a start with levels of its own (its weight would be biased), or a finish that needs
            noise follows a grid that ends at time 0.

    >>> import jax, jax.numpy as jnp, rdmc_jax
    >>> method = rdmc(
    ...     rdmc_jax.samplers.gaussian_start(num_particles=256),
    ...     levels(
    ...         rdmc_jax.diffusion.log_snr_grid(16),
    ...         rdmc_jax.estimators.importance(num_samples=32)),
    ...     rdmc_jax.samplers.gaussian_finish())
    >>> sampler = method(lambda x: -0.5 * jnp.sum((x - 1.0) ** 2) / 0.25)
    >>> state = sampler.init(jnp.zeros(1), jax.random.key(0))
    >>> state, info = jax.lax.scan(lambda s, k: sampler.step(k, s), state,
    ...                            jax.random.split(jax.random.key(1), sampler.num_steps))
    >>> state.position.shape
    (256, 1)
    >>> log_z = jax.nn.logsumexp(state.log_weight) - jnp.log(256)  # truth: log √(π/2) = 0.226
    >>> bool(abs(log_z - 0.226) < 0.1)
    True

    Reference: Huang et al. (2024), arXiv 2307.02037, Algorithm 1.
    """

    start: Start
    levels: Levels | None = None
    finish: Finish = annealed_finish()
    _: KW_ONLY
    pool: PoolGenerator | None = None

    def __post_init__(self) -> None:
        if (self.levels is None) != self.start.has_own_levels:
            name = type(self.start).__name__
            raise ValueError(
                f"{name} needs levels: pass levels(log_snr_grid(32), estimator)."
                if self.levels is None
                else f"{name} lets each particle stop at a level of its own, so no levels common "
                "to all can follow it. Leave them out: rdmc(start, finish=...)."
            )
        if isinstance(self.start, FittedStart) != isinstance(self.finish, candidates):
            raise ValueError(
                "mixture and candidates belong together, but got "
                f"{type(self.start).__name__} and {type(self.finish).__name__}. Pass both, or "
                "noised_pool(...) with annealed_finish()."
            )
        if self.levels is None and self.finish.needs_common_level:
            raise ValueError(
                "the identity finish needs one last level common to all particles, but this start "
                "lets each particle stop at its own: the weights would be biased. Use "
                "annealed_finish() or gaussian_finish()."
            )
        ends_at_0 = self.levels is not None and self.levels.times[-1] == 0
        if ends_at_0 and self.finish.needs_moments:
            raise ValueError(
                "this finish estimates the posterior at the last level, but the last time is 0, "
                "where no noise is left. End the grid earlier (time_grid(..., end=0.01)) or use "
                "identity_finish()."
            )

    def __call__(self, logdensity_fn: LogDensityFn, *, data: Any = None) -> Sampler:
        """Bind to a density.

        Args:
            logdensity_fn: log density of one point, in coordinates where the target has
                location 0 and scale 1 or so.
            data: passed to the density if it is not None.

        Returns:
            A `Sampler`; ``step`` must be called ``num_steps`` times, the last is the finish.
        """
        return bound(self, logdensity_fn, data)


def check_method(method: Any, max_evals: float | None, tolerance: float | None = None) -> None:
    """Check a method of the user's own.

    Raises:
        TypeError: if `rdmc` did not make it.
        ValueError: if it comes with a budget, and no tolerance that would spend it.
    """
    if method is not None and not isinstance(method, rdmc):
        raise TypeError(f"method must be made by rdmc(start, levels, finish), but got {method!r}.")
    if method is not None and max_evals is not None and tolerance is None:
        raise ValueError(
            f"max_evals={max_evals} scales the automatic choice and the sizes that a tolerance "
            "increases; the parts of your own method fix its cost. Leave one of the two out."
        )
