"""The vocabulary of the library: what flows between its parts, and the shape of each part."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import jax

Array = jax.Array


PRNGKey = jax.Array


ArrayTree = Any


LogDensityFn = Callable[..., Array]
"""``logdensity_fn(position) -> scalar`` for ONE point; inside, the point is an array (dim,)."""


class Evaluations(NamedTuple):
    """Number of target evaluations; one value-and-gradient call counts one in each field.

    Compiled programs count in 32 bits: one level of one ensemble must stay below 2³¹ evaluations.
    `Draws` has sums over ensembles, of any size.
    """

    logdensity: Any = 0
    gradient: Any = 0


class Process(NamedTuple):
    """Noising process ``x_t = alpha(t) x_0 + sigma(t) z``; log-SNR ``log(alpha²/sigma²)``."""

    alpha: Callable[[Array], Array]
    sigma: Callable[[Array], Array]
    log_snr: Callable[[Array], Array]
    time: Callable[[Any], Any]
    """Inverse of ``log_snr``; works on floats of the host, where grids are made."""


class Posterior(NamedTuple):
    """Denoising posterior ``q(y) ∝ density(y) N(y; center, scale² I)``, one per particle."""

    center: Array  # (num_particles, dim)
    scale: Array  # (num_particles,)


class Moments(NamedTuple):
    """Moments of the denoising posterior of each particle, with the estimate's own errors."""

    mean: Array  # (num_particles, dim)
    variance: Array  # (num_particles, dim)
    ess: Array  # (num_particles,) effective number of independent inner samples
    standard_error: Array  # (num_particles, dim) of the mean
    log_marginal: Array  # (num_particles,) log ∫ π(y) N(y; center, scale²) dy, nan where unknown
    acceptance_rate: Array  # (num_particles,) nan where nothing is accepted or rejected
    num_evals: Evaluations  # totals of the update
    num_nonfinite: Array  # density values that were nan or infinite
    covariance: Array | None = None  # (num_particles, dim, dim) where it is known in full


class Kernel(NamedTuple):
    """One Markov chain; structurally a blackjax ``SamplingAlgorithm``."""

    init: Callable[..., Any]  # (position, rng_key=None) -> state
    step: Callable[[PRNGKey, Any], tuple[Any, Any]]  # (rng_key, state) -> (state, info)


KernelFactory = Callable[..., Any]
"""``(logdensity_fn, step_size) -> Kernel``: ours, or any of blackjax (with the rest bound)."""


class Estimator(NamedTuple):
    """Estimates the moments of the posteriors of a whole ensemble of particles."""

    init: Callable[[PRNGKey, LogDensityFn, Posterior], Any]  # -> state
    update: Callable[[PRNGKey, LogDensityFn, Posterior, Any], tuple[Moments, Any]]
    draw: Callable[[PRNGKey, Any], Array]  # (num_particles, dim): one inner sample per particle
    wider: Callable[[int], "Estimator"] | None = None  # with that many times the inner samples


class Transition(Protocol):
    """Law of the next, cleaner point; returns it and ``log F - log B`` (None: no density)."""

    def __call__(
        self,
        rng_key: PRNGKey,
        process: Process,
        x: Array,
        t: Array,
        s: Array,
        moments: Moments,
        posterior_draw: Array,
    ) -> tuple[Array, Array | None]:
        """Move ``x`` of shape (num_particles, dim) from times ``t`` to ``s < t``."""


class Pool(NamedTuple):
    """Weighted points that between them should touch every mode, and what they cost."""

    position: Array  # (num_points, dim)
    log_weight: Array  # (num_points,) unnormalised
    num_evals: Evaluations
    num_nonfinite: Array
    source: Array  # (num_points,) int: which generator made it, 0 for known ones, -1 for draws
    largest_useful_noise: Array  # () noise at which a restart may stop, as far as measured; or 0


PoolGenerator = Callable[[PRNGKey, LogDensityFn, Pool], Pool]
"""``(rng_key, logdensity_fn, known) -> Pool``; ``known`` is what the pilot and the user have, at
least the example position. Evaluations of ``known`` are not counted again."""


class StartDraws(NamedTuple):
    """Particles at a noisy level and the log density of the law they were drawn from."""

    x: Array  # (num_particles, dim)
    time: Array  # (num_particles,)
    log_density: Array | None  # (num_particles,); None: unknown, the run has no weights
    num_evals: Evaluations
    num_nonfinite: Array
    moments: Moments | None = None  # of the posteriors at x, where the start knows them


class Start(NamedTuple):
    """First stage of a sampler."""

    sample: Callable[[PRNGKey, LogDensityFn, Process, float, Pool], StartDraws]
    num_particles: int
    is_adaptive: bool  # particles stop at levels of their own: the identity finish is then biased


class FinishDraws(NamedTuple):
    """Draws of ``x_0`` and the log of their factor of the weight."""

    position: Array  # (num_particles, dim)
    log_weight: Array  # (num_particles,)
    acceptance_rate: Array  # (num_particles,) nan without chains
    num_evals: Evaluations
    num_nonfinite: Array


class Finish(NamedTuple):
    """Last stage: ``sample(rng_key, logdensity_fn, process, x, t, moments) -> FinishDraws``."""

    sample: Callable[..., FinishDraws]
    needs_moments: bool  # of the posterior at the last level; else it is given None
    needs_fixed_level: bool  # biased behind a start that stops adaptively
    finer: Callable[[int], "Finish"] | None = None  # with that many times its steps


class Levels(NamedTuple):
    """Middle stage: transitions along ``times`` (noise to data), one fewer than the times."""

    process: Process
    times: tuple[float, ...]
    estimator: Estimator
    transition: Transition | None  # None: no levels


class Sampler(NamedTuple):
    """A method bound to a density; structurally a blackjax ``SamplingAlgorithm``."""

    init: Callable[..., Any]  # (position, rng_key=None) -> state
    step: Callable[[PRNGKey, Any], tuple[Any, Any]]  # (rng_key, state) -> (state, info)
    num_steps: int


class Finding(NamedTuple):
    """One thing that `Draws.check` found."""

    code: str
    message: str


class RDMCWarning(UserWarning):
    """Warning of `Draws.check`, and of checkpoints that fail; its text starts with a code."""


P = ParamSpec("P")


T = TypeVar("T")


def memoised(factory: Callable[P, T]) -> Callable[P, T]:
    """Cache ``factory`` by its arguments; unhashable arguments are passed through uncached."""
    signature = inspect.signature(factory)
    made: dict[Any, T] = {}

    @functools.wraps(factory)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        # defaults filled in: a call is the same however it is written
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        # types too: 1 and 1.0 are equal, but need not make the same thing
        values = tuple(bound.arguments.values())
        key = (values, tuple(map(type, values)))
        try:
            hash(key)
        except TypeError:
            return factory(*args, **kwargs)
        if key not in made:
            made[key] = factory(*args, **kwargs)
        return made[key]

    return wrapper
