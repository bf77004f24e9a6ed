"""A pool from adaptive tempered sequential Monte Carlo."""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..diffusion.transitions import log_normal
from ..montecarlo.kernels import mala
from ..montecarlo.resampling import systematic
from ..montecarlo.tilted import (
    Tilted,
    adapted,
    evaluations_of,
    nonfinite_of,
    retarget,
    tilted_logdensity,
)
from ..types import (
    Array,
    Evaluations,
    KernelFactory,
    LogDensityFn,
    Pool,
    PRNGKey,
    record,
)
from .pool import pool_of, spread

SMALL = 1e-3
"""Inverse temperature below which the target is evaluated anew after each round. A chain at β knows
β times its log density, beside that of the reference, and rounding is multiplied by 1/β."""


class _Tempered(NamedTuple):
    state: Any  # on the target itself, whatever the temperature
    beta: Array
    step_size: Array
    rounds: Array
    cold_rounds: Array  # done at the target's own temperature
    num_evals: Evaluations
    num_nonfinite: Array


def _next_beta(log_ratio: Array, beta: Array, share: float) -> Array:
    """Largest β whose reweighting keeps ``share`` of the effective sample size, by bisection."""

    def is_low(delta: Array) -> Array:
        weight = jax.nn.softmax(delta * log_ratio)
        return jnp.sum(weight) ** 2 < share * weight.size * jnp.sum(weight**2)

    def halve(bounds: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = bounds
        middle = 0.5 * (low + high)
        small = is_low(middle)
        return (jnp.where(small, low, middle), jnp.where(small, middle, high)), None

    (low, _), _ = jax.lax.scan(halve, (jnp.zeros_like(beta), 1 - beta), None, length=30)
    # always advance a little, however broad the starting distribution
    least = jnp.maximum(1e-9, 4 * jnp.finfo(beta.dtype).eps * beta)
    return jnp.where(is_low(1 - beta), beta + jnp.maximum(low, least), 1.0)


class Tempering(NamedTuple):
    """Static options of `temper`."""

    kernel: KernelFactory
    target_acceptance: float
    num_steps: int
    max_rounds: int
    num_cold_rounds: int


def temper(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    x: Array,
    log_reference: Callable[[Array], Array],
    options: Tempering,
) -> tuple[Any, Evaluations, Array]:
    """Move draws of a reference to the target along ``π^β reference^{1-β}``, β from 0 to 1.

    Temperatures are chosen so that each reweighting keeps half of the effective sample size; the
    kernel walks in units of the population's standard deviations.

    Args:
        rng_key: key.
        logdensity_fn: target.
        x: draws of the reference, shape (num_particles, dim).
        log_reference: its log density at one point, normalised or not.
        options: static options.

    Returns:
        Chain states on the target, evaluations, and the number of non-finite values met.
    """
    num_particles, dim = x.shape
    kernel = options.kernel
    plain = Tilted(lambda y: jnp.zeros((), x.dtype), 0.0, jnp.ones(dim, x.dtype))

    def evaluated(x: Array) -> Any:
        return jax.vmap(kernel(logdensity_fn, 1.0).init)(x)

    def move(
        key: PRNGKey, state: Any, beta: Array, step_size: Array
    ) -> tuple[Any, Array, Evaluations, Array]:
        unit = jnp.sqrt(jnp.var(state.position, axis=0) + 1e-12)
        local = Tilted(lambda y: (1 - beta) * log_reference(y), 0.0, unit, beta)
        density = tilted_logdensity(logdensity_fn, local)
        state = jax.vmap(lambda one: retarget(one, plain, local))(state)

        def body(carry: Any, key: PRNGKey) -> Any:
            state, h = carry
            keys = jax.random.split(key, num_particles)
            state, info = jax.vmap(kernel(density, h).step)(keys, state)
            rate = jnp.mean(info.acceptance_rate)
            h = adapted(h, rate, options.target_acceptance, 0.6)
            return (state, h), (evaluations_of(state, info, num_particles), nonfinite_of(info))

        keys = jax.random.split(key, options.num_steps)
        (state, step_size), (evals, bad) = jax.lax.scan(body, (state, step_size), keys)
        state = jax.vmap(lambda one: retarget(one, local, plain))(state)
        evals, bad = jax.tree.map(lambda count: jnp.sum(count, dtype=jnp.int32), (evals, bad))
        return state, step_size, evals, bad

    def colder(carry: _Tempered) -> _Tempered:
        resample_key, move_key = jax.random.split(jax.random.fold_in(rng_key, carry.rounds))
        log_ratio = carry.state.logdensity - jax.vmap(log_reference)(carry.state.position)
        log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
        beta = _next_beta(log_ratio, carry.beta, 0.5)
        delta = beta - carry.beta
        log_weight = jnp.where(delta > 0, delta * log_ratio, 0.0)
        chosen = systematic(resample_key, log_weight, num_particles)
        state = jax.tree.map(lambda leaf: leaf[chosen], carry.state)
        state, step_size, evals, bad = move(move_key, state, beta, carry.step_size)
        return _Tempered(
            state,
            beta,
            step_size,
            carry.rounds + 1,
            carry.cold_rounds + (beta == 1),
            jax.tree.map(jnp.add, carry.num_evals, evals),
            carry.num_nonfinite + bad,
        )

    def anew(carry: _Tempered) -> _Tempered:
        state = evaluated(carry.state.position)
        # every kernel makes one evaluation per chain when it is initialised
        evals = evaluations_of(state, None, num_particles)
        bad = jnp.sum(~jnp.isfinite(state.logdensity), dtype=jnp.int32)
        return carry._replace(
            state=state,
            num_evals=jax.tree.map(jnp.add, carry.num_evals, evals),
            num_nonfinite=carry.num_nonfinite + bad,
        )

    def one_round(carry: _Tempered) -> _Tempered:
        # the first round only evaluates, so that the program has the density once for both
        carry = jax.lax.cond(carry.rounds < 0, lambda one: one._replace(rounds=zero), colder, carry)
        return jax.lax.cond(carry.beta < SMALL, anew, lambda one: one, carry)

    def is_running(carry: _Tempered) -> Array:
        return (carry.cold_rounds < options.num_cold_rounds) & (carry.rounds < options.max_rounds)

    zero = jnp.zeros((), jnp.int32)
    state = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), jax.eval_shape(evaluated, x))
    state = state._replace(position=x)
    first = _Tempered(
        state,
        jnp.zeros((), x.dtype),
        jnp.asarray(0.3, x.dtype),
        jnp.full((), -1, jnp.int32),
        zero,
        Evaluations.zero(),
        zero,
    )
    end = jax.lax.while_loop(is_running, one_round, first)
    return end.state, end.num_evals, end.num_nonfinite


