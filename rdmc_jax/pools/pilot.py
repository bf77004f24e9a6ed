"""Find where the target is and how wide it is, with gradients and without.

With gradients there are three cheap stages. Points at many distances from the user's position climb
by L-BFGS, and curvature is taken where they end. Rounds of further points start where the density
exceeds what the modes met explain, because a narrow mode in many dimensions has a small basin.
Short chains from the best of all points spread over their modes: location and scale of the chains'
ends standardise the target, and the ends join the pool. Without gradients there is one stage:
tempering from a reference of all scales at once.
"""

import math
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..montecarlo.kernels import ChainState, mala, random_walk
from ..montecarlo.resampling import systematic
from ..types import Array, Evaluations, Injected, Laplace, LogDensityFn, PRNGKey, Runaway, record
from .curvature import average_factor, products_per_point
from .injection import (
    NUM_INJECTED,
    WIDTHS,
    covered,
    log_excess_of_injected,
    log_overlap,
)
from .mode_search import (
    LOOKS,
    NUM_EXPLAINING,
    NUM_SHRINKS,
    LocalGaussian,
    affordable,
    best_first,
    clip_widths,
    divisor,
    judged,
    lbfgs_ascent,
    local_factor,
    local_gaussian,
    log_rank,
    propose_starts,
    supported_point,
    thinned_to,
)
from .pool import adapted_chains, deviation_of
from .tempering import Tempering, temper

NUM_LAPLACE = 32
"""Gaussians at modes that are passed on, chosen like the starts of the chains."""
CONTINUED = 0.25
"""Share of the climbs of each later round that go on from the best points so far."""
MOST_PRODUCTS = 4096
"""Hessian products computed at once: more would need much more memory than an ensemble does."""
WORTH_MORE = 4.6
"""Log of the largest mass over that of a mode for which the search goes on."""
WAITS = (6, 40)
"""Dimensions below and above which the search goes on as long as in these."""


class _Search(NamedTuple):
    number: Array  # rounds of climbs so far
    starts: Array
    unit: Array
    reference: Array  # the unit after the first round
    met: LocalGaussian
    best: LocalGaussian  # (num_chains,)
    known: LocalGaussian  # (NUM_EXPLAINING,) whose Gaussians explain the density
    num_tried: Array  # candidates
    num_blocks: Array
    last_new: Array  # candidates that were tried when something new was met
    num_notable: Array  # starts of the last block
    num_nonfinite: Array
    log_excess: Array  # of injected modes, so far
    runaway: Runaway


class Pilot(NamedTuple):
    """What a pilot found, and what it cost."""

    location: Array  # (dim,)
    scale: Array  # (dim,) standard deviation over all modes
    shape: Array  # typical spread within one mode: deviations (dim,), or A of A Aᵀ (dim, dim)
    points: Array  # (num_points, dim) ends of its chains, in the user's coordinates
    logdensity: Array  # (num_points,)
    num_evals: Evaluations
    num_nonfinite: Array
    laplace: Laplace | None = None  # at modes, in the user's coordinates
    injected: Injected | None = None  # what the search would have seen
    runaway: Runaway | None = None  # where the density does not fall off


PilotFn = Callable[[PRNGKey, LogDensityFn, Array, Array | None, np.ndarray], Pilot]
"""``(rng_key, logdensity_fn, position, known, exchanges) -> Pilot``: a guarded density on flat
arrays, a first guess of shape (dim,) that may be far off, points that the user knows, (num_known,
dim), or None, and the coordinates after each of the exchanges that the user's PyTree suggests,
(num_exchanges, dim), see `symmetry.tree_exchanges`."""


