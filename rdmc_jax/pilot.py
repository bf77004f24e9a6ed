"""Find where the target is and how wide it is, from its log density alone.

Three cheap stages: points at many distances from the user's position climb by damped Newton
steps; the points met on the way are ranked by the mass of the Gaussian that their height and
curvature describe (not by height: a spike of no mass would win); short chains from the best of
them spread over their modes. Location and scale of the chains' ends standardise the target, and
the ends join the pool.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .kernels import mala
from .resampling import systematic
from .tilted import Tilted, adapted, retarget, tilted_logdensity
from .types import Array, Evaluations, LogDensityFn, PRNGKey

MAX_NEWTON_DIM = 128
"""Above this dimension Hessians are too dear: their diagonal is estimated by random signs."""
SNAPSHOTS = (1, 2, 4, 8)
NUM_PROBES = 16
NUM_SHRINKS = 8


class Pilot(NamedTuple):
    """What the pilot learned."""

    location: Array  # (dim,)
    scale: Array  # (dim,) standard deviation over all modes
    width: Array  # (dim,) typical standard deviation within one mode
    points: Array  # (num_points, dim) ends of its chains, in the user's coordinates
    logdensity: Array  # (num_points,)
    num_evals: Evaluations
    num_nonfinite: Array


class _Local(NamedTuple):
    """Height and curvature at a point, in the coordinates ``x = unit u``."""

    x: Array
    value: Array
    newton: Array  # |H|^{-1} g
    deviation: Array  # √diag |H|^{-1}
    log_mass: Array  # value - ½ log det |H|


def _hessian(logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey) -> Array:
    """Hessian, or a diagonal estimate of it where the dimension is large."""
    gradient = jax.grad(logdensity_fn)

    def along(v: Array) -> Array:
        return jax.grad(lambda y: jnp.vdot(gradient(y), v))(x)

    if x.shape[0] <= MAX_NEWTON_DIM:
        return jax.vmap(along)(jnp.eye(x.shape[0], dtype=x.dtype))
    signs = jax.random.rademacher(rng_key, (NUM_PROBES, x.shape[0]), x.dtype)
    return jnp.diag(jnp.mean(signs * jax.vmap(along)(signs), axis=0))


def _look(logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey) -> _Local:
    value, gradient = jax.value_and_grad(logdensity_fn)(x)
    hessian = _hessian(logdensity_fn, x, rng_key)
    hessian = jnp.where(
        jnp.all(jnp.isfinite(hessian)), hessian, -jnp.eye(x.shape[0], dtype=x.dtype)
    )
    # equilibrated first: coordinates of very different scale would drown each other's
    # eigenvalues in rounding
    diagonal = jnp.maximum(jnp.max(jnp.abs(hessian), axis=0), 1e-30)
    unit = 1 / jnp.sqrt(diagonal)
    values, vectors = jnp.linalg.eigh(hessian * unit[:, None] * unit[None, :])
    curvature = jnp.maximum(jnp.abs(values), 1e-3)
    newton = unit * (vectors @ ((vectors.T @ (unit * gradient)) / curvature))
    deviation = unit * jnp.sqrt(jnp.sum(vectors**2 / curvature[None, :], axis=1))
    log_mass = value - 0.5 * jnp.sum(jnp.log(curvature)) + jnp.sum(jnp.log(unit))
    return _Local(x, value, newton, deviation, log_mass)


def _climb(
    logdensity_fn: LogDensityFn, x: Array, rng_key: PRNGKey, num_steps: int
) -> tuple[_Local, Array]:
    """Damped Newton steps towards a maximum; returns what was seen at every step."""
    lengths = jnp.asarray([1.0, 0.4, 0.1, 0.01, 0.0], x.dtype)

    def body(x: Array, key: PRNGKey) -> tuple[Array, tuple[_Local, Array]]:
        here = _look(logdensity_fn, x, key)
        tries = x[None, :] + lengths[:, None] * here.newton[None, :]
        values = jax.vmap(logdensity_fn)(tries)
        values = jnp.where(jnp.isfinite(values), values, -jnp.inf)
        return tries[jnp.argmax(values)], (here, jnp.sum(values == -jnp.inf, dtype=jnp.int32))

    _, (seen, bad) = jax.lax.scan(body, x, jax.random.split(rng_key, num_steps))
    return seen, jnp.sum(bad)


def pilot(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: Array,
    *,
    known: Array | None = None,
    num_starts: int = 32,
    num_climbs: int = 20,
    num_chains: int = 256,
    num_steps: int = 48,
) -> Pilot:
    """Location, scale and first points of a target.

    Args:
        rng_key: key.
        logdensity_fn: guarded density on flat arrays.
        position: a first guess, shape (dim,); may be far off.
        known: further points that the user knows, shape (num_known, dim).
        num_starts: points that climb, at distances from half to 4,000 times the local scale.
        num_climbs: Newton steps of each.
        num_chains: chains, the number of points returned.
        num_steps: MALA steps of each.

    Returns:
        A `Pilot`. Modes that no climb and no chain met are not in it.
    """
    dim, dtype = position.shape[0], position.dtype
    look_key, start_key, climb_key, choose_key, chain_key = jax.random.split(rng_key, 5)
    first = _look(logdensity_fn, position, look_key)
    # a flat spot has no curvature to measure a length by: the size of the position is a guess
    guess = jnp.where(first.deviation < 1e10, first.deviation, 1 + jnp.abs(position))
    reach = 2.0 ** jnp.linspace(-1.0, 12.0, num_starts, dtype=dtype)
    noise = jax.random.normal(start_key, (num_starts, dim), dtype)
    offsets = (reach[:, None] * guess[None, :] * noise).at[0].set(0.0)
    starts = jax.vmap(lambda offset: _inside(logdensity_fn, position, offset))(offsets)
    if known is not None:
        # all join the pool, but climbing is dear: a thinned set of them will do
        thinned = known[:: -(-known.shape[0] // num_starts)]
        starts = jnp.concatenate([starts, thinned.astype(dtype)])
    climb_keys = jax.random.split(climb_key, starts.shape[0])
    seen, bad = jax.vmap(lambda x, key: _climb(logdensity_fn, x, key, num_climbs))(
        starts, climb_keys
    )
    kept = sorted({min(s, num_climbs) - 1 for s in SNAPSHOTS} | {num_climbs - 1})
    met = jax.tree.map(
        lambda leaf: jnp.take(leaf, jnp.asarray(kept), axis=1).reshape(-1, *leaf.shape[2:]), seen
    )
    met = _bounded(met)
    mass = jnp.where(jnp.isfinite(met.log_mass), met.log_mass, -jnp.inf)
    best = jnp.max(mass)
    # modes of e^{-16} of the best mass are dropped; the square root because masses are rough;
    # and a mode that many climbers reached is not to be visited more often for that
    log_weight = jnp.where(mass > best - 16.0, 0.5 * mass - jnp.log(_crowding(met)), -jnp.inf)
    chosen = systematic(choose_key, log_weight, num_chains)
    begin = jax.tree.map(lambda leaf: leaf[chosen], met)
    state, chain_bad = _spread(chain_key, logdensity_fn, begin, num_steps)
    location = jnp.mean(state.position, axis=0)
    scale = jnp.std(state.position, axis=0)
    scale = jnp.where(scale > 0, scale, jnp.median(begin.deviation, axis=0))
    # curvature says how wide modes are; their geometric mean, because widths span decades
    deviation = jnp.minimum(begin.deviation, 3 * scale[None, :])
    width = jnp.exp(jnp.mean(jnp.log(deviation), axis=0))
    hessian_cost = min(dim, NUM_PROBES if dim > MAX_NEWTON_DIM else dim)
    climbs = 1 + starts.shape[0] * num_climbs
    gradients = climbs * (1 + hessian_cost) + num_chains * (num_steps + 1)
    densities = gradients + 5 * climbs + num_starts * NUM_SHRINKS
    evals = Evaluations(jnp.asarray(densities), jnp.asarray(gradients))
    return Pilot(
        location, scale, width, state.position, state.logdensity, evals, jnp.sum(bad) + chain_bad
    )


def _inside(logdensity_fn: LogDensityFn, position: Array, offset: Array) -> Array:
    """The farthest of ``position + 4^{-k} offset`` with positive density: supports may be small."""
    tries = position[None, :] + 4.0 ** -jnp.arange(NUM_SHRINKS)[:, None] * offset[None, :]
    tries = tries.astype(position.dtype)
    return tries[jnp.argmax(jnp.isfinite(jax.vmap(logdensity_fn)(tries)))]


def _bounded(met: _Local) -> _Local:
    """Deviations at most 30 times what is typical: where curvature vanishes it says nothing."""
    typical = jnp.nanmedian(
        jnp.where(jnp.isfinite(met.log_mass)[:, None], met.deviation, jnp.nan), 0
    )
    bound = 30 * jnp.broadcast_to(typical, met.deviation.shape)
    deviation = jnp.minimum(met.deviation, bound)
    excess = jnp.sum(jnp.log(met.deviation / deviation), axis=-1)
    return met._replace(deviation=deviation, log_mass=met.log_mass - excess)


def _crowding(met: _Local) -> Array:
    """Number of points within the Gaussian that the curvature at each point describes."""

    def one(x: Array, deviation: Array) -> Array:
        z = (met.x - x[None, :]) / (2 * deviation[None, :])
        return jnp.sum(jnp.exp(-0.5 * jnp.sum(z * z, axis=-1)))

    return jnp.maximum(jax.lax.map(lambda p: one(*p), (met.x, met.deviation), batch_size=64), 1.0)


def _spread(
    rng_key: PRNGKey, logdensity_fn: LogDensityFn, begin: _Local, num_steps: int
) -> tuple[Any, Array]:
    """MALA from each point in units of its own deviations, each with its own step size."""
    num_chains, dim = begin.x.shape
    user = Tilted(lambda y: jnp.zeros((), y.dtype), 0.0, jnp.ones(dim, begin.x.dtype))

    def local(one: _Local) -> Tilted:
        return Tilted(lambda y: jnp.zeros((), y.dtype), one.x, one.deviation)

    def start(one: _Local) -> Any:
        return mala(tilted_logdensity(logdensity_fn, local(one)), 1.0).init(jnp.zeros_like(one.x))

    def body(carry: Any, key: PRNGKey) -> Any:
        state, step_size = carry

        def move(one: _Local, h: Array, key: PRNGKey, state: Any) -> Any:
            return mala(tilted_logdensity(logdensity_fn, local(one)), h).step(key, state)

        keys = jax.random.split(key, num_chains)
        state, info = jax.vmap(move)(begin, step_size, keys, state)
        step_size = adapted(step_size, info.acceptance_rate, 0.57, 0.4)
        return (state, step_size), jnp.sum(info.num_nonfinite)

    first_step = jnp.full((num_chains,), 0.3 * dim ** (-1 / 3), begin.x.dtype)
    keys = jax.random.split(rng_key, num_steps)
    (state, _), bad = jax.lax.scan(body, (jax.vmap(start)(begin), first_step), keys)
    return jax.vmap(lambda one, s: retarget(s, local(one), user))(begin, state), jnp.sum(bad)
