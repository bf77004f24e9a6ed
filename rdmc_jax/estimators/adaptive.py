"""As many inner samples as the error asks for: batches are merged until it is met."""

from typing import Any

import jax
import jax.numpy as jnp

from ..memo import memoised
from ..posterior import column
from ..types import Array, Estimator, LogDensityFn, Moments, Posterior, PRNGKey


def relative_error(moments: Moments) -> Array:
    """Standard error of the mean over the posterior's deviation, root mean square over coordinates.

    Returns:
        Shape (num_particles,).
    """
    tiny = jnp.finfo(moments.variance.dtype).tiny
    return jnp.sqrt(
        jnp.mean(moments.standard_error**2 / jnp.maximum(moments.variance, tiny), axis=1)
    )


def merged(a: Moments, b: Moments, num_batches: Array) -> Moments:
    """Moments of ``num_batches`` equal batches, already merged, and one more.

    Batches count by their mean weight, which ``log_marginal`` knows, and equally where there is
    none. Mean, variance and effective sample size are those of all samples together; so is the
    standard error, up to the scatter of squared weights within batches.

    Args:
        a: of ``num_batches`` batches.
        b: of one batch.
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
    left, right = column(p), column(q)
    mean = left * a.mean + right * b.mean
    shift2 = (a.mean - b.mean) ** 2
    error2 = left**2 * (a.standard_error**2 + right**2 * shift2 / column(jnp.maximum(a.ess, 1.0)))
    error2 += right**2 * (b.standard_error**2 + left**2 * shift2 / column(jnp.maximum(b.ess, 1.0)))
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


@memoised
def adaptive(estimator: Estimator, *, tolerance: float = 0.1, max_batches: int = 16) -> Estimator:
    """Update an estimator again and again until every particle's mean is accurate enough.

    Batches are merged until ``√mean_i(se_i²/V_i) ≤ tolerance`` for all particles, or there are
    ``max_batches``. All particles get the batches that the worst one needs. Path weights stay
    exact: when to stop is decided by randomness that is part of the estimator.

    Args:
        estimator: `importance`, `chains` or any other; each update is one batch. Chains go on
            from where they were, so a batch should be longer than their autocorrelation time:
            the error is added up as if batches were independent.
        tolerance: standard error of the posterior mean in posterior deviations; 0.1 means about
            100 effective samples.
        max_batches: bound on the batches of one level.

    Returns:
        An `Estimator`. Its schedules by level, if it has any, count batches. It cannot be
        differentiated backwards (`jax.lax.while_loop`).

    Raises:
        ValueError: for a tolerance that is not positive or no batch at all.

    >>> from rdmc_jax import importance
    >>> estimator = adaptive(importance(num_samples=16), tolerance=0.05)
    >>> posterior = Posterior(jnp.zeros((3, 1)), jnp.ones(3))
    >>> gaussian = lambda x: -0.5 * jnp.sum(x**2)
    >>> key = jax.random.key(0)
    >>> moments, _ = estimator.update(key, gaussian, posterior, posterior.center)
    >>> int(moments.num_evals.logdensity) % (3 * 16), bool(jnp.min(moments.ess) > 16)
    (0, True)

    Reference: Huang et al. (2024), arXiv 2307.02037, Section 3: the size of the inner sample
    follows from the error that is allowed.
    """
    if not tolerance > 0:
        raise ValueError(
            f"adaptive needs tolerance > 0, but got {tolerance}. 0.1 is a usual choice."
        )
    if max_batches < 1:
        raise ValueError(f"adaptive needs max_batches >= 1, but got {max_batches}.")

    def update(
        rng_key: PRNGKey, logdensity_fn: LogDensityFn, posterior: Posterior, state: Any
    ) -> tuple[Moments, Any]:
        def batch(number: Array, state: Any) -> tuple[Moments, Any]:
            own_key = jax.random.fold_in(rng_key, number)
            return estimator.update(own_key, logdensity_fn, posterior, state)

        def is_running(carry: tuple[Array, Moments, Any]) -> Array:
            number, moments, _ = carry
            return (number < max_batches) & ~jnp.all(relative_error(moments) <= tolerance)

        def body(carry: tuple[Array, Moments, Any]) -> tuple[Array, Moments, Any]:
            number, moments, state = carry
            new, state = batch(number, state)
            return number + 1, merged(moments, new, number), state

        first = jnp.zeros((), jnp.int32)
        moments, state = batch(first, state)
        _, moments, state = jax.lax.while_loop(is_running, body, (first + 1, moments, state))
        return moments, state

    return Estimator(estimator.init, update, estimator.draw)