@record
class climbing_pilot:
    """Location, scale and first points of a target, by L-BFGS climbs and short chains.

    Args:
        num_rounds: rounds of climbs. The first starts at distances from half to 4,000 times the
            local scale; later ones go on from the best points and start anew around all.
        num_starts: points that climb in each round.
        num_iterations: L-BFGS iterations of each, one value and gradient each.
        num_candidates: candidates for each start of a later round; the one that known modes
            explain least is taken. One in sixteen is an image of a point met, under an exchange or
            a reflection (`symmetry.images`). Fewer in more than 128 dimensions, see
            `mode_search.affordable`.
        least_evals: evaluations up to which blocks of candidates go on after the rounds.
        most_evals: the same as long as the last mode was met lately; it counts if it has a
            hundredth of the largest mass and lies behind a valley. In ``dim`` dimensions the search
            goes on for ``2^{dim/2}`` times the candidates that it took: modes narrower by √2
            dominate as many times fewer.
        num_chains: chains, the number of points returned.
        num_steps: MALA steps of each.

    It is a `PilotFn`. It does not find modes that no climb and no chain met.
    """

    _: KW_ONLY
    num_rounds: int = 3
    num_starts: int = 64
    num_iterations: int = 24
    num_candidates: int = 192
    least_evals: int = 0
    most_evals: int = 0
    num_chains: int = 256
    num_steps: int = 48

    def __call__(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        position: Array,
        known: Array | None,
        exchanges: np.ndarray | None = None,
    ) -> Pilot:
        """Find location, scale and points; the arguments are those of a `PilotFn`."""
        dim, dtype = position.shape[0], position.dtype
        look_key, noise_key, round_key, chain_key = jax.random.split(rng_key, 4)
        value, slope = jax.value_and_grad(logdensity_fn)(position)
        first = local_gaussian(logdensity_fn, position, value, slope, look_key)
        # a flat spot has no curvature to measure a length by: the size of the position is a guess
        guess = jnp.where(first.deviation < 1e10, first.deviation, 1 + jnp.abs(position))
        reach = 2.0 ** jnp.linspace(-1.0, 12.0, self.num_starts, dtype=dtype)
        noise = jax.random.normal(noise_key, (self.num_starts + self.num_chains, dim), dtype)
        offsets = reach[:, None] * guess[None, :] * noise[: self.num_starts]
        offsets = offsets.at[0].set(0.0)
        starts = jax.vmap(lambda offset: supported_point(logdensity_fn, position, offset))(offsets)
        if known is not None:
            # all known points join the pool, but climbing is expensive: a thinned set climbs
            thinned = known[:: -(-2 * known.shape[0] // self.num_starts)].astype(dtype)
            starts = starts.at[-thinned.shape[0] :].set(thinned)
        side_by_side = divisor(self.num_starts, max(1, MOST_PRODUCTS // products_per_point(dim)))
        per_block = self._per_block(dim)

        def climbed(carry: _Search) -> _Search:
            *ends, bad = jax.vmap(
                lambda x: lbfgs_ascent(logdensity_fn, x, carry.unit, self.num_iterations)
            )(carry.starts)
            seen = jax.lax.map(
                lambda end: local_gaussian(logdensity_fn, end[0], end[1], end[2], look_key),
                tuple(ends),
                batch_size=side_by_side,
            )
            found = jax.lax.map(
                lambda one: judged(logdensity_fn, carry.known, position, guess, one),
                seen,
                batch_size=self.num_starts,
            )
            # where everything runs away, there is nothing else to draw from
            masses = jnp.concatenate([carry.met.log_mass, seen.log_mass])
            is_home = jnp.concatenate([carry.met.log_mass > -jnp.inf, ~found.is_runaway])
            has_home = jnp.any(is_home & jnp.isfinite(masses))
            is_runaway = found.is_runaway & jnp.isfinite(seen.log_mass)
            runaway = carry.runaway.joined(seen.x, seen.value, is_runaway)
            mass = jnp.where(is_runaway & has_home, -jnp.inf, seen.log_mass)
            seen, is_new = seen._replace(log_mass=mass), found.is_new
            both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), carry.met, seen)
            # as long as there is room for all, they stay in order: then no later choice hangs on
            # the last digit of a mass
            is_met, by_mass = both.log_mass > -jnp.inf, best_first(both)
            order = jnp.where(
                carry.number < self.num_rounds, jnp.argsort(~is_met, stable=True), by_mass
            )
            met = jax.tree.map(lambda leaf: leaf[order[: self._num_met()]], both)
            is_new &= seen.log_mass > jnp.max(met.log_mass) - WORTH_MORE
            clipped = clip_widths(met)
            best_key = jax.random.fold_in(round_key, 2 * carry.number)
            chosen = systematic(best_key, log_rank(clipped), self.num_chains)
            best = jax.tree.map(lambda leaf: leaf[chosen], clipped)
            unit = _geometric_mean(best.deviation)
            heaviest = by_mass[:NUM_EXPLAINING]
            known = jax.tree.map(
                lambda some, all_of: jnp.where(
                    carry.number + 1 < self.num_rounds,
                    thinned_to(NUM_EXPLAINING, some),
                    all_of[heaviest],
                ),
                best,
                both,
            )
            last_new = jnp.where(jnp.any(is_new), carry.num_tried, carry.last_new)
            return carry._replace(
                number=carry.number + 1,
                unit=unit,
                reference=jnp.where(carry.number == 0, unit, carry.reference),
                met=met,
                best=best,
                known=known,
                last_new=last_new,
                runaway=runaway,
                num_nonfinite=carry.num_nonfinite + jnp.sum(bad, dtype=jnp.int32),
            )

        def looked(carry: _Search) -> _Search:
            """Blocks of candidates, until one is notable or the search has gone on long enough."""
            further = 2.0 ** (0.5 * min(max(dim, WAITS[0]), WAITS[1])) * carry.last_new

            def is_wanted(now: _Search) -> Array:
                ahead = self._counted(dim, now.number + 1, now.num_tried + per_block).logdensity
                is_early = (now.number < self.num_rounds) & (now.num_tried == carry.num_tried)
                goes_on = (ahead <= self.least_evals) | (now.num_tried < further)
                goes_on &= (ahead <= self.most_evals) & (now.number >= self.num_rounds)
                return (now.num_notable == 0) & (is_early | goes_on)

            def block(now: _Search) -> _Search:
                key = jax.random.fold_in(round_key, 2 * now.num_blocks + 1)
                found = propose_starts(
                    key,
                    logdensity_fn,
                    now.best,
                    now.known,
                    now.unit,
                    num_new=self._num_new(),
                    num_candidates=affordable(self.num_candidates, dim),
                    exchanges=exchanges,
                )
                excess = log_excess_of_injected(
                    found.tries, found.noticed, now.best, now.unit, now.reference
                )
                again = thinned_to(self.num_starts - self._num_new(), now.best.x)
                return now._replace(
                    starts=jnp.concatenate([again, found.starts]),
                    num_tried=now.num_tried + per_block,
                    num_blocks=now.num_blocks + 1,
                    num_notable=found.num_notable,
                    num_nonfinite=now.num_nonfinite + found.num_nonfinite,
                    log_excess=jnp.maximum(now.log_excess, excess),
                )

            return jax.lax.while_loop(is_wanted, block, carry._replace(num_notable=zero))

        def one_round(carry: _Search) -> _Search:
            return looked(climbed(carry))

        def is_running(carry: _Search) -> Array:
            return (carry.number < self.num_rounds) | (carry.num_notable > 0)

        def nothing(count: int) -> LocalGaussian:
            many = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], count, axis=0), first)
            no_mass = jnp.full_like(many.value, -jnp.inf)
            return many._replace(value=no_mass, log_mass=no_mass)

        zero = jnp.zeros((), jnp.int32)
        begin_with = _Search(
            number=zero,
            starts=starts,
            unit=guess,
            reference=guess,
            met=nothing(self._num_met()),
            best=nothing(self.num_chains),
            known=nothing(NUM_EXPLAINING),
            num_tried=zero,
            num_blocks=zero,
            last_new=zero,
            num_notable=zero,
            num_nonfinite=zero,
            log_excess=jnp.full((NUM_INJECTED, len(WIDTHS)), -jnp.inf, dtype),
            runaway=Runaway(zero, position, jnp.asarray(-jnp.inf, dtype)),
        )
        end = jax.lax.while_loop(is_running, one_round, begin_with)
        width, begin = end.unit, end.best
        factors = jax.vmap(local_factor)(begin)
        if factors.ndim == 2:
            shape = width
        else:
            shape = average_factor(factors @ jnp.swapaxes(factors, 1, 2), width)
        points, logdensity, chain_bad = _spread(
            chain_key, logdensity_fn, begin, factors, noise[self.num_starts :], self.num_steps
        )
        location = jnp.mean(points, axis=0)
        scale = deviation_of(points)
        scale = jnp.where(scale > 0, scale, jnp.median(begin.deviation, axis=0))
        # no wider than three times the chains' spread: they see more than the curvature of a point
        ratio = jnp.minimum(1.0, 3 * scale[None, :] / begin.deviation)
        limited = ratio * factors if factors.ndim == 2 else ratio[:, :, None] * factors
        narrower = _geometric_mean(ratio * begin.deviation) / width
        shape = shape * (narrower if shape.ndim == 1 else narrower[:, None])
        evals = self._counted(dim, end.number, end.num_tried)
        return Pilot(
            location,
            scale,
            shape,
            points,
            logdensity,
            jax.tree.map(lambda count: jnp.asarray(count, jnp.int32), evals),
            end.num_nonfinite + chain_bad,
            _laplace(*(thinned_to(NUM_LAPLACE, one) for one in (begin.x, begin.slope, limited))),
            Injected(
                jnp.where(covered(points, begin, width, end.reference), jnp.inf, end.log_excess),
                log_overlap(end.known, begin, width, end.reference),
                end.reference,
                width,
            ),
            end.runaway,
        )

    def _num_new(self) -> int:
        return self.num_starts - int(CONTINUED * self.num_starts)

    def _per_block(self, dim: int) -> int:
        return self._num_new() * affordable(self.num_candidates, dim)

    def evaluations(self, dim: int) -> int:
        """Evaluations of the rounds in ``dim`` dimensions; further candidates come beside them."""
        num_tried = (self.num_rounds - 1) * self._per_block(dim)
        return self._counted(dim, self.num_rounds, num_tried).logdensity

    def _num_met(self) -> int:
        return max(NUM_EXPLAINING, self.num_rounds * self.num_starts)

    def _counted(self, dim: int, num_rounds: Any, num_tried: Any) -> Evaluations:
        looks = 1 + products_per_point(dim)
        climbs = num_rounds * self.num_starts * (self.num_iterations + looks - 1)
        both = looks + climbs + self.num_chains * (self.num_steps + 1)
        others = self.num_starts * (NUM_SHRINKS + num_rounds * LOOKS)
        return Evaluations(both + num_tried + others, both)


