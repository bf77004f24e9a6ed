"""Nested slice sampling of blackjax, with the reference as prior.

500 live points, 50 replaced at a time, ``size`` times the dimension slice moves for each, until the
live points hold less than exp(-3) of the evidence. Draws are all dead points with their weights,
resampled to the number asked for, as blackjax's guide does; log Z is the mean over simulated
volumes. The loop over rounds is on the host, as in blackjax's guide: their number is not known.
"""

import functools

import blackjax
import blackjax.ns.utils
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.baselines.target import Result, reference_logdensity

NUM_LIVE = 500
NUM_DELETE = 50
LOG_REST = -3.0
MAX_ROUNDS = 2000
SIZES = (1, 3)  # times the dimension: slice moves for each new point


@functools.cache
def algorithm(target, size):
    def log_likelihood(y):
        value = target.logdensity_fn(y) - reference_logdensity(y)
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    made = blackjax.nss(
        logprior_fn=reference_logdensity,
        loglikelihood_fn=log_likelihood,
        num_delete=NUM_DELETE,
        num_inner_steps=size * target.dim,
    )
    return jax.jit(made.init), jax.jit(made.step)


def nested(key, target, num_samples, size, _):
    init, step = algorithm(target, size)
    start_key, key, volume_key, draw_key = jax.random.split(key, 4)
    live = init(jax.random.normal(start_key, (NUM_LIVE, target.dim)))
    dead = []
    for index in range(MAX_ROUNDS):
        live, info = step(jax.random.fold_in(key, index), live)
        dead.append(info)
        if live.integrator.logZ_live - live.integrator.logZ < LOG_REST:
            break
    count = NUM_LIVE + sum(int(np.sum(slices(info.update_info))) for info in dead)
    final = blackjax.ns.utils.finalise(live, dead)
    log_weight = blackjax.ns.utils.log_weights(volume_key, final, shape=100)
    log_z = float(jnp.mean(jax.nn.logsumexp(log_weight, axis=0)))
    position = blackjax.ns.utils.sample(draw_key, final, num_samples)
    return Result(position.position, None, log_z, count, 0)


def slices(info):
    """Likelihood evaluations of the moves: both ends, stepping out, every shrinking trial."""
    return info.num_expansions + info.num_shrink + 2
