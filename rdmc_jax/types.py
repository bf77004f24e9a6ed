"""The vocabulary of the library: what flows between its parts, and the shape of each part."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import (
    Any,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeVar,
    dataclass_transform,
    runtime_checkable,
)

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
    `Draws` has the sums over ensembles, which have no such limit.
    """

    logdensity: Any = 0
    gradient: Any = 0

    @classmethod
    def zero(cls) -> "Evaluations":
        """No evaluations, as arrays."""
        return cls(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


class Process(Protocol):
    """Noising process ``x_t = alpha(t) x_0 + sigma(t) z``."""

    def alpha(self, t: Array, /) -> Array:
        """Factor of the signal at time ``t``."""

    def sigma(self, t: Array, /) -> Array:
        """Standard deviation of the noise at time ``t``."""

    def log_snr(self, t: Array, /) -> Array:
        """Log signal-to-noise ratio ``log(alpha²/sigma²)`` at time ``t``."""

    def time(self, log_snr_value: float, /) -> float:
        """Inverse of ``log_snr``, on floats of the host, where grids are made."""


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


class Estimator(Protocol):
    """Estimates the moments of the posteriors of a whole ensemble of particles."""

    def init(self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, /) -> Any:
        """State before the first level."""

    def update(
        self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, state: Any, /
    ) -> tuple[Moments, Any]:
        """Moments of the posteriors of one level, and the state after it."""

    def draw(self, rng_key: PRNGKey, state: Any, /) -> Array:
        """One inner sample per particle, (num_particles, dim), of the level updated last.

        It evaluates no density: the samples are those of the moments. Only transitions
        that need a draw ask for one.
        """


class Transition(Protocol):
    """Law of the next, cleaner point.

    A transition that moves by a draw of the posterior declares ``needs_draw: ClassVar[bool] =
    True`` and is given one; the others are given None.
    """

    def __call__(
        self,
        rng_key: PRNGKey,
        process: Process,
        x: Array,
        t: Array,
        s: Array,
        moments: Moments,
        posterior_draw: Array | None = None,
        /,
    ) -> tuple[Array, Array | None]:
        """Move ``x`` of shape (num_particles, dim) from times ``t`` to ``s < t``.

        Returns:
            The next points, and ``log F - log B`` of shape (num_particles,) or, where the step
            has no density, None.
        """


class Mixture(NamedTuple):
    """Mixture of Gaussians ``Σ_k share_k N(m_k, A_k A_kᵀ)``.

    The first components have a diagonal A, the others a triangular one; either may be missing.
    """

    mean: Array  # (num_components, dim)
    deviation: Array  # (num_diagonal, dim) diagonal of A of the first components
    factor: Array  # (num_components - num_diagonal, dim, dim) A of the others, lower triangular
    inverse: Array  # of factor
    shift: Array  # (num_components - num_diagonal, dim) A^{-1} m
    log_height: Array  # (num_components,) -log √det 2πAAᵀ
    log_share: Array  # (num_components,) -inf: not part of it


class Laplace(NamedTuple):
    """Gaussians ``N(m, A Aᵀ)`` that the curvature of the density at some points describes."""

    mean: Array  # (num_points, dim)
    factor: Array  # A: (num_points, dim, dim), or deviations (num_points, dim)


class Injected(NamedTuple):
    """What a search would have seen of hypothetical modes; `injection.log_excess_of_injected`."""

    log_excess: Array  # (num_modes, num_widths); infinite where draws have the mass anyway
    log_overlap: Array  # (num_modes, num_widths) of the Gaussians at modes met over them
    reference: Array  # (dim,) deviations of which the widths are multiples
    typical: Array  # (dim,) typical deviation within a mode, at the end of the search


class Runaway(NamedTuple):
    """Climbs that ended far out where the density does not fall off, and the highest of them."""

    number: Array
    position: Array  # (dim,)
    logdensity: Array

    def joined(self, x: Array, logdensity: Array, is_one: Array) -> "Runaway":
        """Add those of some points."""
        highest = jnp.argmax(jnp.where(is_one, logdensity, -jnp.inf))
        is_higher = is_one[highest] & (logdensity[highest] > self.logdensity)
        return Runaway(
            self.number + jnp.sum(is_one, dtype=jnp.int32),
            jnp.where(is_higher, x[highest], self.position),
            jnp.where(is_higher, logdensity[highest], self.logdensity),
        )


class Pool(NamedTuple):
    """Weighted points that between them should touch every mode, and what they cost."""

    position: Array  # (num_points, dim)
    log_weight: Array  # (num_points,) unnormalised
    num_evals: Evaluations
    num_nonfinite: Array
    source: Array  # (num_points,) int: which generator made it, 0 for known ones, -1 for draws
    largest_useful_noise: Array  # () coarsest noise found to be of use; 0: none known
    mixture: Mixture | None = None  # fitted to the points, where a start has done that
    laplace: Laplace | None = None  # at the modes that a pilot with gradients has met


class PoolGenerator(Protocol):
    """Makes a pool, once, before there is any draw."""

    def __call__(self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, known: Pool, /) -> Pool:
        """Make the pool; ``known`` has the points of the pilot and of the user.

        These include the example position at least. Their evaluations are not counted again.
        """


class StartDraws(NamedTuple):
    """Particles at a noisy level and the log density of the law they were drawn from."""

    x: Array  # (num_particles, dim)
    time: Array  # (num_particles,)
    log_density: Array | None  # (num_particles,); None: unknown, the run has no weights
    num_evals: Evaluations
    num_nonfinite: Array
    moments: Any = None  # `Moments` of the posteriors at x, or a `Mixture`, if the start has any


class Start(Protocol):
    """First stage of a sampler."""

    @property
    def has_own_levels(self) -> bool:
        """Whether particles stop at levels of their own, where the start knows their moments."""

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


class Fitted(NamedTuple):
    """A pool with its mixture."""

    pool: Pool  # its counts are those of the fit
    fresh_log_weight: Array  # (2 num_drawn,) weights of draws of the mixture that did not shape it


@runtime_checkable
class FittedStart(Start, Protocol):
    """A start that fits a mixture to the pool before any ensemble runs."""

    def fit(self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, pool: Pool) -> Fitted:
        """Fit the mixture, once, when the pool is complete."""


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
        """Whether it needs the posterior's moments at the last level; else it is given None."""

    @property
    def needs_common_level(self) -> bool:
        """Whether its weight is biased if the particles stop at levels of their own."""

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
        """Decreasing times, noise to data."""

    @property
    def estimator(self) -> Estimator:
        """Estimator of the posterior moments."""

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
        """Generator of the pool, which is made once per replicate, after the pilot."""

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
NUM_SHOWN = 6
"""Members of a tuple of numbers that ``print`` shows; `repr` shows all."""


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass: its fields are the settings, its methods do the work.

    `repr` is the call that makes the object, without arguments at their defaults. Functions and
    classes appear by name, so it has no memory address in it, and a method is described by its
    `repr`. ``print`` shortens long grids. `dataclasses.replace` changes settings.

    Objects are equal, and hash alike, if they are of one class and their fields have equal values
    of equal types (1 and 1.0 need not make the same program). Equal settings thus share compiled
    programs. A field that cannot be hashed (an array, a list) is equal to itself only.

    Args:
        cls: class with annotated fields; positional ones first, then ``_: KW_ONLY``. An
            ``__init__`` or ``__repr__`` of its own is kept.

    Returns:
        The class.

    >>> @record
    ... class smoother:
    ...     width: float = 1.0
    ...     weight: Callable = max
    >>> smoother(2.0), smoother(weight=functools.partial(min, key=abs))
    (smoother(2.0), smoother(weight=partial(min, key=abs)))
    >>> smoother(1.0) == smoother() == dataclasses.replace(smoother(2.0), width=1.0)
    True
    >>> smoother(1) == smoother()
    False
    """

    def settings(self: Any) -> tuple[Any, ...]:
        return tuple(_comparable(getattr(self, one.name)) for one in dataclasses.fields(self))

    def equal(self: Any, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return settings(self) == settings(other)

    def hashed(self: Any) -> int:
        return hash((self.__class__, settings(self)))

    methods: dict[str, Any] = {"__eq__": equal, "__hash__": hashed}
    if "__repr__" not in vars(cls):
        methods["__repr__"] = lambda self: _call(self, None)
        methods["__str__"] = lambda self: _call(self, NUM_SHOWN)
    for name, method in methods.items():
        setattr(cls, name, method)
    return dataclasses.dataclass(frozen=True, repr=False, eq=False)(cls)


def _comparable(value: Any) -> tuple[type, Any]:
    """A value with its type; one that cannot be hashed is replaced by its identity."""
    try:
        hash(value)
    except TypeError:
        return type(value), id(value)
    return type(value), value


def _call(made: Any, num_shown: int | None) -> str:
    """The call that makes a record, without defaults."""
    written, is_positional = [], True
    for one in dataclasses.fields(made):
        value = getattr(made, one.name)
        if _comparable(value) == _comparable(one.default):
            is_positional = False  # what follows an omitted one is written by its name
            continue
        is_positional = is_positional and not one.kw_only
        text = as_code(value, num_shown)
        written.append(text if is_positional else f"{one.name}={text}")
    return f"{type(made).__name__}({', '.join(written)})"


def as_code(value: Any, num_shown: int | None = None) -> str:
    """A setting as code: named objects by their names, records by the call that makes them.

    Args:
        value: what a field of a `record` holds.
        num_shown: members at most that are shown of tuples of numbers; None for all.

    >>> as_code((0.5, functools.partial(max, key=abs), len))
    '(0.5, partial(max, key=abs), len)'
    >>> as_code((4.0, 3.0, 2.0, 1.0, 0.0), num_shown=3)
    '(4.0, 3.0, ..., 0.0)'
    """

    def inner(value: Any) -> str:
        return as_code(value, num_shown)

    if isinstance(value, functools.partial):
        named = [f"{key}={inner(one)}" for key, one in value.keywords.items()]
        return f"partial({', '.join([inner(value.func), *map(inner, value.args), *named])})"
    if type(value) is tuple:
        members = list(map(inner, value))
        are_numbers = all(isinstance(one, int | float) for one in value)
        if num_shown is not None and are_numbers and len(members) > num_shown:
            members = [*members[: num_shown - 1], "...", members[-1]]
        return f"({', '.join(members)}{',' if len(members) == 1 else ''})"
    if dataclasses.is_dataclass(type(value)):
        return repr(value) if num_shown is None else str(value)
    return getattr(value, "__name__", repr(value)) if callable(value) else repr(value)


def memoised(factory: Callable[P, T], also: Callable[[], Any] = lambda: None) -> Callable[P, T]:
    """Make equal calls return the identical object, so that compiled programs are found again.

    ``functools.cache`` alone would tell ``f(2)`` from ``f(dim=2)``. Calls with arguments that
    cannot be hashed are passed through.

    Args:
        factory: what is cached, by its arguments and their types.
        also: what else a call depends on, such as the default precision.
    """
    signature = inspect.signature(factory)
    made: dict[Any, T] = {}

    @functools.wraps(factory)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        # defaults filled in: a call is the same however it is written
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        # types too: 1 and 1.0 are equal, but need not make the same thing
        values = tuple(bound.arguments.values())
        key = (values, tuple(map(type, values)), also())
        try:
            hash(key)
        except TypeError:
            return factory(*args, **kwargs)
        if key not in made:
            made[key] = factory(*args, **kwargs)
        return made[key]

    return wrapper
