"""A replicate and an ensemble as pure functions of arrays: what jit, vmap and runs work on."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ..pools.pilot import PilotFn
from ..pools.pool import as_known, fixed_pool
from ..pools.symmetry import tree_exchanges
from ..target.flat import (
    bind,
    factors_to_standard,
    flatten,
    from_standard,
    ravel_ensemble,
    standardised,
    to_standard,
)
from ..types import (
    Array,
    ArrayTree,
    FittedStart,
    Injected,
    Laplace,
    LogDensityFn,
    Method,
    Pool,
    PRNGKey,
    Runaway,
    record,
)
from .sampler import StepInfo

FIT_KEY = 100
"""Number folded into the key of a pilot and pool for the fit; large, as the keys of
`jax.random.split` are those of small numbers."""


@record
class Recipe:
    """Everything static about a replicate; equal recipes share one compiled program.

    Args:
        method: the composition.
        pilot: finds location and scale before it; None for the user's own coordinates.
        num_ensembles: of the method, in each replicate.
    """

    method: Method
    pilot: PilotFn | None = None
    num_ensembles: int = 1

    @property
    def recipe(self) -> "Recipe":
        """Itself: `core` takes a recipe where it takes a plan."""
        return self

    @property
    def num_particles(self) -> int:
        """Particles of one ensemble."""
        return self.method.start.num_particles


class Planned(Protocol):
    """What has a `Recipe`, such as a `Plan`."""

    @property
    def recipe(self) -> Recipe:
        """What is run."""


class EnsembleResult(NamedTuple):
    """Weighted draws of one ensemble with its record."""

    position: ArrayTree  # leading axis num_particles
    log_weight: Array  # (num_particles,) nan if the method has no density
    info: StepInfo  # leading axis num_steps


class Preparation(NamedTuple):
    """What a replicate knows before its ensembles run."""

    location: Array  # (dim,)
    scale: Array  # (dim,) or (dim, dim), of the coordinates that the method runs in
    pool: Pool  # in those coordinates
    logdensity_range: Array  # (2,) smallest and largest finite value the pilot's points have
    fresh_log_weight: Array | None = None  # of draws of a fitted mixture that did not shape it
    injected: Injected | None = None  # what the pilot would have seen, in the user's coordinates
    runaway: Runaway | None = None  # where the density does not fall off, in these


def prepare(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    known: ArrayTree | None,
    *,
    pilot: PilotFn | None,
    method: Method,
) -> Preparation:
    """Run the pilot and make the pool: once, and fixed, for all ensembles of a replicate.

    Args:
        rng_key: key.
        logdensity_fn: the user's density.
        position: example position.
        data: passed to the density if not None.
        known: points that the user knows, leading axis num_known, or None.
        pilot: static, as is the method; None for the user's own coordinates.
        method: whose pool is made, in the coordinates that suit its start.

    Returns:
        `Preparation`, its pool's counts including the pilot's.
    """
    flat = flatten(logdensity_fn, position, data)
    dim, dtype = flat.position.shape[0], flat.position.dtype
    known_flat = None if known is None else ravel_ensemble(known).astype(dtype)
    if pilot is None:
        points = flat.position[None] if known_flat is None else known_flat
        pool = fixed_pool(points)
        none = jnp.zeros((2,), dtype)  # not nan: processes compare what they are given
        return Preparation(jnp.zeros(dim, dtype), jnp.ones(dim, dtype), pool, none)
    pilot_key, pool_key = jax.random.split(rng_key)
    exchanges = tree_exchanges(position)
    found = pilot(pilot_key, flat.logdensity_fn, flat.position, known_flat, exchanges)
    points, log_weight = found.points, jnp.where(jnp.isfinite(found.logdensity), 0.0, -jnp.inf)
    if known_flat is not None:
        points = jnp.concatenate([points, known_flat])
        log_weight = jnp.concatenate([log_weight, jnp.zeros(known_flat.shape[0])])
    # particles that restart from a pool live within modes, the others come from N(0, I)
    scale = found.shape if method.start.has_own_levels else found.scale
    evals, bad = found.num_evals, found.num_nonfinite
    u = to_standard(found.location, scale, points)
    pool = fixed_pool(u, log_weight.astype(dtype))
    if method.pool is not None:
        target = standardised(flat.logdensity_fn, found.location, scale)
        pool = method.pool(pool_key, target, pool)
    laplace = found.laplace
    if laplace is not None:
        mean = to_standard(found.location, scale, laplace.mean)
        laplace = Laplace(mean, factors_to_standard(scale, laplace.factor))
    counted = pool._replace(
        num_evals=jax.tree.map(jnp.add, evals, pool.num_evals),
        num_nonfinite=bad + pool.num_nonfinite,
        laplace=laplace,
    )
    seen = _range(found.logdensity)
    return Preparation(
        found.location, scale, counted, seen, injected=found.injected, runaway=found.runaway
    )


def fit(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    prepared: Preparation,
    *,
    method: Method,
) -> Preparation:
    """Fit what the start needs to the pool, once, when the pool is complete.

    Args:
        rng_key: key.
        logdensity_fn: the user's density.
        position: example position.
        data: passed to the density if not None.
        prepared: of `prepare`.
        method: whose start has a ``fit``.

    Returns:
        `Preparation`, its pool's counts including those of the fit.
    """
    flat = bind(logdensity_fn, position, data)
    target = standardised(flat.logdensity_fn, prepared.location, prepared.scale)
    assert isinstance(method.start, FittedStart)
    pool, fresh = method.start.fit(rng_key, target, as_known(prepared.pool))
    spent = jax.tree.map(jnp.add, prepared.pool.num_evals, pool.num_evals)
    bad = prepared.pool.num_nonfinite + pool.num_nonfinite
    counted = pool._replace(num_evals=spent, num_nonfinite=bad)
    return prepared._replace(pool=counted, fresh_log_weight=fresh)


def ensemble(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any,
    prepared: Preparation,
    *,
    method: Method,
) -> EnsembleResult:
    """Run one ensemble from start to finish in the coordinates of its preparation.

    Args:
        rng_key: key.
        logdensity_fn: the user's density.
        position: example position.
        data: passed to the density if not None.
        prepared: of `prepare`.
        method: the composition to run.

    Returns:
        An `EnsembleResult` in the user's coordinates; the mean weight estimates the user's Z.
    """
    flat = bind(logdensity_fn, position, data)
    init_key, step_key = jax.random.split(rng_key)
    location, scale, pool = prepared.location, prepared.scale, prepared.pool
    sampler = method(standardised(flat.logdensity_fn, location, scale))
    state = sampler.init(jnp.zeros_like(location), init_key, as_known(pool))
    keys = jax.random.split(step_key, sampler.num_steps)
    state, info = jax.lax.scan(lambda state, key: sampler.step(key, state), state, keys)
    x = from_standard(location, scale, state.position)
    return EnsembleResult(jax.vmap(flat.unravel)(x), state.log_weight, info)


def _range(logdensity: Array) -> Array:
    is_finite = jnp.isfinite(logdensity)
    low = jnp.min(jnp.where(is_finite, logdensity, jnp.inf))
    return jnp.stack([low, jnp.max(jnp.where(is_finite, logdensity, -jnp.inf))])


def core(
    rng_key: PRNGKey,
    logdensity_fn: LogDensityFn,
    position: ArrayTree,
    data: Any = None,
    *,
    plan: Planned,
) -> EnsembleResult:
    """A replicate as one pure function: jit it, vmap it over ``data``.

    It runs the pilot, makes the pool, runs all ensembles of the plan one after the other, and joins
    their draws.

    Args:
        rng_key: key.
        logdensity_fn: ``logdensity_fn(position)``, or with ``data`` as second argument.
        position: example position, a PyTree of floats.
        data: dynamic PyTree or None.
        plan: static; see `rdmc_jax.plan`.

    Returns:
        An `EnsembleResult` of ``num_ensembles * num_particles`` draws. Its `StepInfo` is averaged
        over the ensembles; evaluations are totals and include the pilot's.

    Gradients by ``data`` of weighted means and of the mean weight's logarithm are right where all
    randomness is reparameterised: `gaussian_start`, levels with `importance`, Gaussian
    transitions, `gaussian_finish` or `identity_finish`, and a plan without pilot. Levels may also
    have chains of `ula` (a step size that is a schedule, ``num_kept`` left out). The derivative of
    the choice among importance candidates that they begin from is then left out, which matters
    less the longer the chains are. Gradients are wrong, and JAX does not warn, with kernels that
    accept or reject (`mala`, `hmc`, `annealed_finish` of them), resampled pools, `bridge` (its draw
    is chosen), and densities that are zero somewhere. Reverse mode is impossible with the automatic
    method and pilots, which loop until they are done; JAX says so.

    >>> import jax, jax.numpy as jnp, rdmc_jax
    >>> small = rdmc_jax.rdmc(
    ...     rdmc_jax.samplers.gaussian_start(num_particles=64),
    ...     rdmc_jax.samplers.levels(
    ...         rdmc_jax.diffusion.log_snr_grid(4), rdmc_jax.estimators.importance(num_samples=16)),
    ...     rdmc_jax.samplers.gaussian_finish())
    >>> plan = rdmc_jax.plan(dim=1, method=small)  # without a method: the automatic choice
    >>> def density(x, data):
    ...     return -0.5 * jnp.sum((x - data) ** 2)
    >>> run = jax.jit(jax.vmap(
    ...     lambda key, data: rdmc_jax.core(key, density, jnp.zeros(1), data, plan=plan)))
    >>> result = run(jax.random.split(jax.random.key(0)), jnp.array([3.0, -20.0]))
    >>> result.position.shape  # two posteriors in one program, 8 ensembles of each
    (2, 512, 1)
    """
    recipe = plan.recipe
    method = recipe.method
    prepare_key, run_key = jax.random.split(rng_key)
    prepared = prepare(
        prepare_key, logdensity_fn, position, data, None, pilot=recipe.pilot, method=method
    )
    if isinstance(method.start, FittedStart):
        fit_key = jax.random.fold_in(prepare_key, FIT_KEY)
        prepared = fit(fit_key, logdensity_fn, position, data, prepared, method=method)

    def one(key: PRNGKey) -> EnsembleResult:
        return ensemble(key, logdensity_fn, position, data, prepared, method=method)

    count = recipe.num_ensembles
    if count == 1:
        found = one(run_key)
    else:
        found = _joined(jax.lax.map(one, jax.random.split(run_key, count)))
    evals = found.info.num_evals
    first = jnp.arange(evals.gradient.shape[0]) == 0
    spent = prepared.pool.num_evals
    total = jax.tree.map(lambda e, p: e + jnp.where(first, p, 0), evals, spent)
    bad = found.info.num_nonfinite + jnp.where(first, prepared.pool.num_nonfinite, 0)
    return found._replace(info=found.info._replace(num_evals=total, num_nonfinite=bad))


def _joined(found: EnsembleResult) -> EnsembleResult:
    """Ensembles along the leading axis as one: draws joined, counts added, the rest averaged."""
    info = jax.tree.map(
        lambda leaf: (
            jnp.sum(leaf, axis=0, dtype=leaf.dtype)
            if jnp.issubdtype(leaf.dtype, jnp.integer)
            else jnp.mean(leaf, axis=0)
        ),
        found.info,
    )
    position = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found.position)
    return EnsembleResult(position, found.log_weight.reshape(-1), info)
