"""Start, levels and finish composed into one sampler with one exact weight.

``log w = log R̂ + Σ_levels [log F - log B] - log ρ(start)``: the finish's factor, the ratio of
forward and reverse kernel of every level, and the start's density. Its mean is the normalising
constant exactly, for any estimator inside the levels: the laws of all that is random in them
stand in the proposal and in the extended target alike, and cancel.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .border import bind, flatten, ravel_ensemble
from .pool import fixed_pool
from .posterior import posterior_at
from .transitions import moment_matched, noise_kl
from .types import (
    Array,
    ArrayTree,
    Evaluations,
    Finish,
    Levels,
    LogDensityFn,
    Moments,
    Pool,
    PRNGKey,
    Process,
    Sampler,
    Start,
)


class State(NamedTuple):
    """The ensemble between two steps."""

    position: ArrayTree  # leading axis num_particles: noisy points, the draws after the finish
    log_weight: Array  # (num_particles,) nan from where the method has no density
    time: Array  # (num_particles,)
    num_done: Array  # () steps
    estimator: Any
    spent: Evaluations  # not yet reported
    num_nonfinite: Array  # not yet reported


class Info(NamedTuple):
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


def bind_stages(
    start: Start, middle: Levels, finish: Finish, logdensity_fn: LogDensityFn, data: Any
) -> Sampler:
    """The sampler of three stages on a density; see `rdmc`."""
    process, times, estimator, move = middle
    transition = moment_matched if move is None else move  # None: there are no levels
    num_levels = len(times) - 1

    def one_of(state: State) -> ArrayTree:
        return jax.tree.map(lambda leaf: leaf[0], state.position)

    def init(
        position: ArrayTree, rng_key: PRNGKey | None = None, known: Pool | None = None
    ) -> State:
        if rng_key is None:
            raise ValueError(
                "rdmc draws its own start: call init(position, rng_key) with a key; position "
                "gives structure and dtype only."
            )
        flat = flatten(logdensity_fn, position, data)
        start_key, estimator_key = jax.random.split(rng_key)
        dtype = flat.position.dtype
        if known is None:
            known = fixed_pool(flat.position[None])
        drawn = start.sample(start_key, flat.logdensity_fn, process, times[0], known)
        posterior = posterior_at(process, drawn.x, drawn.time)
        unknown = jnp.full(drawn.time.shape, jnp.nan, dtype)
        return State(
            position=jax.vmap(flat.unravel)(drawn.x),
            log_weight=unknown if drawn.log_density is None else -drawn.log_density,
            time=drawn.time,
            num_done=jnp.zeros((), jnp.int32),
            estimator=(
                drawn.moments
                if num_levels == 0 and drawn.moments is not None
                else estimator.init(estimator_key, flat.logdensity_fn, posterior)
            ),
            spent=_int32(drawn.num_evals),
            num_nonfinite=_int32(drawn.num_nonfinite),
        )

    def finish_step(rng_key: PRNGKey, state: State, moments: Moments | None) -> _Moved:
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

    def level_step(rng_key: PRNGKey, state: State, moments: Moments) -> _Moved:
        draw_key, move_key = jax.random.split(rng_key)
        unravel = bind(logdensity_fn, one_of(state), data).unravel
        x, t = ravel_ensemble(state.position), state.time
        s = jnp.full_like(t, jnp.asarray(times, t.dtype)[state.num_done + 1])
        drawn = estimator.draw(draw_key, state.estimator)
        new_x, log_ratio = transition(move_key, process, x, t, s, moments, drawn)
        return _Moved(
            jax.vmap(unravel)(new_x),
            s,
            jnp.full_like(t, jnp.nan) if log_ratio is None else log_ratio,
            jnp.mean(moments.acceptance_rate),
            jnp.mean(noise_kl(process, t, s, moments)),
            _zeros_like(state.spent),
            jnp.zeros_like(state.num_nonfinite),
        )

    def estimate(rng_key: PRNGKey, state: State) -> tuple[Moments, Any]:
        flat = bind(logdensity_fn, one_of(state), data)
        x = ravel_ensemble(state.position)
        posterior = posterior_at(process, x, state.time)
        return estimator.update(rng_key, flat.logdensity_fn, posterior, state.estimator)

    def advance(
        state: State, moved: _Moved, moments: Moments | None, estimator_state: Any
    ) -> tuple[State, Info]:
        info = _info(process, state, moved, moments)
        new = State(
            position=moved.position,
            log_weight=state.log_weight + moved.log_ratio,
            time=moved.time,
            num_done=state.num_done + 1,
            estimator=estimator_state,
            spent=_zeros_like(state.spent),
            num_nonfinite=jnp.zeros_like(state.num_nonfinite),
        )
        return new, info

    def blind_finish(rng_key: PRNGKey, state: State) -> tuple[State, Info]:
        return advance(state, finish_step(rng_key, state, None), None, state.estimator)

    def informed(rng_key: PRNGKey, state: State, is_level: Array | bool) -> tuple[State, Info]:
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

    def step(rng_key: PRNGKey, state: State) -> tuple[State, Info]:
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


def _info(process: Process, state: State, moved: _Moved, moments: Moments | None) -> Info:
    log_snr = jnp.median(process.log_snr(state.time))
    none = jnp.full_like(log_snr, jnp.nan)
    spent = jax.tree.map(jnp.add, state.spent, moved.num_evals)
    bad = state.num_nonfinite + moved.num_nonfinite
    if moments is None:
        return Info(log_snr, none, none, moved.acceptance_rate, none, none, spent, bad)
    relative = moments.standard_error**2 / jnp.maximum(moments.variance, 1e-30)
    return Info(
        log_snr,
        jnp.median(moments.ess),
        jnp.quantile(moments.ess, 0.05),
        moved.acceptance_rate,
        jnp.median(jnp.sqrt(jnp.mean(relative, axis=-1))),
        moved.noise_kl,
        jax.tree.map(jnp.add, spent, _int32(moments.num_evals)),
        bad + _int32(moments.num_nonfinite),
    )
