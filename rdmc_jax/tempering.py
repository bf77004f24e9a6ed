"""A pool from adaptive tempered sequential Monte Carlo."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .kernels import mala
from .memo import memoised
from .pool import pool_of, spread
from .resampling import systematic
from .tilted import Tilted, adapted, nonfinite_of, retarget, tilted_logdensity
from .transitions import log_normal
from .types import Array, LogDensityFn, Pool, PoolGenerator, PRNGKey


class _Tempered(NamedTuple):
    state: Any  # on the target itself, whatever the temperature
    beta: Array
    step_size: Array
    rounds: Array
    cold_rounds: Array  # done at the target's own temperature
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
    # never no step at all, were the start ever so much too broad
    return jnp.where(is_low(1 - beta), beta + jnp.maximum(low, 1e-9), 1.0)


@memoised
def tempered_smc(
    *,
    num_particles: int,
    num_steps: int = 4,
    factor: float = 2.0,
    max_rounds: int = 100,
    num_cold_rounds: int = 3,
) -> PoolGenerator:
    """Adaptive tempered sequential Monte Carlo from a broad Gaussian.

    Temperatures are chosen so that each reweighting keeps half of the effective sample size;
    MALA with the population's diagonal scale moves the particles, and separates the copies
    that resampling made by some more rounds at the end.

    Args:
        num_particles: the pool's size.
        num_steps: MALA steps per temperature.
        factor: breadth of the start over the spread of the known points.
        max_rounds: temperatures at most; what has not cooled by then is used as it is.
        num_cold_rounds: rounds on the target itself.

    Returns:
        A `PoolGenerator`.

    Reference: Del Moral, Doucet, Jasra (2012), Stat. Comput. 22, Section 3.
    """

    def generate(rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Pool) -> Pool:
        dim, dtype = known.position.shape[1], known.position.dtype
        center, breadth = spread(known, factor)
        start_key, loop_key = jax.random.split(rng_key)
        x = center[None, :] + breadth[None, :] * jax.random.normal(
            start_key, (num_particles, dim), dtype
        )
        plain = Tilted(lambda y: jnp.zeros((), dtype), 0.0, jnp.ones(dim, dtype))
        state = jax.vmap(mala(logdensity_fn, 1.0).init)(x)

        def broad(y: Array) -> Array:
            return log_normal(y, center, breadth**2)

        def move(key: PRNGKey, state: Any, beta: Array, step_size: Array) -> tuple[Any, Any, Any]:
            unit = jnp.sqrt(jnp.var(state.position, axis=0) + 1e-12)
            local = Tilted(lambda y: (1 - beta) * broad(y), 0.0, unit, beta)
            density = tilted_logdensity(logdensity_fn, local)
            state = jax.vmap(lambda one: retarget(one, plain, local))(state)

            def body(carry: Any, key: PRNGKey) -> Any:
                state, h = carry
                keys = jax.random.split(key, num_particles)
                state, info = jax.vmap(mala(density, h).step)(keys, state)
                h = adapted(h, jnp.mean(info.acceptance_rate), 0.57, 0.6)
                return (state, h), nonfinite_of(info)

            keys = jax.random.split(key, num_steps)
            (state, step_size), bad = jax.lax.scan(body, (state, step_size), keys)
            state = jax.vmap(lambda one: retarget(one, local, plain))(state)
            return state, step_size, jnp.sum(bad, dtype=jnp.int32)

        def one_round(carry: _Tempered) -> _Tempered:
            resample_key, move_key = jax.random.split(jax.random.fold_in(loop_key, carry.rounds))
            log_ratio = carry.state.logdensity - jax.vmap(broad)(carry.state.position)
            log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
            beta = _next_beta(log_ratio, carry.beta, 0.5)
            delta = beta - carry.beta
            chosen = systematic(
                resample_key, jnp.where(delta > 0, delta * log_ratio, 0.0), num_particles
            )
            state = jax.tree.map(lambda leaf: leaf[chosen], carry.state)
            state, step_size, bad = move(move_key, state, beta, carry.step_size)
            return _Tempered(
                state,
                beta,
                step_size,
                carry.rounds + 1,
                carry.cold_rounds + (beta == 1),
                carry.num_nonfinite + bad,
            )

        def is_running(carry: _Tempered) -> Array:
            return (carry.cold_rounds < num_cold_rounds) & (carry.rounds < max_rounds)

        none = jnp.zeros((), jnp.int32)
        bad = jnp.sum(~jnp.isfinite(state.logdensity), dtype=jnp.int32)
        first_step = jnp.asarray(0.3, dtype)
        first = _Tempered(state, jnp.zeros((), dtype), first_step, none, none, bad)
        end = jax.lax.while_loop(is_running, one_round, first)
        count = num_particles * (1 + num_steps * end.rounds)
        return pool_of(end.state.position, end.state.logdensity, count, end.num_nonfinite)

    return generate
