"""Pools: points that between them should touch every mode; their proportions need not be right.

A pool is fixed before it is used, so weights that are computed with it are exact for any pool.
What no pool member saw stays unseen: unions of unlike generators guard against that.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .kernels import mala
from .memo import memoised
from .resampling import systematic
from .tilted import Tilted, adapted, retarget, target_logdensity, tilted_logdensity, to_position
from .transitions import log_normal
from .types import Array, Evaluations, LogDensityFn, PRNGKey


class Pool(NamedTuple):
    """Weighted points and what they cost."""

    position: Array  # (num_points, dim)
    log_weight: Array  # (num_points,) unnormalised
    num_evals: Evaluations
    num_nonfinite: Array


PoolGenerator = Callable[[PRNGKey, LogDensityFn, Array], Pool]
"""``(rng_key, logdensity_fn, known) -> Pool`` for a standardised target; ``known`` are points that
the pilot or the user already has, shape (num_known, dim): at least one, the example position."""


def _pool(position: Array, logdensity: Array, count: Array, num_nonfinite: Array) -> Pool:
    # points of zero density are kept out of the pool without changing its shape
    log_weight = jnp.where(jnp.isfinite(logdensity), 0.0, -jnp.inf).astype(position.dtype)
    log_weight = jnp.where(jnp.any(log_weight == 0), log_weight, jnp.zeros_like(log_weight))
    return Pool(position, log_weight, Evaluations(count, count), num_nonfinite)


@memoised
def broad_chains(
    *, num_chains: int, num_steps: int = 100, scale: float = 2.0, first_step: float = 1e-3
) -> PoolGenerator:
    """Ends of MALA chains from broad starts N(0, scale² I), each with its own step size.

    Finds the modes whose basins the broad start touches, in the proportions of the basins.

    Args:
        num_chains: number of chains, the pool's size.
        num_steps: steps of each; ``num_steps + 1`` evaluations.
        scale: of the starts, in units of the standardised target.
        first_step: first step size over ``scale²``; adapted per chain to acceptance 0.57.

    Returns:
        A `PoolGenerator`.
    """

    def generate(rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Array) -> Pool:
        dim, dtype = known.shape[1], known.dtype
        start_key, scan_key = jax.random.split(rng_key)
        x = scale * jax.random.normal(start_key, (num_chains, dim), dtype)
        state = jax.vmap(mala(logdensity_fn, 1.0).init)(x)
        step_size = jnp.full((num_chains,), first_step * scale**2, dtype)

        def body(carry: Any, key: PRNGKey) -> Any:
            state, step_size = carry
            keys = jax.random.split(key, num_chains)
            state, info = jax.vmap(lambda h, k, s: mala(logdensity_fn, h).step(k, s))(
                step_size, keys, state
            )
            step_size = adapted(step_size, info.acceptance_rate, 0.57, 0.4)
            return (state, step_size), jnp.sum(info.num_nonfinite)

        first_bad = jnp.sum(~jnp.isfinite(state.logdensity), dtype=jnp.int32)
        keys = jax.random.split(scan_key, num_steps)
        (state, _), bad = jax.lax.scan(body, (state, step_size), keys)
        count = jnp.asarray(num_chains * (num_steps + 1), jnp.int32)
        return _pool(state.position, state.logdensity, count, first_bad + jnp.sum(bad))

    return generate


@memoised
def known_points() -> PoolGenerator:
    """The points that the pilot or the user already has; no evaluation besides their density's.

    Returns:
        A `PoolGenerator`.
    """

    def generate(rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Array) -> Pool:
        logdensity = jax.vmap(logdensity_fn)(known)
        count = jnp.asarray(known.shape[0], jnp.int32)
        pool = _pool(known, logdensity, count, jnp.sum(~jnp.isfinite(logdensity)))
        return pool._replace(num_evals=Evaluations(count, jnp.zeros_like(count)))

    return generate


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
    scale: float = 2.0,
    max_rounds: int = 100,
    num_final_steps: int = 10,
) -> PoolGenerator:
    """Adaptive tempered sequential Monte Carlo from N(0, scale² I).

    Temperatures are chosen so that each reweighting keeps half of the effective sample size;
    MALA with the population's diagonal scale moves the particles, and separates the copies
    that resampling made by some more steps at the end.

    Args:
        num_particles: the pool's size.
        num_steps: MALA steps per temperature.
        scale: of the broad start.
        max_rounds: temperatures at most; what has not cooled by then is used as it is.
        num_final_steps: MALA steps on the target itself.

    Returns:
        A `PoolGenerator`.

    Reference: Del Moral, Doucet, Jasra (2012), Stat. Comput. 22, Section 3.
    """

    def tilted(beta: Array, unit: Array) -> Tilted:
        def log_rest(y: Array) -> Array:
            return (1 - beta) * log_normal(y, jnp.zeros_like(y), jnp.full_like(y, scale**2))

        return Tilted(log_rest, 0.0, unit, beta)

    def generate(rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Array) -> Pool:
        dim, dtype = known.shape[1], known.dtype
        start_key, loop_key, final_key = jax.random.split(rng_key, 3)
        # states are kept as on the target itself (β = 1, unit 1); each round retargets them
        plain = tilted(jnp.ones((), dtype), jnp.ones(dim, dtype))
        x = scale * jax.random.normal(start_key, (num_particles, dim), dtype)
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
            ratio = value - log_normal(y, jnp.zeros_like(y), jnp.full_like(y, scale**2))
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
        return _pool(state.position, value, count, end.num_nonfinite + more)

    return generate


@memoised
def union(*generators: PoolGenerator) -> PoolGenerator:
    """All points of several pools, which see different things; each keeps its weights.

    Args:
        generators: pool generators.

    Returns:
        A `PoolGenerator`.
    """

    def generate(rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Array) -> Pool:
        keys = jax.random.split(rng_key, len(generators))
        pools = [one(key, logdensity_fn, known) for one, key in zip(generators, keys, strict=True)]
        return Pool(
            jnp.concatenate([pool.position for pool in pools]),
            jnp.concatenate([pool.log_weight for pool in pools]),
            Evaluations(*(sum(counts) for counts in zip(*(p.num_evals for p in pools)))),
            sum((pool.num_nonfinite for pool in pools), jnp.zeros((), jnp.int32)),
        )

    return generate
