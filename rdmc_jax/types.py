"""The vocabulary of the library: what flows between its parts, and the shape of each part."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp

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

    @classmethod
    def zero(cls) -> "Evaluations":
        """No evaluations, as arrays."""
        return cls(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


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


class Start(Protocol):
    """First stage of a sampler."""

    @property
    def has_own_levels(self) -> bool:
        """Particles stop at levels of their own, and the start knows their moments there."""

    @property
    def num_particles(self) -> int:
        """Size of the ensemble."""

    def sample(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        time: float,
        known: Pool,
    ) -> StartDraws:
        """Draw the particles; ``known`` is the method's pool, or the example position."""


class FinishDraws(NamedTuple):
    """Draws of ``x_0`` and the log of their factor of the weight."""

    position: Array  # (num_particles, dim)
    log_weight: Array  # (num_particles,)
    acceptance_rate: Array  # (num_particles,) nan without chains
    num_evals: Evaluations
    num_nonfinite: Array


class Finish(Protocol):
    """Last stage: from x at the last level to a draw of x_0 and its factor of the weight."""

    @property
    def needs_moments(self) -> bool:
        """Of the posterior at the last level; else it is given None."""

    @property
    def needs_common_level(self) -> bool:
        """Its weight is biased behind a start whose particles have levels of their own."""

    def sample(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        x: Array,
        t: Array,
        moments: Any,
    ) -> FinishDraws:
        """Draw from points ``x`` of shape (num_particles, dim) at times ``t``."""


class Levels(Protocol):
    """Middle stage: transitions along ``times`` (noise to data), one fewer than the times."""

    @property
    def times(self) -> tuple[float, ...]:
        """Decreasing, noise to data."""

    @property
    def estimator(self) -> Estimator:
        """Of the posterior moments."""

    @property
    def transition(self) -> Transition:
        """Law of the next point."""

    @property
    def process(self) -> Process:
        """The noising process."""


class Method(Protocol):
    """A composition of the stages, and the pool that is made for it; see `rdmc`."""

    @property
    def start(self) -> Start:
        """First stage."""

    @property
    def levels(self) -> Levels | None:
        """Middle stage; None where the start has levels of its own."""

    @property
    def finish(self) -> Finish:
        """Last stage."""

    @property
    def pool(self) -> PoolGenerator | None:
        """Made once per replicate, after the pilot."""

    def __call__(self, logdensity_fn: LogDensityFn, *, data: Any = None) -> "Sampler":
        """Bind the method to a density."""


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


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """A frozen dataclass that prints as the call that makes it, with what differs from defaults.

    Parts of methods are such records: their fields are the settings, their methods do the work.
    Equal settings are equal records, so they share compiled programs, and `dataclasses.replace`
    changes one setting. They are named like the call, in lower case, so that they print as code.

    >>> @record
    ... class walk:
    ...     step_size: float
    ...     num_steps: int = 2
    >>> walk(0.5, 2), walk(0.5) == walk(step_size=0.5)
    (walk(step_size=0.5), True)
    """
    made = dataclasses.dataclass(frozen=True, repr=False)(cls)
    type.__setattr__(made, "__repr__", _as_code)
    return made


def _as_code(one: Any) -> str:
    shown = []
    for field in dataclasses.fields(one):
        value, default = getattr(one, field.name), field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING or value != default:
            shown.append(f"{field.name}={_shown(value)}")
    return f"{type(one).__name__}({', '.join(shown)})"


def _shown(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)


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
