"""Mixture posteriors with label switching: the galaxy velocities, and a small exact one."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .problem import Problem, constant, frozen, memoised_problem

# The 78th value, 26960 km/s, is the misprint (of 26690) in Chib's version of the data, which all
# published normalisers use.
_KILOMETRES_PER_SECOND = """
    9172 9350 9483 9558 9775 10227 10406 16084 16170 18419 18552 18600 18927 19052 19070 19330
    19343 19349 19440 19473 19529 19541 19547 19663 19846 19856 19863 19914 19918 19973 19989
    20166 20175 20179 20196 20215 20221 20415 20629 20795 20821 20846 20875 20986 21137 21492
    21701 21814 21921 21960 22185 22209 22242 22249 22314 22374 22495 22746 22747 22888 22914
    23206 23241 23263 23484 23538 23542 23666 23706 23711 24129 24285 24289 24366 24717 24990
    25633 26960 26995 32065 32789 34279
"""


# In 1000 km/s.
GALAXY_VELOCITIES = frozen([float(value) / 1000.0 for value in _KILOMETRES_PER_SECOND.split()])


# (num_components, equal_variances): measured by benchmarks/truths/galaxy.py with standard errors
# .001, .001 and .002; Neal's brute force reads -239.76, -226.84 and -226.80.
LOG_NORMALIZERS = {(2, True): -239.762, (3, True): -226.812, (3, False): -226.793}


@memoised_problem
def galaxy(num_components: int = 3, equal_variances: bool = True) -> Problem:
    """Return the posterior of a Gaussian mixture for 82 galaxy velocities.

    ``y_n ~ sum_j q_j N(mean_j, variance_j)`` with ``mean_j ~ N(20, 10^2)``, ``variance_j ~
    InverseGamma(shape=3, scale=20)`` (one common variance when equal) and ``q ~ Dirichlet(1, ...,
    1)``. The position is unconstrained: ``{"mean": (K,), "log_variance": () or (K,), "log_ratio":
    (K-1,)}`` with ``log_ratio_j = log(q_j / q_K)``. All constants and Jacobians are included, so
    the integral is the marginal likelihood of the data. The mode of a point is the rank of the
    permutation that sorts its means; each has probability 1/K! exactly.

    Args:
        num_components: K.
        equal_variances: Whether all components share one variance.

    >>> from rdmc_jax import problems
    >>> problems.galaxy(num_components=2).mode_weights.tolist()
    [0.5, 0.5]

    Reference: Roeder (1990); Chib (1995), "Marginal likelihood from the Gibbs output"; Neal (1999),
    "Erroneous results in 'Marginal likelihood from the Gibbs output'".
    """

    def logdensity_fn(position: dict[str, Any]) -> jax.Array:
        mean = jnp.asarray(position["mean"])
        log_variance = jnp.asarray(position["log_variance"])
        log_ratio = jnp.asarray(position["log_ratio"])
        log_weight = jax.nn.log_softmax(jnp.append(log_ratio, jnp.zeros(1, log_ratio.dtype)))
        velocities = jnp.asarray(GALAXY_VELOCITIES, mean.dtype)
        spread = log_variance if equal_variances else log_variance[None, :]
        standardised = (velocities[:, None] - mean[None, :]) * jnp.exp(-0.5 * spread)
        log_terms = log_weight[None, :] - 0.5 * (standardised**2 + spread + math.log(2 * math.pi))
        log_likelihood = jnp.sum(jax.nn.logsumexp(log_terms, axis=1))
        log_prior_mean = jnp.sum(
            -0.5 * ((mean - 20.0) / 10.0) ** 2 - math.log(10.0) - 0.5 * math.log(2 * math.pi)
        )
        # InverseGamma(3, 20) in log variance: Gamma(3) = 2, the Jacobian takes one power off.
        log_prior_constant = 3.0 * math.log(20.0) - math.log(2.0)
        log_prior_variance = jnp.sum(
            log_prior_constant - 3.0 * log_variance - 20.0 * jnp.exp(-log_variance)
        )
        # Dirichlet(1, ..., 1) has the density (K-1)!; the additive log-ratio's Jacobian is prod q.
        log_prior_weight = math.lgamma(num_components) + jnp.sum(log_weight)
        return log_likelihood + log_prior_mean + log_prior_variance + log_prior_weight

    num_orderings = math.factorial(num_components)
    return Problem(
        name=f"galaxy(num_components={num_components}, equal_variances={equal_variances})",
        logdensity_fn=logdensity_fn,
        position={
            "mean": constant((num_components,)),
            "log_variance": constant(() if equal_variances else (num_components,)),
            "log_ratio": constant((num_components - 1,)),
        },
        log_normalizer=LOG_NORMALIZERS.get((num_components, equal_variances)),
        sample=None,
        mode_fn=lambda position: ordering(jnp.asarray(position["mean"])),
        mode_weights=frozen(np.full(num_orderings, 1.0 / num_orderings)),
        reference="Chib (1995); Neal (1999); importance sampling "
        "(benchmarks/truths/galaxy.py); mode weights by symmetry",
    )


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


@memoised_problem
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
