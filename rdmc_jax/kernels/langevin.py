"""Overdamped Langevin kernels: unadjusted and Metropolis-adjusted."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..types import Array, Kernel, LogDensityFn, PRNGKey
from .metropolis import accept_or_keep


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
