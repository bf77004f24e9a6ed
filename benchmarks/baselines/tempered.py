"""Adaptive tempered SMC of blackjax from the reference, with MALA or HMC moves.

Temperatures keep the effective sample size of each re-weighting at .9 of the particles; systematic
resampling; some moves between temperatures, by as many particles as draws, or four times as many,
which are all draws with weights. The step follows the acceptance rate of the temperature before
it, and HMC (8 leapfrog steps) the variances of the particles. Nothing is tuned beforehand. log Z
is the sum of the increments; blackjax moves first and re-weights afterwards, so the draws of the
last temperature have weights. It evaluates the density anew at each temperature where a move
begins; what is counted here leaves that out, as if values were carried over, as ours and parallel
tempering's are.
"""

import blackjax
import blackjax.smc.resampling
import jax
import jax.numpy as jnp

from benchmarks.baselines.target import Result, compiled, reference_logdensity

TARGET_ESS = 0.9
NUM_LEAPFROG = 8
MAX_TEMPERATURES = 300
SIZES = ((1, 1), (3, 1), (1, 4), (10, 1), (3, 4), (30, 1), (10, 4), (100, 1), (30, 4))
"""MALA moves at each temperature, and particles for each draw."""
HMC_SIZES = ((1, 1), (2, 1), (1, 4), (5, 1), (17, 1), (5, 4))
"""The same for HMC."""
WANTED = {"mala": 0.57, "hmc": 0.75}
FIRST = {"mala": 0.1, "hmc": 0.3}


def moves(name):
    """One blackjax SMC move that repeats the kernel; its mean acceptance rate is its info."""
    kernel = blackjax.mala.build_kernel() if name == "mala" else blackjax.hmc.build_kernel()

    def one(key, state, logdensity_fn, step_size, variance):
        if name == "mala":
            return kernel(key, state, logdensity_fn, step_size)
        return kernel(key, state, logdensity_fn, step_size, variance, NUM_LEAPFROG)

    def move(key, state, logdensity_fn, step_size, variance, num_moves):
        def repeat(index, carry):
            state, rate = carry
            own = jax.random.fold_in(key, index)
            state, info = one(own, state, logdensity_fn, step_size, variance)
            return state, rate + jnp.nan_to_num(info.acceptance_rate)

        zero = jnp.zeros((), step_size.dtype)
        state, rate = jax.lax.fori_loop(0, num_moves, repeat, (state, zero))
        return state, rate / num_moves

    return move


def smc(name):
    """A baseline of one kernel."""
    init = blackjax.mala.init if name == "mala" else blackjax.hmc.init

    @compiled
    def program(key, target, num_chains, num_moves):
        start_key, key = jax.random.split(key)
        particles = jax.random.normal(start_key, (num_chains, target.dim))

        def log_likelihood(y):
            value = target.logdensity_fn(y) - reference_logdensity(y)
            return jnp.where(jnp.isnan(value), -jnp.inf, value)

        def body(carry):
            state, log_step, log_z, index = carry
            parameters = {
                "step_size": jnp.exp(log_step)[None],
                "variance": jnp.var(state.particles, axis=0)[None],
                "num_moves": jnp.asarray(num_moves)[None],
            }
            algorithm = blackjax.adaptive_tempered_smc(
                reference_logdensity,
                log_likelihood,
                moves(name),
                init,
                parameters,
                blackjax.smc.resampling.systematic,
                TARGET_ESS,
                num_mcmc_steps=1,
            )
            state, info = algorithm.step(jax.random.fold_in(key, index), state)
            change = jnp.mean(info.update_info) - WANTED[name]
            return state, log_step + change, log_z + info.log_likelihood_increment, index + 1

        def goes_on(carry):
            state, _, _, index = carry
            return (state.tempering_param < 1) & (index < MAX_TEMPERATURES)

        first = blackjax.smc.tempered.init(particles)
        log_step = jnp.log(jnp.asarray(FIRST[name], particles.dtype))
        carry = first, log_step, jnp.zeros((), particles.dtype), jnp.asarray(0)
        state, _, log_z, count = jax.lax.while_loop(goes_on, body, carry)
        return state.particles, jnp.log(state.weights), log_z, count, state.tempering_param

    def run(key, target, num_samples, size, _):
        num_moves, num_particles = size[0], size[1] * num_samples
        position, log_weight, log_z, rounds, last = program(key, target, num_particles, num_moves)
        each = num_moves if name == "mala" else num_moves * NUM_LEAPFROG
        count = num_particles * (1 + int(rounds) * each)
        log_z = float(log_z) if last >= 1 else float("nan")
        return Result(position, log_weight, log_z, count, count)

    return run


smc_mala, smc_hmc = smc("mala"), smc("hmc")
