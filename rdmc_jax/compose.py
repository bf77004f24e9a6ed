"""Compose a start, levels and a finish into a method."""

import itertools
from typing import Any, NamedTuple

from .memo import memoised
from .processes import ornstein_uhlenbeck
from .sampler import bind_stages
from .transitions import moment_matched
from .types import (
    Estimator,
    Finish,
    Levels,
    LogDensityFn,
    Process,
    Sampler,
    Start,
    Transition,
)


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
    if len(times) < 1 or times[-1] < 0 or any(s >= t for t, s in itertools.pairwise(times)):
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
        return bind_stages(*self, logdensity_fn, data)


def rdmc(start: Start, levels: Levels, finish: Finish) -> Method:
    """Reverse diffusion Monte Carlo: compose a start, levels and a finish.

    Args:
        start: `gaussian`, `langevin`, `noised_pool`.
        levels: see `levels`.
        finish: `annealed`, `gaussian_finish`, `identity`.

    Returns:
        A `Method`. Equal compositions are equal objects, so they share compiled programs; a lambda
        or a `functools.partial` among the parts is equal to itself only, so make it once.

    Raises:
        ValueError: if the identity finish follows a start that stops at levels chosen by the
            particles (its weight would be biased), levels follow such a start, or a finish that
            needs noise follows a grid that ends at time 0.

    >>> import jax, jax.numpy as jnp, rdmc_jax
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
    if start.is_adaptive and levels.transition is not None:
        raise ValueError(
            "this start lets each particle stop at a level of its own, so no levels common to all "
            "can follow it. Use no_levels()."
        )
    if levels.transition is not None and levels.times[-1] == 0 and finish.needs_moments:
        raise ValueError(
            "this finish estimates the posterior at the last level, but the last time is 0, where "
            "no noise is left. End the grid earlier (time_grid(..., end=0.01)) or use identity()."
        )
    return Method(start, levels, finish)