def _geometric_mean(deviation: Array) -> Array:
    """Typical widths: they span decades."""
    return jnp.exp(jnp.mean(jnp.log(deviation), axis=0))


def _laplace(x: Array, slope: Array, factors: Array) -> Laplace:
    """Gaussians around points that climbed, or around where a Newton step would take these.

    Climbs end before they arrive. The step is at most √dim long, in units of the width.
    """

    def one(x: Array, slope: Array, a: Array) -> Array:
        step = a * slope if a.ndim == 1 else a.T @ slope
        length = jnp.linalg.norm(step)
        step = step * jnp.minimum(1.0, math.sqrt(x.shape[0]) / jnp.maximum(length, 1e-6))
        mean = x + (a * step if a.ndim == 1 else a @ step)
        return jnp.where(jnp.all(jnp.isfinite(mean)), mean, x)

    return Laplace(jax.vmap(one)(x, slope, factors), factors)


def _spread(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    begin: LocalGaussian,
    factors: Array,
    noise: Array,
    num_steps: int,
) -> tuple[Array, Array, Array]:
    """Spread points over their modes: a draw of the Gaussian of each, then MALA in its units.

    A draw whose Gaussian gives it more than twice the weight that the density has there is
    refused: the chain begins at the point itself. Each chain has its own step size.

    Args:
        rng_key: key.
        logdensity_fn: target.
        begin: points, leading axis num_chains.
        factors: ``A`` of the covariance ``A Aᵀ`` of each, (num_chains, dim, dim) or (·, dim).
        noise: standard normal, shape (num_chains, dim).
        num_steps: MALA steps.

    Returns:
        The ends, their log densities and the number of non-finite values.
    """
    num_chains, dim = begin.x.shape

    def density(x: Array, a: Array) -> LogDensityFn:
        return lambda u: logdensity_fn(x + (a * u if a.ndim == 1 else a @ u))

    def step(x: Array, a: Array, h: Array, key: PRNGKey, state: Any) -> Any:
        return mala(density(x, a), h).step(key, state)

    def move(step_size: Array, keys: PRNGKey, state: Any) -> Any:
        return jax.vmap(step)(begin.x, factors, step_size, keys, state)

    def draw(at: LocalGaussian, a: Array, u: Array) -> Any:
        slope = a * at.slope if a.ndim == 1 else a.T @ at.slope
        here = ChainState(jnp.zeros_like(u), at.value, slope)
        there = mala(density(at.x, a), 1.0).init(u)
        excess = there.logdensity - here.logdensity + 0.5 * jnp.sum(u**2)
        return jax.tree.map(
            lambda new, old: jnp.where(excess > -math.log(2.0), new, old), there, here
        )

    state = jax.vmap(draw)(begin, factors, noise)
    first_step = jnp.full((num_chains,), 0.3 * dim ** (-1 / 3), begin.x.dtype)
    state, bad = adapted_chains(rng_key, move, state, first_step, num_steps)
    points = begin.x + jax.vmap(lambda a, u: a * u if a.ndim == 1 else a @ u)(
        factors, state.position
    )
    return points, state.logdensity, bad


