"""Random-walk Metropolis: for densities without a gradient."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..types import Array, Kernel, LogDensityFn, PRNGKey
from .langevin import ChainInfo
from .metropolis import accept_or_keep


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
