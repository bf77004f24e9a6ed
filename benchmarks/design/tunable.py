"""A path whose grid, variances and Langevin steps are arrays, and their tuning by gradient.

For ``benchmarks.design.tuning``. Methods of the library have static grids; here the stages are
bound to traced ones.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import rdmc_jax as rj
from rdmc_jax.samplers.sampler import bound
from rdmc_jax.types import Estimator, record

NUM_PARTICLES = 256
RATE = 0.05
LOWEST = -1e3
LOW = -7.0
ESTIMATORS = ("importance", "chains")
PROCESS = rj.diffusion.ornstein_uhlenbeck()


def untuned(num_levels, high=7.0):
    """Uniform grid of log-SNR up to ``high``, no factors."""
    return {
        "low": jnp.float32(LOW),
        "increment": jnp.full(num_levels, (high - LOW) / num_levels),
        "log_variance": jnp.zeros(num_levels + 1),
        "log_step": jnp.zeros(num_levels + 1),
    }


def free(parameters):
    """The same without constraints: increments are softplus of what is tuned."""
    return {**parameters, "increment": jnp.log(jnp.expm1(parameters["increment"]))}


def constrained(raw):
    return {**raw, "increment": jax.nn.softplus(raw["increment"])}


def log_snr_of(parameters):
    return parameters["low"] + jnp.append(0.0, jnp.cumsum(parameters["increment"]))


@record
class stretched:
    """An estimator whose variance has a factor at each level."""

    estimator: Estimator
    log_variance: jax.Array

    def init(self, rng_key, logdensity_fn, posterior):
        """State of the estimator at level 0."""
        return jnp.zeros((), jnp.int32), self.estimator.init(rng_key, logdensity_fn, posterior)

    def update(self, rng_key, logdensity_fn, posterior, state):
        """Moments with the level's factor on their variance."""
        level, inner = state
        moments, inner = self.estimator.update(rng_key, logdensity_fn, posterior, inner)
        factor = jnp.exp(self.log_variance[level])
        return moments._replace(variance=factor * moments.variance), (level + 1, inner)

    def draw(self, rng_key, state):
        """One inner sample per particle."""
        return self.estimator.draw(rng_key, state[1])


class Traced(NamedTuple):
    """Levels at times that are arrays."""

    times: jax.Array
    estimator: Any
    transition: Any = rj.diffusion.moment_matched()
    process: Any = PROCESS


class Composed(NamedTuple):
    """The parts of a method."""

    start: Any
    levels: Any
    finish: Any
    pool: None = None


def run(rng_key, raw, *, logdensity_fn, dim, curvature, estimator, samples):
    """Run one ensemble.

    Args:
        rng_key: key.
        raw: of `free`.
        logdensity_fn: standardised.
        dim: its dimension.
        curvature: largest of ``-∇² log π``, which says what steps are stable.
        estimator: of `ESTIMATORS`.
        samples: factor of the inner samples.

    Returns:
        Log w, noise at each level and evaluations per particle.
    """
    parameters = constrained(raw)
    # the process's own inverse works on the host; grids here are arrays
    times = 0.5 * jax.nn.softplus(-log_snr_of(parameters))
    if estimator == "importance":
        inner = rj.estimators.importance(num_samples=32 * samples, reference_scale=2.0)
    else:
        # chains walk in the unit s/√(1+s²), where the posterior's curvature is at most this
        steepest = 1 + curvature * jax.nn.sigmoid(-log_snr_of(parameters))
        step = jnp.exp(parameters["log_step"]) / jax.lax.stop_gradient(2 * steepest)
        inner = rj.estimators.chains(
            rj.kernels.ula,
            num_chains=16 * samples,
            num_steps=2,
            num_start_steps=10,
            step_size=lambda level: step[level],
        )
    # times are traced here, so they cannot be checked, and the parts go past `rdmc`
    middle = Traced(times, stretched(inner, parameters["log_variance"]))
    start = rj.samplers.gaussian_start(num_particles=NUM_PARTICLES)
    composed = Composed(start, middle, rj.samplers.gaussian_finish())
    sampler = bound(composed, logdensity_fn, None)
    init_key, step_key = jax.random.split(rng_key)
    state = sampler.init(jnp.zeros(dim), init_key)
    keys = jax.random.split(step_key, sampler.num_steps)
    state, info = jax.lax.scan(lambda state, key: sampler.step(key, state), state, keys)
    evals = jnp.maximum(jnp.sum(info.num_evals.logdensity), jnp.sum(info.num_evals.gradient))
    return state.log_weight, info.noise_kl[:-1], evals / NUM_PARTICLES


def tuned(rng_key, raw, one_run, num_steps):
    """Parameters after Adam with a rate that falls to zero, and E[log w] along the way."""
    schedule = optax.cosine_decay_schedule(RATE, num_steps)
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def loss(raw, key):
        log_weight = one_run(key, raw)[0]
        # a path that left the support has no gradient that says where to go
        return -jnp.mean(jnp.maximum(log_weight, LOWEST))

    def step(carry, key):
        raw, state = carry
        value, gradient = jax.value_and_grad(loss)(raw, key)
        update, state = rule.update(jax.tree.map(jnp.nan_to_num, gradient), state, raw)
        return (optax.apply_updates(raw, update), state), -value

    keys = jax.random.split(rng_key, num_steps)
    (raw, _), values = jax.lax.scan(step, (raw, rule.init(raw)), keys)
    return raw, values
