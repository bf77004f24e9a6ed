"""Markov kernels for one chain, with the calling convention of blackjax.

Overdamped Langevin (unadjusted and Metropolis-adjusted), random walks for densities without a
gradient, and kernels with momentum: underdamped Langevin and Hamiltonian Monte Carlo.
"""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from ..types import Array, Kernel, LogDensityFn, PRNGKey

State = TypeVar("State")


def accept_or_keep(
    rng_key: PRNGKey, state: State, proposal: State, log_ratio: Array
) -> tuple[State, Array]:
    """The proposal with probability ``min(1, exp(log_ratio))``, else the state.

    A ratio that is nan rejects; +inf accepts, so that a chain that starts where the density is
    zero takes any proposal of positive density.

    Args:
        rng_key: key.
        state: where the chain is.
        proposal: of the same structure.
        log_ratio: log of the Metropolis-Hastings ratio, a scalar.

    Returns:
        The next state and the probability of acceptance.
    """
    rate = jnp.where(jnp.isnan(log_ratio), 0.0, jnp.exp(jnp.minimum(log_ratio, 0.0)))
    is_accepted = jax.random.uniform(rng_key, (), log_ratio.dtype) < rate
    return jax.tree.map(lambda a, b: jnp.where(is_accepted, a, b), proposal, state), rate


class ChainState(NamedTuple):
    """Position of a chain with the density's value and gradient there."""

    position: Array  # (dim,)
    logdensity: Array  # ()
    logdensity_grad: Array  # (dim,)


class ChainInfo(NamedTuple):
    """What happened in one step of a chain."""

    acceptance_rate: Array  # nan for unadjusted kernels
    num_integration_steps: Array  # value-and-gradient evaluations
    num_nonfinite: Array


def evaluate(logdensity_fn: LogDensityFn, position: Array) -> ChainState:
    """State of a chain at ``position``: one value-and-gradient evaluation."""
    return ChainState(position, *jax.value_and_grad(logdensity_fn)(position))


def _drift(state: ChainState, step_size: Array, noise: Array) -> Array:
    return state.position + step_size * state.logdensity_grad + jnp.sqrt(2 * step_size) * noise


def ula(logdensity_fn: LogDensityFn, step_size: Array | float) -> Kernel:
    """Unadjusted Langevin: ``y' = y + h ∇log q(y) + √(2h) ξ``.

    A proposal of zero density is not entered: the gradient there says nothing.

    Args:
        logdensity_fn: log density of one point of shape (dim,).
        step_size: h, in squared units of the position.

    Returns:
        A `Kernel`. One evaluation per step. Do not use it where the bias of order h matters and
        no weights repair it: `mala` costs the same.

    >>> kernel = ula(lambda x: -0.5 * jnp.sum(x**2), 0.1)
    >>> state, info = kernel.step(jax.random.key(0), kernel.init(jnp.zeros(3)))
    >>> state.position.shape
    (3,)

    Reference: Roberts and Tweedie (1996), Bernoulli 2, Eq. (2).
    """

    def init(position: Array, rng_key: PRNGKey | None = None) -> ChainState:
        return evaluate(logdensity_fn, position)

    def step(rng_key: PRNGKey, state: ChainState) -> tuple[ChainState, ChainInfo]:
        noise = jax.random.normal(rng_key, state.position.shape, state.position.dtype)
        proposal = evaluate(logdensity_fn, _drift(state, jnp.asarray(step_size), noise))
        is_finite = jnp.isfinite(proposal.logdensity)
        new = jax.tree.map(lambda a, b: jnp.where(is_finite, a, b), proposal, state)
        rate = jnp.full((), jnp.nan, state.position.dtype)
        return new, ChainInfo(rate, jnp.asarray(1), jnp.asarray(~is_finite, jnp.int32))

    return Kernel(init, step)


def mala(logdensity_fn: LogDensityFn, step_size: Array | float) -> Kernel:
    """Metropolis-adjusted Langevin: the step of `ula` as a proposal, accepted or rejected.

    ``log a = log q(y')/q(y) + (‖y' - y - h∇log q(y)‖² - ‖y - y' - h∇log q(y')‖²)/(4h)``

    Args:
        logdensity_fn: log density of one point of shape (dim,).
        step_size: h, in squared units of the position; optimal acceptance is near 0.57.

    Returns:
        A `Kernel`. One evaluation per step: value and gradient are kept in the state.

    >>> kernel = mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> state, info = kernel.step(jax.random.key(0), kernel.init(jnp.zeros(3)))
    >>> bool(0 <= info.acceptance_rate <= 1)
    True

    Reference: Roberts and Tweedie (1996), Bernoulli 2, Section 1.4.
    """

    def init(position: Array, rng_key: PRNGKey | None = None) -> ChainState:
        return evaluate(logdensity_fn, position)

    def step(rng_key: PRNGKey, state: ChainState) -> tuple[ChainState, ChainInfo]:
        h = jnp.asarray(step_size)
        noise_key, accept_key = jax.random.split(rng_key)
        noise = jax.random.normal(noise_key, state.position.shape, state.position.dtype)
        proposal = evaluate(logdensity_fn, _drift(state, h, noise))
        back = state.position - proposal.position - h * proposal.logdensity_grad
        log_ratio = (
            proposal.logdensity
            - state.logdensity
            + 0.5 * jnp.sum(noise**2)
            - jnp.sum(back**2) / (4 * h)
        )
        new, rate = accept_or_keep(accept_key, state, proposal, log_ratio)
        is_nonfinite = ~jnp.isfinite(proposal.logdensity)
        return new, ChainInfo(rate, jnp.asarray(1), jnp.asarray(is_nonfinite, jnp.int32))

    return Kernel(init, step)


class WalkState(NamedTuple):
    """Position of a chain with the density's value there."""

    position: Array  # (dim,)
    logdensity: Array  # ()


def random_walk(logdensity_fn: LogDensityFn, step_size: Array | float) -> Kernel:
    """Random-walk Metropolis: ``y' = y + √(2h) ξ``, accepted with ``min(1, q(y')/q(y))``.

    Args:
        logdensity_fn: log density of one point of shape (dim,); no gradient is taken.
        step_size: h, in squared units of the position as in `mala`; in many dimensions the
            optimal acceptance is near 0.23.

    Returns:
        A `Kernel`. One density evaluation per step. Its step shrinks like 1/dim: where there is
        a gradient take `mala`.

    >>> kernel = random_walk(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> state, info = kernel.step(jax.random.key(0), kernel.init(jnp.zeros(3)))
    >>> bool(0 <= info.acceptance_rate <= 1)
    True

    Reference: Metropolis et al. (1953), J. Chem. Phys. 21, Eq. (3).
    """

    def init(position: Array, rng_key: PRNGKey | None = None) -> WalkState:
        return WalkState(position, logdensity_fn(position))

    def step(rng_key: PRNGKey, state: WalkState) -> tuple[WalkState, ChainInfo]:
        noise_key, accept_key = jax.random.split(rng_key)
        noise = jax.random.normal(noise_key, state.position.shape, state.position.dtype)
        proposal = init(state.position + jnp.sqrt(2 * jnp.asarray(step_size)) * noise)
        log_ratio = proposal.logdensity - state.logdensity
        new, rate = accept_or_keep(accept_key, state, proposal, log_ratio)
        is_nonfinite = ~jnp.isfinite(proposal.logdensity)
        return new, ChainInfo(rate, jnp.asarray(1), jnp.asarray(is_nonfinite, jnp.int32))

    return Kernel(init, step)


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