LOW_OCTAVE, HIGH_OCTAVE = -10, 12
"""Scales of the reference over ``1 + |position|``, in powers of two."""
NUM_NEIGHBOURS = 16
"""Nearest neighbours of a point that show the width of its mode."""
NUM_CENTERS = 64
"""Points whose neighbours are taken, about."""


def _log_reference(center: Array, unit: Array, y: Array) -> Array:
    """Equal mixture of Gaussians around ``center``, one for each octave of scale."""
    octave = jnp.arange(LOW_OCTAVE, HIGH_OCTAVE + 1, dtype=y.dtype)
    distance2 = jnp.sum(((y - center) / unit) ** 2)
    each = -0.5 * distance2 / 4.0**octave - y.shape[0] * math.log(2.0) * octave
    return jax.nn.logsumexp(each)


def _width(points: Array, scale: Array) -> Array:
    """Typical deviation within a mode, per coordinate, from the nearest neighbours of some points.

    Neighbours alone are too close together: in dim dimensions the k nearest of the n points of a
    mode reach to about ``(k/n)^{1/dim}`` of its width, which is divided out.
    """
    z = points / scale[None, :]
    centers = z[:: max(1, z.shape[0] // NUM_CENTERS)]
    count = min(NUM_NEIGHBOURS, z.shape[0])

    def one(center: Array) -> Array:
        offset = z - center[None, :]
        _, nearest = jax.lax.top_k(-jnp.sum(offset**2, axis=1), count)
        return jnp.sqrt(jnp.mean(offset[nearest] ** 2, axis=0) + 1e-12)

    near = jnp.exp(jnp.mean(jnp.log(jax.vmap(one)(centers)), axis=0))
    filled = (count / z.shape[0]) ** (1 / z.shape[1])
    return scale * jnp.minimum(near / filled, 1.0)


@record
class gradient_free_pilot:
    """Location, scale and first points from density values alone.

    Adaptive tempered sequential Monte Carlo with random walks, from a mixture of Gaussians around
    the example position whose scales run from a thousandth to 4,000 times ``1 + |position|``.

    Args:
        num_particles: particles, the number of points returned.
        num_steps: random-walk steps per temperature.
        max_rounds: largest number of temperatures.

    It is a `PilotFn` for up to about ten dimensions. Where there is a gradient, `climbing_pilot`
    finds far more.
    """

    _: KW_ONLY
    num_particles: int = 1024
    num_steps: int = 6
    max_rounds: int = 40

    def __call__(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        position: Array,
        known: Array | None,
        exchanges: np.ndarray | None = None,
    ) -> Pilot:
        """Find location, scale and points; the arguments are those of a `PilotFn`."""
        options = Tempering(random_walk, 0.3, self.num_steps, self.max_rounds, 3)
        octave_key, noise_key, temper_key = jax.random.split(rng_key, 3)
        dim, dtype = position.shape[0], position.dtype
        unit = 1 + jnp.abs(position)
        octave = jax.random.randint(octave_key, (self.num_particles,), LOW_OCTAVE, HIGH_OCTAVE + 1)
        noise = jax.random.normal(noise_key, (self.num_particles, dim), dtype)
        offsets = 2.0 ** octave.astype(dtype)[:, None] * noise
        x = (position[None, :] + unit[None, :] * offsets).at[0].set(position)
        if known is not None:
            # these are no draws of the reference; tempering finds that the target is higher there
            thinned = known[:: -(-2 * known.shape[0] // self.num_particles)].astype(dtype)
            x = x.at[-thinned.shape[0] :].set(thinned)

        def log_reference(y: Array) -> Array:
            return _log_reference(position, unit, y)

        state, evals, bad = temper(temper_key, logdensity_fn, x, log_reference, options)
        location, scale = jnp.mean(state.position, axis=0), deviation_of(state.position)
        scale = jnp.where(scale > 0, scale, unit)
        width = _width(state.position, scale)
        return Pilot(location, scale, width, state.position, state.logdensity, evals, bad)
