"""A pool from adaptive tempered sequential Monte Carlo."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .kernels import mala
from .memo import memoised
from .pool import pool_of, spread
from .resampling import systematic
from .tilted import Tilted, adapted, retarget, target_logdensity, tilted_logdensity, to_position
from .transitions import log_normal
from .types import Array, LogDensityFn, Pool, PoolGenerator, PRNGKey


class _Tempered(NamedTuple):
    state: Any
    beta: Array
    step_size: Array
    rounds: Array
    num_nonfinite: Array


@memoised
def tempered_smc(
    *,
    num_particles: int,
    num_steps: int = 4,
    factor: float = 2.0,
    max_rounds: int = 100,
    num_final_steps: int = 10,
) -> PoolGenerator:
    """Adaptive tempered sequential Monte Carlo from a broad Gaussian.

    Temperatures are chosen so that each reweighting keeps half of the effective sample size;
    MALA with the population's diagonal scale moves the particles, and separates the copies
    that resampling made by some more steps at the end.

    Args:
        num_particles: the pool's size.
        num_steps: MALA steps per temperature.
        factor: breadth of the start over the spread of the known points.
        max_rounds: temperatures at most; what has not cooled by then is used as it is.
        num_final_steps: MALA steps on the target itself.

    Returns:
        A `PoolGenerator`.

    Reference: Del Moral, Doucet, Jasra (2012), Stat. Comput. 22, Section 3.
    """

    def generate(rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Pool) -> Pool:
        dim, dtype = known.position.shape[1], known.position.dtype
        center, breadth = spread(known, factor)

        def tilted(beta: Array, unit: Array) -> Tilted:
            def log_rest(y: Array) -> Array:
                return (1 - beta) * log_normal(y, center, breadth**2)

            return Tilted(log_rest, 0.0, unit, beta)

        start_key, loop_key, final_key = jax.random.split(rng_key, 3)
        # states are kept as on the target itself (β = 1, unit 1); each round retargets them
        plain = tilted(jnp.ones((), dtype), jnp.ones(dim, dtype))
        x = center + breadth * jax.random.normal(start_key, (num_particles, dim), dtype)
        state = jax.vmap(mala(tilted_logdensity(logdensity_fn, plain), 1.0).init)(x)
        bad = jnp.sum(~jnp.isfinite(state.logdensity), dtype=jnp.int32)

        def move(key: PRNGKey, state: Any, beta: Array, step_size: Array, length: int) -> Any:
            unit = jnp.sqrt(jnp.var(state.position, axis=0) + 1e-12)
            local = tilted(beta, unit)
            kernel_density = tilted_logdensity(logdensity_fn, local)
            state = jax.vmap(lambda one: retarget(one, plain, local))(state)

            def body(carry: Any, key: PRNGKey) -> Any:
                state, h = carry
                keys = jax.random.split(key, num_particles)
                state, info = jax.vmap(mala(kernel_density, h).step)(keys, state)
                h = adapted(h, jnp.mean(info.acceptance_rate), 0.57, 0.6)
                return (state, h), jnp.sum(info.num_nonfinite)

            keys = jax.random.split(key, length)
            (state, step_size), bad = jax.lax.scan(body, (state, step_size), keys)
            state = jax.vmap(lambda one: retarget(one, local, plain))(state)
            return state, step_size, jnp.sum(bad)

        def increment(state: Any) -> Array:
            y = to_position(plain, state.position)
            value = jax.vmap(lambda xi, ld: target_logdensity(plain, xi, ld))(y, state.logdensity)
            ratio = value - log_normal(y, center, breadth**2)
            return jnp.where(jnp.isnan(ratio), -jnp.inf, ratio)

        def next_beta(log_ratio: Array, beta: Array) -> Array:
            def ess(delta: Array) -> Array:
                weight = jax.nn.softmax(delta * log_ratio)
                return 1 / jnp.sum(weight**2)

            def halve(bounds: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
                low, high = bounds
                middle = 0.5 * (low + high)
                is_small = ess(middle) < 0.5 * num_particles
                return (jnp.where(is_small, low, middle), jnp.where(is_small, middle, high)), None

            whole = 1 - beta
            # geometric start: the first step can be tiny when the start is far too broad
            bounds = (jnp.zeros_like(beta), whole)
            (low, _), _ = jax.lax.scan(halve, bounds, None, length=30)
            return jnp.where(ess(whole) >= 0.5 * num_particles, 1.0, beta + jnp.maximum(low, 1e-9))

        def round_(carry: _Tempered) -> _Tempered:
            resample_key, move_key = jax.random.split(jax.random.fold_in(loop_key, carry.rounds))
            log_ratio = increment(carry.state)
            beta = next_beta(log_ratio, carry.beta)
            log_weight = (beta - carry.beta) * log_ratio
            chosen = systematic(resample_key, log_weight, num_particles)
            state = jax.tree.map(lambda leaf: leaf[chosen], carry.state)
            state, step_size, bad = move(move_key, state, beta, carry.step_size, num_steps)
            return _Tempered(state, beta, step_size, carry.rounds + 1, carry.num_nonfinite + bad)

        def is_running(carry: _Tempered) -> Array:
            return (carry.beta < 1) & (carry.rounds < max_rounds)

        zero, step = jnp.zeros((), dtype), jnp.asarray(0.3, dtype)
        first = _Tempered(state, zero, step, jnp.zeros((), jnp.int32), bad)
        end = jax.lax.while_loop(is_running, round_, first)
        one = jnp.ones((), dtype)
        state, _, more = move(final_key, end.state, one, end.step_size, num_final_steps)
        count = num_particles * (1 + num_steps * end.rounds + num_final_steps)
        value = jax.vmap(lambda xi, ld: target_logdensity(plain, xi, ld))(
            state.position, state.logdensity
        )
        return pool_of(state.position, value, count, end.num_nonfinite + more)

    return generate
