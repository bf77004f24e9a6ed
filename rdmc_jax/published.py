"""The paper's algorithm as written, in the user's own coordinates, for comparison and teaching."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from .border import dimension
from .checks import checked_example, typed_key, whole
from .compose import Method, levels, rdmc
from .draws import Draws
from .estimators import chains, importance_start, plain_average
from .execution import run_plan
from .finishes import identity
from .grids import time_grid
from .kernels import ula
from .memo import memoised
from .planning import make_plan
from .starts import langevin
from .transitions import exponential
from .types import ArrayTree, LogDensityFn, PRNGKey

Schedule = Callable[[jax.Array], jax.Array]


@memoised
def paper_method(
    *,
    num_particles: int,
    horizon: float,
    num_levels: int,
    num_chains: int,
    num_steps: int | Schedule,
    step_size: float | Schedule,
    num_importance: int,
    num_start_steps: int,
    start_step_size: float,
    start_scale: float,
) -> Method:
    """Algorithm 1 of the paper as a composition; see `paper` for the arguments."""
    inner = functools.partial(
        chains,
        ula,
        start=importance_start(num_candidates=num_importance),
        average=plain_average,
        num_chains=num_chains,
        num_kept=1,
        num_start_steps=0,
        num_candidates=num_chains,
        reference_scale=float("inf"),
        unit=jnp.ones_like,
    )
    estimator = inner(num_steps=num_steps, step_size=step_size)
    # all steps of the start are at the first level
    first = jnp.zeros((), jnp.int32)
    start = langevin(
        inner(
            num_steps=int(num_steps(first)) if callable(num_steps) else num_steps,
            step_size=float(step_size(first)) if callable(step_size) else step_size,
        ),
        num_particles=num_particles,
        num_steps=num_start_steps,
        step_size=start_step_size,
        initial_scale=start_scale,
    )
    grid = time_grid(num_levels, horizon=horizon)
    return rdmc(start, levels(grid, estimator, exponential), identity())


def paper(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    num_samples: int,
    *,
    horizon: float = 0.357,
    num_levels: int = 32,
    num_chains: int = 16,
    num_steps: int | Schedule = 16,
    step_size: float | Schedule = 0.01,
    num_importance: int = 128,
    num_start_steps: int = 32,
    start_step_size: float = 0.1,
    start_scale: float = 1.0,
    num_replicates: int | None = None,
    data: object = None,
    chunk_size: int | None = None,
    progress: bool = False,
) -> Draws:
    """Reverse diffusion Monte Carlo as published, for comparison and teaching.

    Ornstein-Uhlenbeck process on a uniform time grid, exponential integrator ``x ← e^η x +
    2(e^η - 1) score + √(e^{2η} - 1) ξ``, scores by Tweedie's formula from posterior means, these
    from the ends of unadjusted Langevin chains that begin at importance-resampled proposals;
    first points by Langevin on p_T with estimated scores. No pilot: all lengths are those of the
    user's own coordinates, and the target should be centred with scale 1 or more.

    Args:
        rng_key: key.
        logdensity_fn: ``logdensity_fn(position)`` or ``logdensity_fn(position, data)``.
        position: example position, for structure and dtype.
        num_samples: number of draws.
        horizon: T; the paper's experiments use ``exp(-T)`` of 0.7 to 0.95.
        num_levels: K, steps of length ``η = T/K``.
        num_chains: inner chains per particle and level, n of the paper.
        num_steps: inner Langevin steps, or a schedule (function of the level).
        step_size: inner step τ, in squared units of the position, or a schedule (of optax, say).
        num_importance: proposals per particle and level from which the chains begin.
        num_start_steps: Langevin steps on p_T.
        start_step_size: their step.
        start_scale: standard deviation of the points they begin from.
        num_replicates: as in `sample`.
        data: passed to the density if not None.
        chunk_size: as in `sample`.
        progress: as in `sample`.

    Two liberties, neither of which changes a law that the paper states: the chains' starting points
    are drawn from the proposals by systematic resampling, and chains do not enter points of zero
    density.

    Returns:
        `Draws` without weights: the start has no known density, so log Z, its error and the
        bounds are nan. For weights and accuracy use `sample`.

    >>> draws = paper(jax.random.key(0), lambda x: -0.5 * jnp.sum((x - 1) ** 2), jnp.zeros(1), 64,
    ...               num_levels=4, num_steps=4, num_start_steps=4, num_importance=16)
    >>> draws.weighted, draws.position.shape
    (False, (64, 1))

    Reference: Huang et al. (2024), arXiv 2307.02037, Algorithms 1 and 2.
    """
    num_samples = whole(num_samples)
    key = typed_key(rng_key)
    position = checked_example(logdensity_fn, position, data)
    share = max(1, num_samples // (num_replicates or (4 if num_samples >= 4000 else 2)))
    method = paper_method(
        num_particles=min(1024, 1 << (share - 1).bit_length()),
        horizon=horizon,
        num_levels=num_levels,
        num_chains=num_chains,
        num_steps=num_steps,
        step_size=step_size,
        num_importance=num_importance,
        num_start_steps=num_start_steps,
        start_step_size=start_step_size,
        start_scale=start_scale,
    )
    plan = make_plan(
        dim=dimension(position),
        num_samples=num_samples,
        num_replicates=num_replicates,
        method=method,
        pilot=None,
    )._replace(reason=f"the paper's algorithm, horizon {horizon}, {num_levels} levels")
    return run_plan(
        key,
        logdensity_fn,
        position,
        num_samples,
        plan,
        data=data,
        chunk_size=chunk_size,
        progress=progress,
    )
