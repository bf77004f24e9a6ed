"""Start, levels and finish composed into one sampler with one exact weight.

``log w = log R̂ + Σ_levels [log F - log B] - log ρ(start)``: the finish's factor, the ratio of
forward and reverse kernel of every level, and the start's density. Its mean is the normalising
constant exactly, for any estimator inside the levels: the laws of all that is random in them
stand in the proposal and in the extended target alike, and cancel.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .border import flatten, ravel_ensemble
from .memo import memoised
from .posterior import column, posterior_at
from .processes import bridge_coefficients, ornstein_uhlenbeck
from .transitions import moment_matched
from .types import (
    Array,
    ArrayTree,
    Estimator,
    Evaluations,
    Finish,
    Levels,
    LogDensityFn,
    Moments,
    PRNGKey,
    Process,
    Sampler,
    Start,
    Transition,
)


class State(NamedTuple):
    """The ensemble between two steps."""

    position: ArrayTree  # leading axis num_particles: noisy points, the draws after the finish
    log_weight: Array  # (num_particles,) nan from where the method has no density
    time: Array  # (num_particles,)
    index: Array  # () steps done
    estimator: Any
    spent: Evaluations  # not yet reported
    num_nonfinite: Array  # not yet reported


class Info(NamedTuple):
    """Record of one step: scalars."""

    log_snr: Array  # median over the particles
    ess_median: Array  # of the inner samples
    ess_low: Array  # 5 % quantile
    acceptance_rate: Array
    relative_error: Array  # of the posterior mean, in standard deviations of the transition
    num_evals: Evaluations
    num_nonfinite: Array


@memoised
def levels(
    times: tuple[float, ...],
    estimator: Estimator,
    transition: Transition = moment_matched,
    *,
    process: Process | None = None,
) -> Levels:
    """The middle stage: one transition between each two neighbours of ``times``.

    Args:
        times: decreasing, noise to data, from a grid function.
        estimator: of the posterior moments.
        transition: law of the next point.
        process: the noising process; Ornstein-Uhlenbeck by default.

    Returns:
        `Levels`.

    Raises:
        ValueError: if the times do not decrease.
    """
    if len(times) < 1 or any(s >= t for t, s in zip(times, times[1:], strict=False)):
        raise ValueError(
            f"levels needs decreasing times (noise to data), but got {times}. "
            "Make them with log_snr_grid or time_grid."
        )
    process = ornstein_uhlenbeck() if process is None else process
    return Levels(process, tuple(times), estimator, transition)


class Method(NamedTuple):
    """A composition of the three stages; calling it binds it to a density."""

    start: Start
    levels: Levels
    finish: Finish

    def __call__(self, logdensity_fn: LogDensityFn, *, data: Any = None) -> Sampler:
        """Bind to a density.

        Args:
            logdensity_fn: log density of one point, in coordinates where the target has
                location 0 and scale 1 or so.
            data: passed to the density if it is not None.

        Returns:
            A `Sampler`; ``step`` must be called ``num_steps`` times, the last is the finish.
        """
        return _bind(self, logdensity_fn, data)


def rdmc(start: Start, levels: Levels, finish: Finish) -> Method:
    """Reverse diffusion Monte Carlo: compose a start, levels and a finish.

    Args:
        start: `gaussian`, `langevin`.
        levels: see `levels`.
        finish: `annealed`, `gaussian_finish`, `identity`.

    Returns:
        A `Method`. Equal compositions are equal objects, so they share compiled programs.

    Raises:
        ValueError: if the identity finish follows a start that stops at levels chosen by the
            particles: its weight would be biased.

    >>> import rdmc_jax
    >>> method = rdmc(
    ...     rdmc_jax.gaussian(num_particles=256),
    ...     levels(rdmc_jax.log_snr_grid(16), rdmc_jax.importance(num_samples=32)),
    ...     rdmc_jax.gaussian_finish())
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
    if start.is_adaptive and finish.needs_fixed_level:
        raise ValueError(
            "the identity finish needs one last level common to all particles, but this start "
            "lets each particle stop at its own: the weights would be biased. Use annealed() or "
            "gaussian_finish()."
        )
    return Method(start, levels, finish)


