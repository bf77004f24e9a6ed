"""Estimators made of estimators: one for each particle, batches by error or by number."""

from dataclasses import KW_ONLY
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...types import (
    Array,
    Estimator,
    Evaluations,
    LogDensityFn,
    Moments,
    Posterior,
    PRNGKey,
    record,
)
from ..posterior import as_column, check_ensemble


def total_over_particles(moments: Moments) -> Moments:
    """Moments with their counts summed over the particles."""
    evals = Evaluations(*(jnp.sum(count) for count in moments.num_evals))
    return moments._replace(num_evals=evals, num_nonfinite=jnp.sum(moments.num_nonfinite))


@record
class independent:
    """Run a one-particle estimator on every particle, each with its own randomness.

    Args:
        one_particle: its methods see a `Posterior` with center (dim,) and scale (), return
            moments without the leading axis, and a draw of shape (dim,).

    It is an `Estimator` of the ensemble, and sums evaluations and non-finite values over it.
    """

    one_particle: Estimator

    def init(self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior) -> Any:
        """Each particle's own state."""
        keys = jax.random.split(rng_key, posterior.center.shape[0])
        return jax.vmap(lambda key, one: self.one_particle.init(key, logdensity_fn, one))(
            keys, posterior
        )

    def update(
        self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, state: Any
    ) -> tuple[Moments, Any]:
        """Moments and states of all particles."""
        check_ensemble(posterior)
        keys = jax.random.split(rng_key, posterior.center.shape[0])
        moments, state = jax.vmap(
            lambda key, one, old: self.one_particle.update(key, logdensity_fn, one, old)
        )(keys, posterior, state)
        return total_over_particles(moments), state

    def draw(self, rng_key: PRNGKey, state: Any) -> Array:
        """One inner sample per particle."""
        num_particles = jax.tree.leaves(state)[0].shape[0]
        return jax.vmap(self.one_particle.draw)(jax.random.split(rng_key, num_particles), state)


def relative_errors(moments: Moments) -> Array:
    """Standard error of the mean over the posterior's deviation, root mean square over coordinates.

    Returns:
        Shape (num_particles,).
    """
    tiny = jnp.finfo(moments.variance.dtype).tiny
    return jnp.sqrt(
        jnp.mean(moments.standard_error**2 / jnp.maximum(moments.variance, tiny), axis=1)
    )


def merged_moments(a: Moments, b: Moments, num_batches: Array) -> Moments:
    """Merge the moments of ``num_batches`` equal batches and of one more.

    Batches count by their mean weight, which is in ``log_marginal``, and equally where that is
    nan. Mean, variance and effective sample size are those of all samples together; so is the
    standard error, up to the scatter of squared weights within batches.

    Args:
        a: moments of ``num_batches`` batches, already merged.
        b: moments of one batch.
        num_batches: scalar.

    Returns:
        `Moments`, counts added.
    """
    count = jnp.asarray(num_batches, a.ess.dtype)
    log_a = jnp.where(jnp.isnan(a.log_marginal), 0.0, a.log_marginal) + jnp.log(count)
    log_b = jnp.where(jnp.isnan(b.log_marginal), 0.0, b.log_marginal)
    log_sum = jnp.logaddexp(log_a, log_b)
    # where no sample of either has weight, both are fallbacks of equal worth
    p = jnp.where(jnp.isfinite(log_sum), jnp.exp(log_a - log_sum), count / (count + 1))
    q = 1 - p
    tiny = jnp.finfo(p.dtype).tiny
    left, right = as_column(p), as_column(q)
    mean = left * a.mean + right * b.mean
    shift2 = (a.mean - b.mean) ** 2
    error2 = left**2 * (
        a.standard_error**2 + right**2 * shift2 / as_column(jnp.maximum(a.ess, 1.0))
    )
    error2 += right**2 * (
        b.standard_error**2 + left**2 * shift2 / as_column(jnp.maximum(b.ess, 1.0))
    )
    inverse_ess = p**2 / jnp.maximum(a.ess, tiny) + q**2 / jnp.maximum(b.ess, tiny)
    return Moments(
        mean=mean,
        variance=left * a.variance + right * b.variance + left * right * shift2,
        ess=1 / jnp.maximum(inverse_ess, tiny),
        standard_error=jnp.sqrt(error2),
        log_marginal=jnp.where(jnp.isnan(a.log_marginal), jnp.nan, log_sum - jnp.log(count + 1)),
        acceptance_rate=(count * a.acceptance_rate + b.acceptance_rate) / (count + 1),
        num_evals=jax.tree.map(jnp.add, a.num_evals, b.num_evals),
        num_nonfinite=a.num_nonfinite + b.num_nonfinite,
    )


