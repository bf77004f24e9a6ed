"""Many NUTS chains of blackjax from broad starts, with step sizes and masses of window adaptation.

50 chains are adapted, from draws of the reference and in 300 steps each (step size, diagonal mass),
which is not counted. These 50 go on with their settings, and the first half of what they do is
thrown away; or there is one chain for each draw, which is its last state: it starts anew at a draw
of the reference, with the settings of one of the 50. Trees are at most 2^8 leapfrog steps.
"""

import blackjax
import jax
import jax.numpy as jnp

from benchmarks.baselines.target import EACH, Result, chains_of, compiled

NUM_ADAPTED = 50
NUM_WARMUP = 300
MAX_DOUBLINGS = 8
SIZES = ((50, 40), (50, 120), (EACH, 5), (50, 400), (EACH, 15), (50, 1200), (EACH, 50))
"""Chains, and draws of each; 50 chains of 2,000 draws cost a fortieth of them for each draw."""


@compiled
def tuned(key, target, num_samples):
    """Step sizes, inverse masses and positions of some chains after their adaptation."""

    def one(key):
        start_key, key = jax.random.split(key)
        warmup = blackjax.window_adaptation(
            blackjax.nuts, target.logdensity_fn, max_num_doublings=MAX_DOUBLINGS
        )
        start = jax.random.normal(start_key, (target.dim,))
        (state, parameters), _ = warmup.run(key, start, NUM_WARMUP)
        return parameters["step_size"], parameters["inverse_mass_matrix"], state.position

    return jax.vmap(one)(jax.random.split(key, NUM_ADAPTED))


@compiled
def program(key, target, num_samples, num_chains, num_draws, adapted):
    kernel = blackjax.nuts.build_kernel()
    num_kept = max(1, num_samples // num_chains)
    gap = jnp.maximum(1, (num_draws - num_draws // 2) // num_kept)
    step_size, inverse_mass, position = jax.tree.map(
        lambda leaf: leaf[jnp.arange(num_chains) % NUM_ADAPTED], adapted
    )
    start_key, key = jax.random.split(key)
    # an adapted step is too long where the reference is much wider than the target: few chains
    # cannot afford one that is stuck there; many that begin at 50 points would not be many
    is_new = num_chains > NUM_ADAPTED
    start = jax.random.normal(start_key, (num_chains, target.dim)) if is_new else position
    state = jax.vmap(lambda y: blackjax.nuts.init(y, target.logdensity_fn))(start)

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
        keys = jax.random.split(jax.random.fold_in(key, index), num_chains)
        state, num = jax.vmap(one)(keys, state, step_size, inverse_mass)
        return state, count + jnp.sum(num)

    def keep(carry, _):
        inner, begin = carry
        inner = jax.lax.fori_loop(begin, begin + gap, step, inner)
        return (inner, begin + gap), inner[0].position

    begin = num_draws // 2
    inner = jax.lax.fori_loop(0, begin, step, (state, jnp.asarray(num_chains)))
    ((_, count), _), kept = jax.lax.scan(keep, (inner, jnp.asarray(begin)), length=num_kept)
    return kept.reshape(-1, target.dim), count


def nuts(key, target, num_samples, size, adapted):
    num_chains, num_draws = chains_of(size[0], num_samples), size[1]
    position, count = program(key, target, num_samples, num_chains, num_draws, adapted)
    return Result(position, None, None, int(count), int(count))