def _bind(method: Method, logdensity_fn: LogDensityFn, data: Any) -> Sampler:
    start, middle, finish = method
    process, times, estimator, transition = middle
    num_levels = len(times) - 1

    def one_of(state: State) -> ArrayTree:
        return jax.tree.map(lambda leaf: leaf[0], state.position)

    def init(
        position: ArrayTree, rng_key: PRNGKey | None = None, known: Array | None = None
    ) -> State:
        if rng_key is None:
            raise ValueError(
                "rdmc draws its own start: call init(position, rng_key) with a key; position "
                "gives structure and dtype only."
            )
        flat = flatten(logdensity_fn, position, data)
        start_key, estimator_key = jax.random.split(rng_key)
        dtype = flat.position.dtype
        known = flat.position[None] if known is None else known
        drawn = start.sample(start_key, flat.logdensity_fn, process, times[0], known)
        posterior = posterior_at(process, drawn.x, drawn.time)
        unknown = jnp.full(drawn.time.shape, jnp.nan, dtype)
        return State(
            position=jax.vmap(flat.unravel)(drawn.x),
            log_weight=unknown if drawn.log_density is None else -drawn.log_density,
            time=drawn.time,
            index=jnp.zeros((), jnp.int32),
            estimator=(
                drawn.moments
                if num_levels == 0 and drawn.moments is not None
                else estimator.init(estimator_key, flat.logdensity_fn, posterior)
            ),
            spent=drawn.num_evals,
            num_nonfinite=drawn.num_nonfinite,
        )

    def finish_step(rng_key: PRNGKey, state: State) -> tuple[State, Info]:
        flat = flatten(logdensity_fn, one_of(state), data)
        x, t = ravel_ensemble(state.position), state.time
        moments_key, finish_key = jax.random.split(rng_key)
        moments, estimator_state = None, state.estimator
        if finish.needs_moments:
            posterior = posterior_at(process, x, t)
            moments, estimator_state = estimator.update(
                moments_key, flat.logdensity_fn, posterior, estimator_state
            )
        end = finish.sample(finish_key, flat.logdensity_fn, process, x, t, moments)
        spent, bad = _add(state.spent, end.num_evals), state.num_nonfinite + end.num_nonfinite
        width = 1.0 if moments is None else jnp.sqrt(moments.variance)
        info = _info(process, t, moments, end.acceptance_rate, width, spent, bad)
        new = State(
            position=jax.vmap(flat.unravel)(end.position),
            log_weight=state.log_weight + end.log_weight,
            time=jnp.zeros_like(t),
            index=state.index + 1,
            estimator=estimator_state,
            spent=_zeros_like(state.spent),
            num_nonfinite=jnp.zeros_like(state.num_nonfinite),
        )
        return new, info

    def level_step(rng_key: PRNGKey, state: State) -> tuple[State, Info]:
        flat = flatten(logdensity_fn, one_of(state), data)
        x, t = ravel_ensemble(state.position), state.time
        s = jnp.full_like(t, jnp.asarray(times, t.dtype)[state.index + 1])
        update_key, draw_key, move_key = jax.random.split(rng_key, 3)
        posterior = posterior_at(process, x, t)
        moments, estimator_state = estimator.update(
            update_key, flat.logdensity_fn, posterior, state.estimator
        )
        drawn = estimator.draw(draw_key, estimator_state)
        new_x, log_ratio = transition(move_key, process, x, t, s, moments, drawn)
        bridge = bridge_coefficients(process, t, s)
        variance = bridge.variance / bridge.weight_y**2
        width = jnp.sqrt(column(variance) + moments.variance)
        info = _info(
            process, t, moments, moments.acceptance_rate, width, state.spent, state.num_nonfinite
        )
        new = State(
            position=jax.vmap(flat.unravel)(new_x),
            log_weight=state.log_weight + (jnp.nan if log_ratio is None else log_ratio),
            time=s,
            index=state.index + 1,
            estimator=estimator_state,
            spent=_zeros_like(state.spent),
            num_nonfinite=jnp.zeros_like(state.num_nonfinite),
        )
        return new, info

    def step(rng_key: PRNGKey, state: State) -> tuple[State, Info]:
        if num_levels == 0:
            return finish_step(rng_key, state)
        is_level = state.index < num_levels
        return jax.lax.cond(is_level, level_step, finish_step, rng_key, state)

    return Sampler(init, step, num_levels + 1)


def _add(a: Evaluations, b: Evaluations) -> Evaluations:
    return jax.tree.map(jnp.add, a, b)


def _zeros_like(a: Evaluations) -> Evaluations:
    return jax.tree.map(jnp.zeros_like, a)


def _info(
    process: Process,
    t: Array,
    moments: Moments | None,
    acceptance_rate: Array,
    width: Array | float,
    spent: Evaluations,
    num_nonfinite: Array,
) -> Info:
    log_snr = jnp.median(process.log_snr(t))
    none = jnp.full_like(log_snr, jnp.nan)
    ess_median, ess_low, error = none, none, none
    if moments is not None:
        spent, num_nonfinite = _add(spent, moments.num_evals), num_nonfinite + moments.num_nonfinite
        ess_median = jnp.median(moments.ess)
        ess_low = jnp.quantile(moments.ess, 0.05)
        error = jnp.median(jnp.sqrt(jnp.mean((moments.standard_error / width) ** 2, axis=-1)))
    rate = jnp.mean(acceptance_rate)
    return Info(log_snr, ess_median, ess_low, rate, error, spent, num_nonfinite)