@record
class adaptive:
    """Update an estimator again and again until every particle's mean is accurate enough.

    Batches are merged until ``√mean_i(se_i²/V_i) ≤ relative_error`` for all particles, or there are
    ``max_batches``. All particles get the batches that the worst one needs. Path weights stay
    exact: the randomness that decides when to stop is part of the estimator.

    Args:
        estimator: `importance`, `chains` or any other; each update is one batch. Chains go on
            from where they were, so a batch should be longer than their autocorrelation time:
            the error is added up as if batches were independent.
        relative_error: standard error of the posterior mean in posterior deviations; 0.1 means
            about 100 effective samples.
        max_batches: bound on the batches of one level.

    It is an `Estimator`. Schedules by level inside ``estimator`` count batches, and draws are of
    the last batch. It cannot be differentiated in reverse mode (`jax.lax.while_loop`).

    Raises:
        ValueError: for a relative error that is not positive or no batch at all.

    >>> from rdmc_jax.diffusion.estimators import importance
    >>> estimator = adaptive(importance(num_samples=16), relative_error=0.05)
    >>> posterior = Posterior(jnp.zeros((3, 1)), jnp.ones(3))
    >>> gaussian = lambda x: -0.5 * jnp.sum(x**2)
    >>> key = jax.random.key(0)
    >>> state = estimator.init(key, gaussian, posterior)
    >>> moments, _ = estimator.update(key, gaussian, posterior, state)
    >>> int(moments.num_evals.logdensity) % (3 * 16), bool(jnp.min(moments.ess) > 16)
    (0, True)

    Reference: Huang et al. (2024), arXiv 2307.02037, Section 3: the size of the inner sample
    follows from the error that is allowed.
    """

    estimator: Estimator
    _: KW_ONLY
    relative_error: float = 0.1
    max_batches: int = 16

    def __post_init__(self) -> None:
        if not self.relative_error > 0:
            raise ValueError(
                f"adaptive needs relative_error > 0, but got {self.relative_error}. 0.1 is a "
                "usual choice."
            )
        if self.max_batches < 1:
            raise ValueError(f"adaptive needs max_batches >= 1, but got {self.max_batches}.")

    def init(self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior) -> Any:
        """State of the estimator."""
        return self.estimator.init(rng_key, logdensity_fn, posterior)

    def update(
        self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, state: Any
    ) -> tuple[Moments, Any]:
        """Moments of all batches, until the errors are small or there are ``max_batches``."""

        def batch(number: Array, state: Any) -> tuple[Moments, Any]:
            own_key = jax.random.fold_in(rng_key, number)
            return self.estimator.update(own_key, logdensity_fn, posterior, state)

        def is_running(carry: tuple[Array, Moments, Any]) -> Array:
            number, moments, _ = carry
            return (number < self.max_batches) & ~jnp.all(
                relative_errors(moments) <= self.relative_error
            )

        def body(carry: tuple[Array, Moments, Any]) -> tuple[Array, Moments, Any]:
            number, moments, state = carry
            new, state = batch(number, state)
            return number + 1, merged_moments(moments, new, number), state

        first = jnp.zeros((), jnp.int32)
        moments, state = batch(first, state)
        _, moments, state = jax.lax.while_loop(is_running, body, (first + 1, moments, state))
        return moments, state

    def draw(self, rng_key: PRNGKey, state: Any) -> Array:
        """One inner sample per particle."""
        return self.estimator.draw(rng_key, state)


class RepeatedState(NamedTuple):
    """State of the estimator, and which level comes next."""

    inner: Any
    level: Array


@record
class repeated:
    """Merge a fixed number of batches at each level.

    Args:
        estimator: each of its updates is one batch; chains go on from where they were.
        num_batches: at each level, and last at the finish; the last number holds for all after it.

    It is an `Estimator`. Schedules by level inside ``estimator`` count batches, and draws are of a
    level's last one.

    Raises:
        ValueError: for an empty tuple, or a level without a batch.

    >>> from rdmc_jax.diffusion.estimators import importance
    >>> estimator = repeated(importance(num_samples=16), (1, 3))
    >>> posterior = Posterior(jnp.zeros((5, 1)), jnp.ones(5))
    >>> gaussian = lambda x: -0.5 * jnp.sum(x**2)
    >>> key = jax.random.key(0)
    >>> state = estimator.init(key, gaussian, posterior)
    >>> for level in range(2):
    ...     moments, state = estimator.update(key, gaussian, posterior, state)
    ...     print(int(moments.num_evals.logdensity))
    80
    240

    Reference: Huang et al. (2024), arXiv 2307.02037, Section 3: inner samples per level.
    """

    estimator: Estimator
    num_batches: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.num_batches or min(self.num_batches) < 1:
            raise ValueError(
                "repeated needs at least one batch at each level, but got "
                f"num_batches={self.num_batches}."
            )

    def init(
        self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior
    ) -> RepeatedState:
        """State of the estimator at level 0."""
        inner = self.estimator.init(rng_key, logdensity_fn, posterior)
        return RepeatedState(inner, jnp.zeros((), jnp.int32))

    def update(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        posterior: Posterior,
        state: RepeatedState,
    ) -> tuple[Moments, RepeatedState]:
        """Moments of the level's batches."""
        counts = jnp.asarray(self.num_batches, jnp.int32)
        count = counts[jnp.minimum(state.level, len(self.num_batches) - 1)]

        def batch(number: Array, inner: Any) -> tuple[Moments, Any]:
            own_key = jax.random.fold_in(rng_key, number)
            return self.estimator.update(own_key, logdensity_fn, posterior, inner)

        def body(number: Array, carry: tuple[Moments, Any]) -> tuple[Moments, Any]:
            moments, inner = carry
            new, inner = batch(number, inner)
            return merged_moments(moments, new, number), inner

        first = batch(jnp.zeros((), jnp.int32), state.inner)
        moments, inner = jax.lax.fori_loop(1, count, body, first)
        return moments, RepeatedState(inner, state.level + 1)

    def draw(self, rng_key: PRNGKey, state: RepeatedState) -> Array:
        """One inner sample per particle."""
        return self.estimator.draw(rng_key, state.inner)
