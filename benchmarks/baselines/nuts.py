"""Many NUTS chains of blackjax, each with its own window adaptation, from broad starts.

50 chains; the adaptation of 300 steps (step size, diagonal mass) is not counted. Trees are at most
2^8 leapfrog steps. The first half of what follows is thrown away.
"""

import blackjax
import jax
import jax.numpy as jnp

from benchmarks.baselines.target import Result, compiled

NUM_CHAINS = 50
NUM_WARMUP = 300
MAX_DOUBLINGS = 8
SIZES = (40, 120, 400, 1200)  # draws of each chain


@compiled
def tuned(key, target, num_samples):
    """States and parameters of all chains after their adaptation."""

    def one(key):
        start_key, key = jax.random.split(key)
        warmup = blackjax.window_adaptation(
            blackjax.nuts, target.logdensity_fn, max_num_doublings=MAX_DOUBLINGS
        )
        start = jax.random.normal(start_key, (target.dim,))
        (state, parameters), _ = warmup.run(key, start, NUM_WARMUP)
        return state, parameters["step_size"], parameters["inverse_mass_matrix"]

    return jax.vmap(one)(jax.random.split(key, NUM_CHAINS))


@compiled
def program(key, target, num_samples, size, adapted):
    state, step_size, inverse_mass = adapted
    kernel = blackjax.nuts.build_kernel()
    num_kept = max(1, num_samples // NUM_CHAINS)
    gap = jnp.maximum(1, (size - size // 2) // num_kept)

    def one(key, state, step_size, inverse_mass):
        new, info = kernel(
            key,
            state,
            target.logdensity_fn,
            step_size,
            inverse_mass,
            max_num_doublings=MAX_DOUBLINGS,
        )
        return new, info.num_integration_steps

    def step(index, carry):
        state, count = carry
        keys = jax.random.split(jax.random.fold_in(key, index), NUM_CHAINS)
        state, num = jax.vmap(one)(keys, state, step_size, inverse_mass)
        return state, count + jnp.sum(num)

    def keep(carry, _):
        inner, begin = carry
        inner = jax.lax.fori_loop(begin, begin + gap, step, inner)
        return (inner, begin + gap), inner[0].position

    inner = jax.lax.fori_loop(0, size // 2, step, (state, jnp.asarray(0)))
    ((_, count), _), kept = jax.lax.scan(keep, (inner, jnp.asarray(size // 2)), length=num_kept)
    return kept.reshape(-1, target.dim), count


def nuts(key, target, num_samples, size, adapted):
    position, count = program(key, target, num_samples, size, adapted)
    return Result(position, None, None, int(count), int(count))
