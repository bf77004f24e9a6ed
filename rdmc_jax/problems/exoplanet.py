"""Five radial velocities of a star: a real posterior with dozens of orbital periods."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from .problem import Problem, constant, frozen, log_integral, memoised_problem, quantile_fn

TIMES = frozen((0.0, 49.452, 95.393, 127.587, 190.408))
VELOCITIES = frozen((38.77, 39.70, 37.45, 38.31, 38.31))
ERRORS = frozen((0.184, 0.261, 0.112, 0.155, 0.223))
PRIOR_MEAN = frozen((38.5, 0.0, 0.0))
PRIOR_SCALE = frozen((10.0, 1.5, 1.5))
LOG_PERIOD_LOW, LOG_PERIOD_HIGH = math.log(8.0), math.log(512.0)
NUM_CELLS = 2**15


@memoised_problem
def exoplanet() -> Problem:
    """Return the posterior of a circular orbit given five radial velocities (km/s, days).

    ``v(t) = velocity + cosine cos(2 pi t / P) + sine sin(2 pi t / P)`` with Gaussian errors,
    ``velocity ~ N(38.5, 10^2)``, ``cosine, sine ~ N(0, 1.5^2)`` and ``log P`` uniform between
    log 8 and log 512 through ``log P = log 8 + log 64 sigmoid(logit_period)``, Jacobian included.
    Given P the model is linear and Gaussian, so the normaliser, the period's law and the draws
    follow from one-dimensional quadrature. The mode of a point is the basin of its period,
    between the minima of the marginal posterior of log P.

    >>> from rdmc_jax import problems
    >>> round(problems.exoplanet().log_normalizer, 4)
    -10.9683

    Reference: Price-Whelan, Hogg, Foreman-Mackey, Rix (2017), "The Joker: a custom Monte Carlo
    sampler for binary-star and exoplanet radial velocity data", arXiv 1610.07602 (the setting).
    """
    span = LOG_PERIOD_HIGH - LOG_PERIOD_LOW
    edges = np.linspace(LOG_PERIOD_LOW, LOG_PERIOD_HIGH, NUM_CELLS + 1)
    midpoints = 0.5 * (edges[1:] + edges[:-1])
    log_marginal = _log_marginal(midpoints) - math.log(span)
    inner = log_marginal[1:-1]
    is_minimum = (inner < log_marginal[:-2]) & (inner <= log_marginal[2:])
    boundaries = midpoints[1:-1][is_minimum]
    posterior = np.exp(log_marginal - log_marginal.max())
    basin = np.searchsorted(boundaries, midpoints)
    mode_weights = np.bincount(basin, posterior) / posterior.sum()

    def log_period(logit: jax.Array) -> jax.Array:
        return LOG_PERIOD_LOW + span * jax.nn.sigmoid(logit)

    def logdensity_fn(position: dict[str, jax.Array]) -> jax.Array:
        logit = jnp.asarray(position["logit_period"])
        linear = jnp.stack([position[name] for name in ("velocity", "cosine", "sine")])
        design = _design(log_period(logit))
        # Written out: accelerators round plain matrix products to less than single precision.
        predicted = jnp.sum(design * linear[None, :], axis=1)
        dtype = linear.dtype
        residual = (jnp.asarray(VELOCITIES, dtype) - predicted) / jnp.asarray(ERRORS, dtype)
        deviation = (linear - jnp.asarray(PRIOR_MEAN, dtype)) / jnp.asarray(PRIOR_SCALE, dtype)
        log_constant = -np.sum(np.log(ERRORS)) - np.sum(np.log(PRIOR_SCALE))
        log_constant -= 0.5 * (len(ERRORS) + len(PRIOR_SCALE)) * math.log(2.0 * math.pi)
        log_prior_logit = jax.nn.log_sigmoid(logit) + jax.nn.log_sigmoid(-logit)
        squares = jnp.sum(residual**2) + jnp.sum(deviation**2)
        return log_prior_logit - 0.5 * squares + float(log_constant)

    return Problem(
        name="exoplanet()",
        logdensity_fn=logdensity_fn,
        position={name: constant(()) for name in ("logit_period", "velocity", "cosine", "sine")},
        log_normalizer=log_integral(edges, log_marginal),
        sample=_sample_fn(quantile_fn(edges, log_marginal)),
        mode_fn=lambda position: jnp.searchsorted(
            jnp.asarray(boundaries), log_period(jnp.asarray(position["logit_period"]))
        ),
        mode_weights=frozen(mode_weights),
        reference="linear part analytic, period by one-dimensional quadrature",
    )


def _design(log_period: jax.Array) -> jax.Array:
    """Return the columns 1, cos, sin of the linear model, shape (5, 3)."""
    phase = 2.0 * math.pi * jnp.asarray(TIMES, log_period.dtype) * jnp.exp(-log_period)
    return jnp.stack([jnp.ones_like(phase), jnp.cos(phase), jnp.sin(phase)], axis=1)


def _log_marginal(log_period: np.ndarray) -> np.ndarray:
    """Return log p(velocities | period) in double precision, the linear part integrated out."""
    phase = 2.0 * np.pi * TIMES * np.exp(-log_period)[:, None]
    design = np.stack([np.ones_like(phase), np.cos(phase), np.sin(phase)], axis=2) * PRIOR_SCALE
    covariance = design @ design.transpose(0, 2, 1) + np.diag(ERRORS**2)
    factor = np.linalg.cholesky(covariance)
    residual = np.broadcast_to((VELOCITIES - PRIOR_MEAN[0])[:, None], (len(factor), 5, 1))
    whitened = np.linalg.solve(factor, residual)[..., 0]
    log_determinant = 2.0 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(1)
    return -0.5 * (np.sum(whitened**2, 1) + log_determinant + 5.0 * np.log(2.0 * np.pi))


def _sample_fn(
    quantile: Callable[[jax.Array], jax.Array],
) -> Callable[[jax.Array, int], dict[str, jax.Array]]:
    """Return the sampler: the period from its marginal, then the linear part given the period."""
    noise_precision, prior_precision = ERRORS**-2, PRIOR_SCALE**-2

    def linear_given_period(log_period: jax.Array, noise: jax.Array) -> jax.Array:
        design = _design(log_period)
        weighted = design * jnp.asarray(noise_precision)[:, None]
        precision = jnp.matmul(design.T, weighted, precision="highest")
        factor = jnp.linalg.cholesky(precision + jnp.diag(jnp.asarray(prior_precision)))
        # Centred at the prior mean, to keep the 38 km/s out of the cancellation.
        residual = jnp.asarray(VELOCITIES - PRIOR_MEAN[0])
        projected = jnp.matmul(weighted.T, residual, precision="highest")
        mean = jax.scipy.linalg.cho_solve((factor, True), projected)
        deviation = jax.scipy.linalg.solve_triangular(factor, noise, trans=1, lower=True)
        return jnp.asarray(PRIOR_MEAN) + mean + deviation

    def sample(rng_key: jax.Array, num_samples: int) -> dict[str, jax.Array]:
        period_key, linear_key = jax.random.split(rng_key)
        log_period = quantile(jax.random.uniform(period_key, (num_samples,)))
        noise = jax.random.normal(linear_key, (num_samples, 3))
        linear = jax.vmap(linear_given_period)(log_period, noise)
        odds = (log_period - LOG_PERIOD_LOW) / (LOG_PERIOD_HIGH - log_period)
        return {
            "logit_period": jnp.log(odds),
            "velocity": linear[:, 0],
            "cosine": linear[:, 1],
            "sine": linear[:, 2],
        }

    return sample
