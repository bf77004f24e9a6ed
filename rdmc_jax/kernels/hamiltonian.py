"""Kernels with momentum: underdamped Langevin and Hamiltonian Monte Carlo."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..types import Array, Kernel, LogDensityFn, PRNGKey
from .langevin import ChainInfo, ChainState, evaluate
from .metropolis import accept_or_keep


class MomentumState(NamedTuple):
    """A chain's position and momentum with the density's value and gradient at the position."""

    position: Array  # (dim,)
    logdensity: Array  # ()
    logdensity_grad: Array  # (dim,)
    momentum: Array  # (dim,)


def _leapfrog(logdensity_fn: LogDensityFn, state: MomentumState, step_size: Array) -> MomentumState:
    half = state.momentum + 0.5 * step_size * state.logdensity_grad
    new = evaluate(logdensity_fn, state.position + step_size * half)
    return MomentumState(*new, momentum=half + 0.5 * step_size * new.logdensity_grad)


def uld(logdensity_fn: LogDensityFn, step_size: Array | float, *, friction: float = 1.0) -> Kernel:
    """Underdamped Langevin by the splitting OBABO, unadjusted, unit mass.

    Momentum is half refreshed, ``p ← e^{-γε/2} p + √(1 - e^{-γε}) ξ``, before and after one
    leapfrog step of length ε.

    Args:
        logdensity_fn: log density of one point of shape (dim,).
        step_size: ε, in units of the position (not squared, unlike `ula`).
        friction: γ, in inverse units of the time of the dynamics.

    Returns:
        A `Kernel` whose momentum lives on between steps. One evaluation per step. Not for cases
        where a bias of order ε² matters and no weights repair it: use `hmc`.

    Reference: Bussi and Parrinello (2007), Phys. Rev. E 75, 056707.
    """

    def init(position: Array, rng_key: PRNGKey | None = None) -> MomentumState:
        state = evaluate(logdensity_fn, position)
        if rng_key is None:
            return MomentumState(*state, momentum=jnp.zeros_like(position))
        noise = jax.random.normal(rng_key, position.shape, position.dtype)
        return MomentumState(*state, momentum=noise)

    def step(rng_key: PRNGKey, state: MomentumState) -> tuple[MomentumState, ChainInfo]:
        epsilon = jnp.asarray(step_size)
        keep = jnp.exp(-0.5 * friction * epsilon)
        spread = jnp.sqrt(-jnp.expm1(-friction * epsilon))
        noise = jax.random.normal(rng_key, (2, *state.position.shape), state.position.dtype)
        before = state._replace(momentum=keep * state.momentum + spread * noise[0])
        moved = _leapfrog(logdensity_fn, before, epsilon)
        is_finite = jnp.isfinite(moved.logdensity)
        # as in ula, zero density is not entered; the momentum turns round
        turned = before._replace(momentum=-before.momentum)
        new = jax.tree.map(lambda a, b: jnp.where(is_finite, a, b), moved, turned)
        new = new._replace(momentum=keep * new.momentum + spread * noise[1])
        rate = jnp.full((), jnp.nan, state.position.dtype)
        return new, ChainInfo(rate, jnp.asarray(1), jnp.asarray(~is_finite, jnp.int32))

    return Kernel(init, step)


def hmc(
    logdensity_fn: LogDensityFn, step_size: Array | float, *, num_integration_steps: int = 4
) -> Kernel:
    """Hamiltonian Monte Carlo with leapfrog steps, unit mass and a fresh momentum each time.

    Args:
        logdensity_fn: log density of one point of shape (dim,).
        step_size: ε, in units of the position; optimal acceptance is near 0.65.
        num_integration_steps: leapfrog steps, one evaluation each.

    Returns:
        A `Kernel`.

    >>> kernel = hmc(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> state, info = kernel.step(jax.random.key(0), kernel.init(jnp.zeros(3)))
    >>> int(info.num_integration_steps)
    4

    Reference: Neal (2011), Handbook of Markov Chain Monte Carlo, Chapter 5, Section 5.3.
    """

    def init(position: Array, rng_key: PRNGKey | None = None) -> ChainState:
        return evaluate(logdensity_fn, position)

    def step(rng_key: PRNGKey, state: ChainState) -> tuple[ChainState, ChainInfo]:
        momentum_key, accept_key = jax.random.split(rng_key)
        momentum = jax.random.normal(momentum_key, state.position.shape, state.position.dtype)
        start = MomentumState(*state, momentum=momentum)

        def body(current: MomentumState, _: None) -> tuple[MomentumState, Array]:
            new = _leapfrog(logdensity_fn, current, jnp.asarray(step_size))
            return new, ~jnp.isfinite(new.logdensity)

        end, bad = jax.lax.scan(body, start, None, length=num_integration_steps)
        log_ratio = (
            end.logdensity
            - start.logdensity
            + 0.5 * jnp.sum(start.momentum**2)
            - 0.5 * jnp.sum(end.momentum**2)
        )
        proposal = ChainState(end.position, end.logdensity, end.logdensity_grad)
        new, rate = accept_or_keep(accept_key, state, proposal, log_ratio)
        num_bad = jnp.sum(bad, dtype=jnp.int32)
        return new, ChainInfo(rate, jnp.asarray(num_integration_steps), num_bad)

    return Kernel(init, step)
