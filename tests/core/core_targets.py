"""Targets with closed forms, an estimator that makes no error, and loops that run methods."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdmc_jax.pool import fixed_pool
from rdmc_jax.transitions import log_normal
from rdmc_jax.types import Estimator, Evaluations, Moments

EXACT = 1e12
"""Effective sample size of moments that are known."""


def assert_mean(terms, expected, errors=4.0, slack=0.0):
    """The mean of independent terms is ``expected``, in units of its own standard error."""
    terms = np.asarray(terms, float)
    error = terms.std(0, ddof=1) / np.sqrt(len(terms))
    np.testing.assert_array_less(np.abs(terms.mean(0) - expected), errors * error + slack + 1e-9)


def copies(tree, num_copies):
    """The same numbers for every particle, on a new leading axis."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_copies, *leaf.shape)), tree)


def pool_of(position, log_weight=None):
    """A pool of given points that cost nothing."""
    log_weight = jnp.zeros(len(position)) if log_weight is None else log_weight
    return fixed_pool(*(jnp.asarray(a, jnp.float32) for a in (position, log_weight)))


def moments_of(mean, variance, ess=EXACT):
    """`Moments` with the fields that transitions and finishes look at."""
    none = jnp.full(mean.shape[:1], jnp.nan, mean.dtype)
    zero = jnp.zeros((), jnp.int32)
    return Moments(
        mean=mean,
        variance=jnp.broadcast_to(variance, mean.shape),
        ess=jnp.full(mean.shape[:1], ess, mean.dtype),
        standard_error=jnp.zeros_like(mean),
        log_marginal=none,
        acceptance_rate=none,
        num_evals=Evaluations(zero, zero),
        num_nonfinite=zero,
    )


class Gaussian(NamedTuple):
    """``Z N(mean, diag(variance))``, with everything that noise makes of it."""

    mean: tuple[float, ...]
    variance: tuple[float, ...]
    log_normalizer: float = 0.0

    def logdensity(self, x):
        mean, variance = jnp.asarray(self.mean), jnp.asarray(self.variance)
        return self.log_normalizer + log_normal(x, mean, variance)

    def sample(self, rng_key, num_draws):
        noise = jax.random.normal(rng_key, (num_draws, len(self.mean)))
        mean, variance = jnp.asarray(self.mean)[None], jnp.asarray(self.variance)[None]
        return noise * jnp.sqrt(variance) + mean

    def posterior(self, center, scale):
        """Mean and variance of ``N(mean, variance) N(center, scale²)``; leading axes agree."""
        lead = (None,) * (center.ndim - 1)
        mean, variance = jnp.asarray(self.mean)[lead], jnp.asarray(self.variance)[lead]
        scale2 = scale[..., None] ** 2
        gain = variance / (variance + scale2)
        return mean + gain * (center - mean), gain * scale2

    def noised(self, process, t):
        """Mean and variance of ``p_t`` for a scalar time."""
        alpha, sigma = process.alpha(t), process.sigma(t)
        mean, variance = jnp.asarray(self.mean), jnp.asarray(self.variance)
        return alpha * mean, alpha**2 * variance + sigma**2

    def noised_sample(self, rng_key, process, t, num_draws):
        """Draws of ``p_t`` for a scalar time."""
        mean, variance = self.noised(process, t)
        noise = jax.random.normal(rng_key, (num_draws, len(self.mean)))
        return mean[None] + jnp.sqrt(variance)[None] * noise

    def noised_logdensity(self, process, x, t):
        mean, variance = (jnp.broadcast_to(a, x.shape) for a in self.noised(process, t))
        return log_normal(x, mean, variance)


def exact_estimator(target):
    """The posterior moments and draws of a `Gaussian`, without error."""

    def init(rng_key, logdensity_fn, posterior):
        return posterior.center

    def update(rng_key, logdensity_fn, posterior, state):
        mean, variance = target.posterior(posterior.center, posterior.scale)
        noise = jax.random.normal(rng_key, mean.shape, mean.dtype)
        return moments_of(mean, variance), mean + jnp.sqrt(variance) * noise

    return Estimator(init, update, lambda rng_key, state: state)


class Mixture(NamedTuple):
    """``Z Σ_k w_k N(mean_k, diag(variance_k))``."""

    weight: tuple[float, ...]
    mean: tuple[tuple[float, ...], ...]
    variance: tuple[tuple[float, ...], ...]
    log_normalizer: float = 0.0

    def _parts(self, x):
        mean, variance = jnp.asarray(self.mean), jnp.asarray(self.variance)
        x = jnp.broadcast_to(x, mean.shape)
        return jnp.log(jnp.asarray(self.weight)) + log_normal(x, mean, variance)

    def logdensity(self, x):
        return self.log_normalizer + jax.nn.logsumexp(self._parts(x[None]))

    def posterior(self, center, scale):
        """Log of ``∫ density(y) N(y; center, scale²) dy``, mean and variance; one particle."""
        mean, variance = jnp.asarray(self.mean), jnp.asarray(self.variance)
        center = jnp.broadcast_to(center[None], mean.shape)
        total = variance + scale**2
        log_mass = jnp.log(jnp.asarray(self.weight)) + log_normal(center, mean, total)
        share = jax.nn.softmax(log_mass)[:, None]
        gain = variance / total
        part_mean = mean + gain * (center - mean)
        post_mean = jnp.sum(share * part_mean, axis=0)
        second = jnp.sum(share * (gain * scale**2 + part_mean**2), axis=0)
        log_marginal = self.log_normalizer + jax.nn.logsumexp(log_mass)
        return log_marginal, post_mean, second - post_mean**2


def run(method, logdensity_fn, position, rng_key):
    """Start and end state of one run, and the record of its steps."""
    sampler = method(logdensity_fn)
    init_key, run_key = jax.random.split(rng_key)
    first = sampler.init(position, init_key)
    keys = jax.random.split(run_key, sampler.num_steps)
    last, info = jax.lax.scan(lambda state, key: sampler.step(key, state), first, keys)
    return first, last, info


def run_compiled(method, logdensity_fn, position, rng_key):
    """`run` as one program."""
    return jax.jit(lambda key: run(method, logdensity_fn, position, key))(rng_key)


def normalizer_estimates(method, logdensity_fn, position, rng_key, num_runs):
    """``mean w`` of independent runs, shape (num_runs,)."""

    def one(key):
        return jnp.mean(jnp.exp(run(method, logdensity_fn, position, key)[1].log_weight))

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(rng_key, num_runs)), float)