@record
class tempered_smc:
    """Adaptive tempered sequential Monte Carlo from a broad Gaussian.

    Temperatures are chosen so that each reweighting keeps half of the effective sample size. The
    kernel moves the particles in units of the population's standard deviations. Some more rounds at
    the end separate the copies that resampling made.

    Args:
        kernel: factory of a kernel that leaves its density invariant.
        num_particles: the pool's size.
        num_steps: kernel steps per temperature.
        factor: breadth of the start over the spread of the known points.
        target_acceptance: of the kernel.
        max_rounds: largest number of temperatures; what has not cooled by then is used as it is.
        num_cold_rounds: rounds on the target itself.

    It is a `PoolGenerator`.

    Reference: Del Moral, Doucet, Jasra (2012), Stat. Comput. 22, Section 3.
    """

    kernel: KernelFactory = mala
    _: KW_ONLY
    num_particles: int
    num_steps: int = 4
    factor: float = 2.0
    target_acceptance: float = 0.57
    max_rounds: int = 100
    num_cold_rounds: int = 3

    def __call__(self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Pool) -> Pool:
        """Make the pool; the arguments are those of a `PoolGenerator`."""
        options = Tempering(
            self.kernel,
            self.target_acceptance,
            self.num_steps,
            self.max_rounds,
            self.num_cold_rounds,
        )
        dim, dtype = known.position.shape[1], known.position.dtype
        center, breadth = spread(known, self.factor)
        start_key, loop_key = jax.random.split(rng_key)
        noise = jax.random.normal(start_key, (self.num_particles, dim), dtype)
        x = center[None, :] + breadth[None, :] * noise

        def broad(y: Array) -> Array:
            return log_normal(y, center, breadth**2)

        state, evals, bad = temper(loop_key, logdensity_fn, x, broad, options)
        return pool_of(state.position, state.logdensity, evals, bad)
