"""Posteriors of exchangeable mixture components: K! equal modes by symmetry."""

import math

import jax
import jax.numpy as jnp


def ordering(values: jax.Array) -> jax.Array:
    """Return the lexicographic rank, in 0..K!-1, of the permutation that sorts ``values``."""
    num_values = values.shape[0]
    permutation = jnp.argsort(values)
    later = jnp.arange(num_values)[:, None] < jnp.arange(num_values)[None, :]
    smaller = permutation[None, :] < permutation[:, None]
    digits = jnp.sum(later & smaller, axis=1)
    place = jnp.array([math.factorial(num_values - 1 - i) for i in range(num_values)])
    return jnp.sum(digits * place)
