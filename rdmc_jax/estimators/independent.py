"""Lift an estimator written for one particle to the ensemble."""

import jax
import jax.numpy as jnp

from ..memo import memoised
from ..types import Array, Estimator, Evaluations, LogDensityFn, Moments, Posterior, PRNGKey


def total_over_particles(moments: Moments) -> Moments:
    """Moments with their counts summed over the particles."""
    evals = Evaluations(*(jnp.sum(count) for count in moments.num_evals))
    return moments._replace(num_evals=evals, num_nonfinite=jnp.sum(moments.num_nonfinite))


@memoised
def independent(one_particle: Estimator) -> Estimator:
    """Run a one-particle estimator on every particle, each with its own randomness.

    Args:
        one_particle: its functions see a `Posterior` with center (dim,) and scale (), return
            moments without the leading axis, and a draw of shape (dim,).

    Returns:
        An `Estimator` of the ensemble; evaluations and non-finite values are summed over it.
    """

    def split(rng_key: PRNGKey, posterior: Posterior) -> Array:
        return jax.random.split(rng_key, posterior.center.shape[0])

    def init(rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior) -> object:
        keys = split(rng_key, posterior)
        return jax.vmap(lambda key, one: one_particle.init(key, logdensity_fn, one))(
            keys, posterior
        )

    def update(
        rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, state: object
    ) -> tuple[Moments, object]:
        keys = split(rng_key, posterior)
        moments, state = jax.vmap(
            lambda key, one, old: one_particle.update(key, logdensity_fn, one, old)
        )(keys, posterior, state)
        return total_over_particles(moments), state

    def draw(rng_key: PRNGKey, state: object) -> Array:
        num_particles = jax.tree.leaves(state)[0].shape[0]
        return jax.vmap(one_particle.draw)(jax.random.split(rng_key, num_particles), state)

    return Estimator(init, update, draw)
