"""Many Langevin chains from broad starts: unadjusted, underdamped, Metropolis-adjusted.

Chains start at draws of the reference: 100, whose first half is thrown away and whose draws are
equally spaced in the second; or one for each draw, which is its last state. Many short chains have
the proportions of the basins of attraction of independent starts, few long ones mix further.
MALA's step h is tuned to an acceptance of .57 over all chains in a pilot that is not counted. The
unadjusted chains have no acceptance to tune by. Both take the step that makes a Gaussian's
variance some 7 % too large: h / 8 for ULA, sqrt(2 h) / 3 for underdamped Langevin (OBABO, friction
1). blackjax has no unadjusted Langevin kernel for exact gradients, so these two are ours, tested
against closed forms in the suite; MALA is blackjax's.
"""

import blackjax
import jax
import jax.numpy as jnp

from benchmarks.baselines.target import EACH, Result, adapted, chains_of, compiled
from rdmc_jax import kernels

NUM_TUNED = 100
NUM_TUNING = 400
ACCEPTANCE = 0.57
# chains, and steps of each; 100 chains of 2,000 draws cost a twentieth of their steps for each draw
SIZES = tuple((100, steps) for steps in (20, 60, 200))
SIZES += ((EACH, 10), (100, 600), (EACH, 30), (100, 2000), (EACH, 100), (100, 6000), (EACH, 300))
SIZES += ((100, 20_000), (EACH, 1000))


def starts(key, target, num_chains):
    return jax.random.normal(key, (num_chains, target.dim))


@compiled
def tuned_step(key, target, num_samples):
    """MALA's step size in standardised coordinates, from chains of their own."""
    start_key, key = jax.random.split(key)
    state = jax.vmap(lambda y: blackjax.mala(target.logdensity_fn, 1.0).init(y))(
        starts(start_key, target, NUM_TUNED)
    )

    def step(index, carry):
        state, log_step = carry
        kernel = blackjax.mala(target.logdensity_fn, jnp.exp(log_step))
        keys = jax.random.split(jax.random.fold_in(key, index), NUM_TUNED)
        state, info = jax.vmap(kernel.step)(keys, state)
        rate = jnp.mean(jnp.nan_to_num(info.acceptance_rate))
        return state, adapted(log_step, rate, ACCEPTANCE, index)

    return jnp.exp(jax.lax.fori_loop(0, NUM_TUNING, step, (state, jnp.log(0.05)))[1])


def kept_draws(key, kernel, state, num_steps, num_samples, num_chains):
    """Equally spaced draws from the second half of the chains; the last of them is the end."""
    num_kept = max(1, num_samples // num_chains)
    gap = jnp.maximum(1, (num_steps - num_steps // 2) // num_kept)

    def step(index, state):
        keys = jax.random.split(jax.random.fold_in(key, index), num_chains)
        return jax.vmap(kernel.step)(keys, state)[0]

    state = jax.lax.fori_loop(0, num_steps // 2, step, state)

    def keep(carry, _):
        state, begin = carry
        state = jax.lax.fori_loop(begin, begin + gap, step, state)
        return (state, begin + gap), state.position

    (_, end), kept = jax.lax.scan(keep, (state, jnp.asarray(num_steps // 2)), length=num_kept)
    return kept.reshape(-1, kept.shape[-1]), end


def chains(make_kernel):
    """A baseline of one kernel: ``tune(key, target, num_samples)`` and ``run(...)``."""

    @compiled
    def program(key, target, num_samples, num_chains, num_steps, step_size):
        start_key, momentum_key, key = jax.random.split(key, 3)
        kernel = make_kernel(target.logdensity_fn, step_size)
        state = jax.vmap(kernel.init)(
            starts(start_key, target, num_chains), jax.random.split(momentum_key, num_chains)
        )
        return kept_draws(key, kernel, state, num_steps, num_samples, num_chains)

    def run(key, target, num_samples, size, step_size):
        num_chains, num_steps = chains_of(size[0], num_samples), size[1]
        position, num_done = program(key, target, num_samples, num_chains, num_steps, step_size)
        count = num_chains * (int(num_done) + 1)
        return Result(position, None, None, count, count)

    return run


ula = chains(lambda fn, step: kernels.ula(fn, step / 8))
underdamped = chains(lambda fn, step: kernels.uld(fn, jnp.sqrt(2 * step) / 3))
mala = chains(lambda fn, step: blackjax.mala(fn, step))
