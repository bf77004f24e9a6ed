"""Targets with closed forms, loops that run methods, and one density that compiles once.

The data of `density` make it every target of the tests of whole runs, so they share a program.
"""

import contextlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rdmc_jax as rj
from rdmc_jax.diffusion.transitions import log_normal
from rdmc_jax.pools.pool import fixed_pool
from rdmc_jax.types import Evaluations, Moments, record

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


@record
class exact_estimator:
    """The posterior moments and draws of a `Gaussian`, without error."""

    target: Gaussian

    def init(self, rng_key, logdensity_fn, posterior):
        return self.target.posterior(posterior.center, posterior.scale)

    def update(self, rng_key, logdensity_fn, posterior, state):
        mean, variance = self.target.posterior(posterior.center, posterior.scale)
        return moments_of(mean, variance), (mean, variance)

    def draw(self, rng_key, state):
        mean, variance = state
        return mean + jnp.sqrt(variance) * jax.random.normal(rng_key, mean.shape, mean.dtype)


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


CALLS = {"traced": 0, "concrete": 0}
"""How often Python ran the density: when a program is made of it, or with numbers."""

ORIGIN = jnp.zeros(2)


def density(x, data):
    """Four Gaussians times Z; zero left of ``bound``; a bad value in a disc."""
    CALLS["traced" if isinstance(x, jax.core.Tracer) else "concrete"] += 1
    z = jnp.sum(data["whitener"] * (x[None, :] - data["mean"])[:, None, :], axis=2)
    log_terms = data["log_amplitude"] - 0.5 * jnp.sum(z**2, axis=1)
    value = jax.nn.logsumexp(log_terms) - jnp.log(2 * jnp.pi) + data["log_normalizer"]
    value = jnp.where(x[0] < data["bound"], -jnp.inf, value)
    is_bad = jnp.sum((x - data["bad_center"]) ** 2) < data["bad_radius"] ** 2
    return jnp.where(is_bad, data["bad_value"], value)


def target(
    mean=((0.0, 0.0),),
    scale=((1.0, 1.0),),
    weight=(1.0,),
    covariance=None,
    log_normalizer=0.0,
    bound=-np.inf,
    bad_center=(0.0, 0.0),
    bad_radius=0.0,
    bad_value=0.0,
):
    """Data of `density`; components that are not given have no weight."""
    if covariance is None:
        covariance = [np.diag(np.square(one)) for one in scale]
    whitener = np.stack([np.linalg.inv(np.linalg.cholesky(one)) for one in covariance])
    log_amplitude = np.log(weight) + np.log(np.linalg.det(whitener))
    missing = 4 - len(weight)
    values = {
        "mean": np.append(np.asarray(mean, float), np.zeros((missing, 2)), axis=0),
        "whitener": np.append(whitener, np.tile(np.eye(2), (missing, 1, 1)), axis=0),
        "log_amplitude": np.append(log_amplitude, np.full(missing, -np.inf)),
        "log_normalizer": log_normalizer,
        "bound": bound,
        "bad_center": bad_center,
        "bad_radius": bad_radius,
        "bad_value": bad_value,
    }
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


CHEAP_METHOD = rj.rdmc(
    rj.samplers.gaussian_start(num_particles=64),
    rj.samplers.levels(
        rj.diffusion.log_snr_grid(4, low=-3.0, high=3.0), rj.estimators.importance(num_samples=16)
    ),
    rj.samplers.gaussian_finish(),
)


def cheap(num_samples=256, seed=0, position=ORIGIN, data=None, **options):
    """A run of the cheap method; all of them share one program."""
    data = target() if data is None else data
    key = jax.random.key(seed)
    return rj.sample(key, density, position, num_samples, data=data, method=CHEAP_METHOD, **options)


def default(num_samples=2000, seed=0, position=ORIGIN, data=None, **options):
    """A run of the automatic method in two dimensions; all of them share one program."""
    data = target() if data is None else data
    return rj.sample(jax.random.key(seed), density, position, num_samples, data=data, **options)


GMM4 = rj.problems.gmm4()
GMM4_DATA = target(
    mean=((0.0, 0.0), (0.0, 11.0), (9.0, 9.0), (11.0, 0.0)),
    covariance=(
        ((1.0, 0.5), (0.5, 1.0)),
        ((0.3, -0.2), (-0.2, 0.3)),
        ((1.0, 0.3), (0.3, 1.0)),
        ((1.2, -1.0), (-1.0, 1.2)),
    ),
    weight=(0.1, 0.2, 0.3, 0.4),
)
TOLERANCE = 0.1
"""What one candidate for each draw of these data does not meet."""
TREE_POSITION = {"mu": 0.0, "rest": [jnp.zeros(1), {"b": jnp.zeros((2, 1))}]}
TREE_KNOWN = {
    "mu": np.full(2, 300.0),
    "rest": [np.full((2, 1), 300.0), {"b": np.full((2, 2, 1), 300.0)}],
}


def tree_density(tree):
    """Independent Gaussians about 300, width 1/2, in four coordinates; Z = e."""
    CALLS["traced" if isinstance(tree["mu"], jax.core.Tracer) else "concrete"] += 1
    flat = jnp.concatenate([tree["mu"][None], tree["rest"][0], tree["rest"][1]["b"][:, 0]])
    return 1.0 - jnp.sum(2 * (flat - 300.0) ** 2) - 2 * jnp.log(jnp.pi / 2)


def tree_run(position=TREE_POSITION, known=TREE_KNOWN):
    """A run of the cheap method on trees, two of whose points the user knows."""
    return rj.sample(
        jax.random.key(3),
        tree_density,
        position,
        300,
        method=CHEAP_METHOD,
        known_positions=known,
    )


def log_mean_exp(log_weight):
    log_weight = np.asarray(log_weight, float)
    return float(np.log(np.mean(np.exp(log_weight - log_weight.max()))) + log_weight.max())


@contextlib.contextmanager
def optimised():
    """Programs compiled as users have them, for a density that is dear to evaluate."""
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", True)
