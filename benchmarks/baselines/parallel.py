"""Parallel tempering: non-reversible (alternate even and odd swaps), MALA inside.

Ten independent ladders of K temperatures from the reference, whose draws are exact, to the target;
K is 8 and twice the dimension's root more. In three rounds that are not counted, inverse
temperatures are placed so that all swaps are rejected equally often (Syed et al. 2022, JRSS-B 84),
and each temperature's step is tuned to an acceptance of .57. MALA is written out here: one
evaluation gives the reference's and the target's part, which swaps need apart. One move and one
round of swaps by turns; the first half is thrown away. log Z is by stepping stones.
"""

import math

import jax
import jax.numpy as jnp

from benchmarks.baselines.target import Result, adapted, compiled, reference_logdensity

NUM_LADDERS = 10
NUM_TUNING = 400
NUM_ROUNDS = 3
ACCEPTANCE = 0.57
SIZES = (100, 300, 1000, 3000, 10_000, 30_000)  # moves of each temperature


def num_temperatures(dim):
    return 8 + 2 * math.ceil(math.sqrt(dim))


def likelihood(target, y):
    """Log of target over reference with its gradient: what tempering multiplies."""
    value, slope = jax.value_and_grad(lambda y: target.logdensity_fn(y) - reference_logdensity(y))(
        y
    )
    return value, jnp.nan_to_num(slope)


def moved(key, target, beta, step_size, y, value, slope):
    """One MALA step at one inverse temperature; an exact draw where it is zero."""
    draw_key, accept_key = jax.random.split(key)
    noise = jax.random.normal(draw_key, y.shape)

    def drift(y, slope):
        return y + step_size * (beta * slope - y)

    ahead = drift(y, slope)
    proposal = jnp.where(beta == 0, noise, ahead + jnp.sqrt(2 * step_size) * noise)
    new_value, new_slope = likelihood(target, proposal)
    back = jnp.sum((y - drift(proposal, new_slope)) ** 2) - jnp.sum((proposal - ahead) ** 2)
    log_ratio = beta * (new_value - value) - back / (4 * step_size)
    log_ratio += reference_logdensity(proposal) - reference_logdensity(y)
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, jnp.where(beta == 0, 0.0, log_ratio))
    rate = jnp.exp(jnp.minimum(0.0, log_ratio))
    new = proposal, new_value, new_slope
    accepted = jax.random.uniform(accept_key) < rate
    chosen = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, (y, value, slope))
    return *chosen, rate


def swapped(key, parity, betas, y, value, slope):
    """Exchange neighbours k, k+1 of one ladder where k has the parity; rejection of each pair."""
    log_ratio = (betas[1:] - betas[:-1]) * (value[:-1] - value[1:])
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
    pair = jnp.arange(betas.size - 1)
    log_uniform = jnp.log(jax.random.uniform(key, pair.shape))
    accepted = (log_uniform < log_ratio) & (pair % 2 == parity)
    index = jnp.arange(betas.size)
    up, down = jnp.append(accepted, False), jnp.append(False, accepted)
    source = index + up - down
    return y[source], value[source], slope[source], 1 - jnp.exp(jnp.minimum(0.0, log_ratio))


def turn(key, index, target, betas, steps, y, value, slope):
    """A move of every temperature and swaps, in all ladders."""
    move_key, swap_key = jax.random.split(jax.random.fold_in(key, index))
    keys = jax.random.split(move_key, y.shape[:2])
    one = jax.vmap(
        lambda key, beta, step, *state: moved(key, target, beta, step, *state),
        in_axes=(0, 0, 0, 0, 0, 0),
    )
    ladders = jax.vmap(one, in_axes=(0, None, None, 0, 0, 0))
    y, value, slope, rate = ladders(keys, betas, steps, y, value, slope)
    keys = jax.random.split(swap_key, NUM_LADDERS)
    swap = jax.vmap(swapped, in_axes=(0, None, None, 0, 0, 0))
    y, value, slope, rejected = swap(keys, index % 2, betas, y, value, slope)
    return y, value, slope, jnp.mean(rate, axis=0), jnp.mean(rejected, axis=0)


def first(key, target, num):
    y = jax.random.normal(key, (NUM_LADDERS, num, target.dim))
    return y, *jax.vmap(jax.vmap(lambda y: likelihood(target, y)))(y)


@compiled
def tuned(key, target, num_samples):
    """Inverse temperatures and steps."""
    num = num_temperatures(target.dim)
    betas = jnp.append(0.0, jnp.geomspace(1e-3, 1.0, num - 1))
    log_steps = jnp.full(num, jnp.log(0.1))
    state = first(key, target, num)

    def tuning_round(carry, round_key):
        betas, log_steps, state = carry

        def step(index, carry):
            log_steps, state, total = carry
            *state, rate, rejected = turn(
                round_key, index, target, betas, jnp.exp(log_steps), *state
            )
            log_steps = adapted(log_steps, rate, ACCEPTANCE, index)
            return log_steps, tuple(state), total + rejected

        zero = jnp.zeros(num - 1)
        log_steps, state, total = jax.lax.fori_loop(0, NUM_TUNING, step, (log_steps, state, zero))
        barrier = jnp.append(0.0, jnp.cumsum(total / NUM_TUNING + 1e-3))
        even = jnp.linspace(0.0, barrier[-1], num)
        new = jnp.interp(even, barrier, betas)
        log_steps = jnp.interp(new, betas, log_steps)
        return (new, log_steps, state), total / NUM_TUNING

    keys = jax.random.split(key, NUM_ROUNDS)
    (betas, log_steps, state), rejected = jax.lax.scan(
        tuning_round, (betas, log_steps, state), keys
    )
    return betas, jnp.exp(log_steps), rejected[-1]


@compiled
def program(key, target, num_samples, size, betas, steps):
    start_key, key = jax.random.split(key)
    num_kept = max(1, num_samples // NUM_LADDERS)
    gap = jnp.maximum(1, (size - size // 2) // num_kept)
    state = first(start_key, target, betas.size)

    def step(index, carry):
        state, log_sum = carry
        *state, _, _ = turn(key, index, target, betas, steps, *state)
        increment = (betas[1:] - betas[:-1])[None, :] * state[1][:, :-1]
        log_sum = jnp.logaddexp(log_sum, jax.nn.logsumexp(increment, axis=0))
        return tuple(state), log_sum

    def keep(carry, _):
        inner, begin = carry
        inner = jax.lax.fori_loop(begin, begin + gap, step, inner)
        return (inner, begin + gap), inner[0][0][:, -1]

    none = jnp.full(betas.size - 1, -jnp.inf)
    state, _ = jax.lax.fori_loop(0, size // 2, step, (state, none))
    carry = (state, none), jnp.asarray(size // 2)
    ((_, log_sum), end), kept = jax.lax.scan(keep, carry, length=num_kept)
    log_z = jnp.sum(log_sum - jnp.log(NUM_LADDERS * (end - size // 2)))
    return kept.reshape(-1, target.dim), log_z, end


def parallel_tempering(key, target, num_samples, size, parameters):
    betas, steps, _ = parameters
    position, log_z, end = program(key, target, num_samples, size, betas, steps)
    count = NUM_LADDERS * betas.size * (int(end) + 1)
    return Result(position, None, float(log_z), count, count)
