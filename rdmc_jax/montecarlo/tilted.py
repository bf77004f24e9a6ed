"""The density of an inner chain: the target, tempered and tilted, in local coordinates.

All densities that chains run on here have the form ``β log π(y) + log_rest(y)`` with a cheap
closed-form rest. Chains move in coordinates ``ξ``, ``y = shift + unit ξ``. One dimensionless step
size then serves every noise level and every kernel, whether its step is a length or a squared one.
When only β, the rest or the coordinates change, the value and gradient of ``log π`` that a chain
already holds stay valid: `retarget` converts them without a new evaluation of the target.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..types import Array, Evaluations, LogDensityFn


class Tilted(NamedTuple):
    """``β log π(y) + log_rest(y)`` at ``y = shift + unit ξ``."""

    log_rest: Callable[[Array], Array]
    shift: Array | float
    unit: Array | float
    inverse_temperature: Array | float = 1.0


def tilted_logdensity(logdensity_fn: LogDensityFn, tilted: Tilted) -> LogDensityFn:
    """Log density of ξ, without the constant Jacobian."""

    def fn(xi: Array) -> Array:
        y = tilted.shift + tilted.unit * xi
        return tilted.inverse_temperature * logdensity_fn(y) + tilted.log_rest(y)

    return fn


def to_position(tilted: Tilted, xi: Array) -> Array:
    """``y = shift + unit ξ``."""
    return tilted.shift + tilted.unit * xi


def target_logdensity(tilted: Tilted, xi: Array, logdensity: Array) -> Array:
    """``log π(y)`` recovered from the value of the tilted density."""
    rest = tilted.log_rest(to_position(tilted, xi))
    return (logdensity - rest) / tilted.inverse_temperature


def retarget(state: Any, old: Tilted, new: Tilted) -> Any:
    """The same point ``y`` as a state of the new density, with no target evaluation.

    Works on any kernel state with fields ``position`` and ``logdensity`` (and, if present,
    ``logdensity_grad``), ours and blackjax's; other fields, such as a momentum, are kept.

    Args:
        state: state of one chain on the density ``old``.
        old: density that the state belongs to.
        new: density of the returned state.

    Returns:
        The state on ``new``.
    """
    y = to_position(old, state.position)
    value = target_logdensity(old, state.position, state.logdensity)
    new_rest, new_rest_grad = jax.value_and_grad(new.log_rest)(y)
    changes = {
        "position": (y - new.shift) / new.unit,
        "logdensity": new.inverse_temperature * value + new_rest,
    }
    if hasattr(state, "logdensity_grad"):
        old_grad = state.logdensity_grad / old.unit - jax.grad(old.log_rest)(y)
        target_grad = old_grad / old.inverse_temperature
        changes["logdensity_grad"] = new.unit * (
            new.inverse_temperature * target_grad + new_rest_grad
        )
    return state._replace(**changes)


def evaluations_of(state: Any, info: Any, num_chains: int) -> Evaluations:
    """Evaluations that one step of ``num_chains`` chains made, read off its info and state.

    Kernels with several gradients per step report ``num_integration_steps`` (ours and
    blackjax's); any other makes one per chain.
    """
    each = getattr(info, "num_integration_steps", None)
    count = jnp.asarray(num_chains) if each is None else jnp.sum(each)
    count = count.astype(jnp.int32)
    return Evaluations(count, count if hasattr(state, "logdensity_grad") else jnp.zeros_like(count))


def nonfinite_of(info: Any) -> Array:
    """Non-finite density values that one step met; kernels from elsewhere do not count them."""
    return jnp.sum(jnp.asarray(getattr(info, "num_nonfinite", 0)), dtype=jnp.int32)


def acceptance_of(info: Any) -> Array:
    """Acceptance rate of one step; nan for kernels without one."""
    return jnp.asarray(getattr(info, "acceptance_rate", jnp.nan))


def adapted(step_size: Array, acceptance: Array, target: float, rate: float = 0.5) -> Array:
    """Robbins-Monro step ``log h += rate (a - target)``; unchanged where nothing is accepted.

    Reference: Andrieu and Thoms (2008), Stat. Comput. 18, with a constant rate.
    """
    change = jnp.where(jnp.isnan(acceptance), 0.0, rate * (acceptance - target))
    return step_size * jnp.exp(change)
