"""Nested slice sampling of blackjax, with the reference as prior.

A tenth of the live points is replaced at a time, by some times the dimension slice moves for each,
until the live points hold less than exp(-3) of the evidence. Draws are all dead points with their
weights, whatever the number asked for; weights and log Z are means over simulated volumes. The
loop over rounds is on the host, as in blackjax's guide: their number is not known.
"""

import functools

import blackjax
import blackjax.ns.utils
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.baselines.target import Result, reference_logdensity

LOG_REST = -3.0
MAX_ROUNDS = 2000
SIZES = ((500, 1), (500, 3), (2000, 3), (8000, 3))
"""Live points, and times the dimension: slice moves for each new point."""


@functools.cache
def algorithm(target, num_live, num_times):
    def log_likelihood(y):
        value = target.logdensity_fn(y) - reference_logdensity(y)
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    made = blackjax.nss(
        logprior_fn=reference_logdensity,
        loglikelihood_fn=log_likelihood,
        num_delete=num_live // 10,
        num_inner_steps=num_times * target.dim,
    )
    return jax.jit(made.init), jax.jit(made.step)


def nested(key, target, num_samples, size, _):
    num_live, num_times = size
    init, step = algorithm(target, num_live, num_times)
    start_key, key, volume_key = jax.random.split(key, 3)
    live = init(jax.random.normal(start_key, (num_live, target.dim)))
    dead = []
    for index in range(MAX_ROUNDS):
        live, info = step(jax.random.fold_in(key, index), live)
        dead.append(info)
        if live.integrator.logZ_live - live.integrator.logZ < LOG_REST:
            break
    count = num_live + sum(int(np.sum(slices(info.update_info))) for info in dead)
    final = blackjax.ns.utils.finalise(live, dead)
    log_weight = blackjax.ns.utils.log_weights(volume_key, final, shape=100)
    log_z = float(jnp.mean(jax.nn.logsumexp(log_weight, axis=0)))
    mean_weight = jax.nn.logsumexp(log_weight, axis=1)
    return Result(final.particles.position, mean_weight, log_z, count, 0)


def slices(info):
    """Likelihood evaluations of the moves: both ends, stepping out, every shrinking trial."""
    return info.num_expansions + info.num_shrink + 2
