"""Accept or reject a proposal: what all adjusted kernels share."""

from typing import TypeVar

import jax
import jax.numpy as jnp

from ..types import Array, PRNGKey

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
