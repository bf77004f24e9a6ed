"""Pools made of draws: one discarded restart that makes a better pool, or all draws so far.

A restart moves the weights of the members towards the target, adds its own draws to them, and
measures how coarse the noise may be at which particles stop.
"""

from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp

from ..diffusion.kde import log_kernel
from ..diffusion.processes import variance_exploding
from ..types import Array, Finish, LogDensityFn, Pool, PoolGenerator, PRNGKey, record
from .noised_pool import noised_pool

KEPT = 0.25
"""Share of the old weights that re-weighting keeps: what the restart overlooked stays possible."""
DRAWN = 0.375
"""Share of the restart's own draws in the new pool, equal to the share of the re-weighted members.
Draws fill the gaps between members; members say more where draws are few."""
HEAVIEST = 4.0
"""Largest weight of a draw in the pool, over the mean: a heavier one would be like a mode."""
NO_SOURCE = -1
"""``source`` of draws: they come from all generators, so they count as found by none."""
NUM_NEAR = 16
"""Particles, neighbours in noise, among which those that have weight are counted."""
ALIVE = 0.1
"""Weight, over the mean, above which a particle's stopping noise counts as useful."""


def largest_useful_noise(sigma: Array, weight: Array) -> Array:
    """Coarsest noise around which half of the particles have weight; 0 if far below the rest.

    In a region that is wider than most of the target, where members are few, particles must stop at
    coarse noise: finer noise leaves holes between the members, and with them a part of the mass.
    Members between the modes stop particles at coarse noise too, where annealing gives nothing, or
    rarely a very heavy weight; where there are such, the usual limit is better.

    Args:
        sigma: noise at which particles stopped without a limit, shape (num_particles,).
        weight: weights of these particles, shape (num_particles,).

    Returns:
        Scalar: the largest σ for which, of the `NUM_NEAR` particles that stopped there or at the
        next coarser noise, half have a weight above `ALIVE` times the mean. 0 if that is less than
        half the noise of the `NUM_NEAR` coarsest: these are members between the modes.

    >>> sigma = jnp.linspace(1.0, 9.0, 800)
    >>> round(float(largest_useful_noise(sigma, jnp.where(sigma < 5, 1.0, 0.0))), 1)
    4.9
    """
    order = jnp.argsort(-sigma)
    alive = jnp.cumsum(weight[order] > ALIVE * jnp.mean(weight))
    near = alive - jnp.pad(alive, (NUM_NEAR, 0))[: alive.shape[0]]
    found = jnp.max(jnp.where(2 * near >= NUM_NEAR, sigma[order], 0.0))
    return jnp.where(2 * found >= jnp.min(sigma[order][:NUM_NEAR]), found, 0.0)


@record
class reweighted:
    """Improve a pool by one restart from it: new weights, and the restart's draws.

    ``W_j ← ⅜ Σ_i w_i r_ij + ¼ W_j`` for its members: one step of expectation-maximisation, w the
    truncated weights of the restart, r_ij the responsibility of member j for particle i. The other
    ⅜ are the restart's draws. Its particles stop at any noise; the noise at which that was of use
    is `Pool.largest_useful_noise`. The restart's evaluations are counted in the pool. It is a
    `PoolGenerator`.

    Args:
        generator: of the pool that is improved.
        finish: of the restart.
        num_particles: particles of the restart.
        threshold: as in `noised_pool`.
    """

    generator: PoolGenerator
    finish: Finish
    _: KW_ONLY
    num_particles: int
    threshold: float = 25.0

    def __call__(self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Pool) -> Pool:
        """Make the pool; the arguments are those of a `PoolGenerator`."""
        unlimited = (float("inf"), 1.0)
        pool_key, start_key, finish_key = jax.random.split(rng_key, 3)
        pool = self.generator(pool_key, logdensity_fn, known)
        start = noised_pool(
            num_particles=self.num_particles, threshold=self.threshold, largest_noise=unlimited
        )
        process = variance_exploding()
        drawn = start.sample(start_key, logdensity_fn, process, 0.0, pool)
        end = self.finish.sample(
            finish_key, logdensity_fn, process, drawn.x, drawn.time, drawn.moments
        )
        # never None: the density of a noised_pool is known
        log_density = jnp.zeros(()) if drawn.log_density is None else drawn.log_density
        log_weight = end.log_weight - log_density
        log_weight = jnp.where(jnp.any(log_weight > -jnp.inf), log_weight, 0.0)
        # truncated at √n times their mean: a single heavy weight is noise, not a mode
        ceiling = jax.nn.logsumexp(log_weight) - 0.5 * jnp.log(self.num_particles)
        weight = jax.nn.softmax(jnp.minimum(log_weight, ceiling))

        def add(total: Array, one: tuple[Array, Array, Array]) -> tuple[Array, None]:
            x, sigma, weight = one
            share = jax.nn.softmax(log_kernel(x, sigma, pool))
            return total + weight * share, None

        mass, _ = jax.lax.scan(add, jnp.zeros_like(pool.log_weight), (drawn.x, drawn.time, weight))
        members = KEPT * jax.nn.softmax(pool.log_weight) + (1 - KEPT - DRAWN) * mass
        light = jnp.minimum(weight, HEAVIEST / self.num_particles)
        draws = DRAWN * light / jnp.sum(light)
        # a chain that ended nowhere has no weight, but distances to it must be numbers
        position = jnp.where(draws[:, None] > 0, end.position, pool.position[:1])
        return Pool(
            position=jnp.concatenate([pool.position, position]),
            log_weight=jnp.log(jnp.concatenate([members, draws])),
            num_evals=jax.tree.map(jnp.add, pool.num_evals, end.num_evals),
            num_nonfinite=pool.num_nonfinite + end.num_nonfinite,
            source=jnp.concatenate(
                [pool.source, jnp.full((self.num_particles,), NO_SOURCE, pool.source.dtype)]
            ),
            largest_useful_noise=largest_useful_noise(drawn.time, weight),
        )
