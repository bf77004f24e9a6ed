"""A number of batches for each level, as a planner allots them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..memo import memoised
from ..types import Array, Estimator, LogDensityFn, Moments, Posterior, PRNGKey
from .adaptive import merged


class RepeatedState(NamedTuple):
    """State of the estimator, and which level comes next."""

    inner: Any
    level: Array


@memoised
def repeated(estimator: Estimator, num_batches: tuple[int, ...]) -> Estimator:
    """Merge a fixed number of batches at each level.

    Args:
        estimator: each of its updates is one batch; chains go on from where they were.
        num_batches: at each level, the finish after them; the last number stands for all after.

    Returns:
        An `Estimator`; schedules by level inside ``estimator`` count batches.

    Raises:
        ValueError: for an empty tuple, or a level without a batch.

    >>> from rdmc_jax import importance
    >>> estimator = repeated(importance(num_samples=16), (1, 3))
    >>> posterior = Posterior(jnp.zeros((5, 1)), jnp.ones(5))
    >>> gaussian = lambda x: -0.5 * jnp.sum(x**2)
    >>> key = jax.random.key(0)
    >>> state = estimator.init(key, gaussian, posterior)
    >>> for level in range(2):
    ...     moments, state = estimator.update(key, gaussian, posterior, state)
    ...     print(int(moments.num_evals.logdensity))
    80
    240

    Reference: Huang et al. (2024), arXiv 2307.02037, Section 3: inner samples per level.
    """
    if not num_batches or min(num_batches) < 1:
        raise ValueError(
            f"repeated needs at least one batch at each level, but got num_batches={num_batches}."
        )

    def init(rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior) -> RepeatedState:
        inner = estimator.init(rng_key, logdensity_fn, posterior)
        return RepeatedState(inner, jnp.zeros((), jnp.int32))

    def update(
        rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, state: RepeatedState
    ) -> tuple[Moments, RepeatedState]:
        counts = jnp.asarray(num_batches, jnp.int32)
        count = counts[jnp.minimum(state.level, len(num_batches) - 1)]

        def batch(number: Array, inner: Any) -> tuple[Moments, Any]:
            own_key = jax.random.fold_in(rng_key, number)
            return estimator.update(own_key, logdensity_fn, posterior, inner)

        def body(number: Array, carry: tuple[Moments, Any]) -> tuple[Moments, Any]:
            moments, inner = carry
            new, inner = batch(number, inner)
            return merged(moments, new, number), inner

        first = batch(jnp.zeros((), jnp.int32), state.inner)
        moments, inner = jax.lax.fori_loop(1, count, body, first)
        return moments, RepeatedState(inner, state.level + 1)

    def draw(rng_key: PRNGKey, state: RepeatedState) -> Array:
        return estimator.draw(rng_key, state.inner)

    return Estimator(init, update, draw)
