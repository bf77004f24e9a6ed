"""Neal's funnel."""

import jax
import jax.numpy as jnp
import numpy as np

from rdmc_jax.problems.record import Problem, constant, factory


@factory
def funnel(dim: int = 10, variance: float = 3.0) -> Problem:
    """Return Neal's funnel: ``x_1 ~ N(0, variance)`` and ``x_i | x_1 ~ N(0, exp(x_1))``.

    Args:
        dim: Dimension, at least 2.
        variance: Variance of the neck coordinate. Two funnels circulate: 3 (here) and 9.

    >>> from rdmc_jax import problems
    >>> problems.funnel().log_normalizer
    0.0

    Reference: Neal (2003), "Slice sampling", section 8; variance 3 as in arXiv 2402.10758.
    """
    log_constant = -0.5 * (dim * np.log(2.0 * np.pi) + np.log(variance))

    def logdensity_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        standardised = x[1:] * jnp.exp(-0.5 * x[0])
        neck = -0.5 * x[0] ** 2 / variance - 0.5 * (dim - 1) * x[0]
        return neck - 0.5 * jnp.sum(standardised**2) + log_constant

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        noise = jax.random.normal(rng_key, (num_samples, dim))
        neck = np.sqrt(variance) * noise[:, :1]
        return jnp.concatenate([neck, jnp.exp(0.5 * neck) * noise[:, 1:]], axis=1)

    return Problem(
        name=f"funnel(dim={dim}, variance={variance:g})",
        logdensity_fn=logdensity_fn,
        position=constant((dim,)),
        log_normalizer=0.0,
        sample=sample,
        mode_fn=None,
        mode_weights=None,
        reference="Neal (2003); closed form",
    )
