"""Posteriors of exchangeable mixture components: K! equal modes by symmetry."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from rdmc_jax.problems.record import Problem, constant, factory, frozen

OBSERVATIONS = frozen((-4.31, -3.48, -2.87, -0.92, 0.57, 1.21, 3.94, 5.26))
PRIOR_SCALE = 5.0
LOG_TWO_PI = math.log(2.0 * math.pi)


def ordering(values: jax.Array) -> jax.Array:
    """Return the lexicographic rank, in 0..K!-1, of the permutation that sorts ``values``."""
    num_values = values.shape[0]
    permutation = jnp.argsort(values)
    later = jnp.arange(num_values)[:, None] < jnp.arange(num_values)[None, :]
    smaller = permutation[None, :] < permutation[:, None]
    digits = jnp.sum(later & smaller, axis=1)
    place = jnp.array([math.factorial(num_values - 1 - i) for i in range(num_values)])
    return jnp.sum(digits * place)


@factory
def mixture_posterior(num_components: int = 3) -> Problem:
    """Return the posterior of the means of an equal-weight mixture of unit Gaussians.

    ``y_n ~ sum_k 1/K N(mean_k, 1)`` with ``mean_k ~ N(0, 5^2)`` for eight committed observations;
    all constants are included. Given who belongs to whom the model is conjugate, so the
    normaliser and exact draws follow from the K^8 allocations. The mode of a point is the rank of
    the permutation that sorts its means; each has probability 1/K! exactly.

    Args:
        num_components: K, at most 5: the allocations are enumerated.

    Raises:
        ValueError: If ``num_components`` is not in 1..5.

    >>> from rdmc_jax import problems
    >>> problems.mixture_posterior(2).mode_weights.tolist()
    [0.5, 0.5]
    """
    if not 1 <= num_components <= 5:
        raise ValueError(f"num_components must be in 1..5, but got {num_components}.")
    num_orderings = math.factorial(num_components)
    log_mass, means, precisions = _allocations(num_components)
    peak = log_mass.max()
    distribution = np.cumsum(np.exp(log_mass - peak))

    def logdensity_fn(position: jax.Array) -> jax.Array:
        mean = jnp.asarray(position)
        offset = jnp.asarray(OBSERVATIONS, mean.dtype)[:, None] - mean[None, :]
        log_likelihood = jnp.sum(jax.nn.logsumexp(-0.5 * offset**2, axis=1))
        log_constant = -len(OBSERVATIONS) * (math.log(num_components) + 0.5 * LOG_TWO_PI)
        log_constant -= num_components * (math.log(PRIOR_SCALE) + 0.5 * LOG_TWO_PI)
        return log_likelihood - 0.5 * jnp.sum((mean / PRIOR_SCALE) ** 2) + log_constant

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        allocation_key, noise_key = jax.random.split(rng_key)
        uniform = jax.random.uniform(allocation_key, (num_samples,))
        index = jnp.searchsorted(jnp.asarray(distribution / distribution[-1]), uniform)
        noise = jax.random.normal(noise_key, (num_samples, num_components))
        return jnp.asarray(means)[index] + noise / jnp.sqrt(jnp.asarray(precisions)[index])

    return Problem(
        name=f"mixture_posterior(num_components={num_components})",
        logdensity_fn=logdensity_fn,
        position=constant((num_components,)),
        log_normalizer=float(peak + np.log(distribution[-1])),
        sample=sample,
        mode_fn=lambda position: ordering(jnp.asarray(position)),
        mode_weights=frozen(np.full(num_orderings, 1.0 / num_orderings)),
        reference="enumeration of the allocations; mode weights by symmetry",
    )


def _allocations(num_components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Enumerate the allocations: log p(y, allocation), and the means' conditional laws."""
    num_data = len(OBSERVATIONS)
    owner = np.arange(num_components**num_data)[:, None] // num_components ** np.arange(num_data)
    member = (owner % num_components)[:, :, None] == np.arange(num_components)
    total = np.einsum("n,ank->ak", OBSERVATIONS, member)
    precision = PRIOR_SCALE**-2 + member.sum(1)
    log_mass = np.sum(
        0.5 * total**2 / precision - 0.5 * np.log(precision) - math.log(PRIOR_SCALE), axis=1
    )
    log_mass -= num_data * (math.log(num_components) + 0.5 * LOG_TWO_PI)
    return log_mass - 0.5 * np.sum(OBSERVATIONS**2), total / precision, precision
