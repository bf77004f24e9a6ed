"""The Gaussian mixture with its density, exact draws and modes, which many problems share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdmc_jax.problems.record import Problem, constant, frozen


def gaussian_mixture(
    name: str,
    weights: Any,
    means: Any,
    covariances: Any,
    reference: str,
    *,
    mode_weights: Any = None,
) -> Problem:
    """Return the normalised mixture of Gaussians with its draws and modes.

    Args:
        name: The factory's call.
        weights: Probability of each component, shape ``(num_components,)``.
        means: Shape ``(num_components, dim)``.
        covariances: Matrices, shape ``(num_components, dim, dim)``, or variances of isotropic
            components, shape ``(num_components,)``.
        reference: Source of the definition.
        mode_weights: Probability that a draw's most responsible component is each one; ``weights``
            (the limit of components far apart) when omitted.

    Returns:
        The problem; the mode of a point is its most responsible component.
    """
    weights, means, covariances = (np.asarray(a, float) for a in (weights, means, covariances))
    dim = means.shape[1]
    isotropic = covariances.ndim == 1
    if isotropic:
        factors = np.sqrt(covariances)
        log_determinants = dim * np.log(factors)
        whiteners = 1.0 / factors
    else:
        factors = np.linalg.cholesky(covariances)
        log_determinants = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
        whiteners = np.linalg.inv(factors)
    log_amplitudes = np.log(weights) - log_determinants - 0.5 * dim * np.log(2.0 * np.pi)

    def log_components(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        offset = x[None, :] - jnp.asarray(means, x.dtype)
        whitener = jnp.asarray(whiteners, x.dtype)
        if isotropic:
            whitened = offset * whitener[:, None]
        else:
            # Accelerators round plain matrix products to less than single precision.
            whitened = jnp.einsum("kij,kj->ki", whitener, offset, precision="highest")
        return jnp.asarray(log_amplitudes, x.dtype) - 0.5 * jnp.sum(whitened**2, axis=1)

    def logdensity_fn(position: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(log_components(position))

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        component_key, noise_key = jax.random.split(rng_key)
        component = jax.random.choice(
            component_key, len(weights), (num_samples,), p=jnp.asarray(weights)
        )
        noise = jax.random.normal(noise_key, (num_samples, dim))
        factor = jnp.asarray(factors)[component]
        if isotropic:
            scaled = factor[:, None] * noise
        else:
            scaled = jnp.einsum("nij,nj->ni", factor, noise, precision="highest")
        return jnp.asarray(means)[component] + scaled

    def mode_fn(position: jax.Array) -> jax.Array:
        return jnp.argmax(log_components(position))

    return Problem(
        name=name,
        logdensity_fn=logdensity_fn,
        position=constant((dim,)),
        log_normalizer=0.0,
        sample=sample,
        mode_fn=mode_fn,
        mode_weights=frozen(weights if mode_weights is None else mode_weights),
        reference=reference,
    )
