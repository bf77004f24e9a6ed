"""From one noise level to the next, cleaner one.

Each transition draws ``x_s ~ B(·|x_t, u)`` and returns ``log F(x_t|x_s) - log B(x_s|x_t, u)``, its
part of the path weight, where F is the forward kernel ``N(r x_s, σ²_{t|s} I)``. `exponential`,
`ancestral` and the deterministic `ddim` use the posterior's mean only. `moment_matched` uses its
variance too, and `bridge` a draw.
"""

from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from ..types import Array, Moments, PRNGKey, Process, record
from .posterior import as_column, score_from_mean
from .processes import Bridge, bridge_coefficients, ornstein_uhlenbeck

PRIOR_STRENGTH = 2.0
"""Weight ν, in samples, of the standardised Gaussian's variance when a variance is estimated."""


def log_normal(x: Array, mean: Array, variance: Array) -> Array:
    """Log density of N(mean, diag(variance)), summed over the last axis."""
    terms = (x - mean) ** 2 / variance + jnp.log(2 * jnp.pi * variance)
    return -0.5 * jnp.sum(terms, axis=-1)


def predictive_variance(moments: Moments, scale: Array) -> Array:
    """Posterior variance, shrunk and widened so that it can carry exact weights.

    ``(n V + ν s²/(1+s²))/(n + ν) · (1 + 1/n)``: shrunk towards the variance that a standard
    Gaussian target would have, widened by the error of the mean. A kernel that is too narrow has
    weights of infinite variance, right on average and wrong in every finite run.

    Args:
        moments: of the posterior, n its effective sample size.
        scale: s of the posterior, shape (num_particles,).

    Returns:
        Shape (num_particles, dim).
    """
    n = as_column(jnp.maximum(moments.ess, 1.0))
    prior = as_column(scale**2 / (1 + scale**2))
    share = PRIOR_STRENGTH / (n + PRIOR_STRENGTH)  # written so that n = inf is known moments
    return ((1 - share) * moments.variance + share * prior) * (1 + 1 / n)


def noise_kl(process: Process, t: Array, s: Array, moments: Moments) -> Array:
    """What errors of the posterior moments add to the path's Kullback-Leibler divergence.

    ``½ Σ_i [c_y² se_i²/S_i + a_i²/n]``, ``S = v + c_y² V``, ``a = c_y² V/S``: to second order, of a
    `moment_matched` step whose mean has standard error se and whose variance comes from n effective
    samples. With ``se² = V/n`` it is ``½ Σ a (1 + a)/n``. That posteriors are not Gaussian adds to
    it; only shorter steps remove that.

    Args:
        process: the noising process.
        t: times now, shape (num_particles,).
        s: cleaner times, same shape.
        moments: of the posteriors at t.

    Returns:
        Nats, shape (num_particles,).
    """
    weights = bridge_coefficients(process, t, s)
    scale = process.sigma(t) / process.alpha(t)
    gain = as_column(weights.weight_y) ** 2
    total = as_column(weights.variance) + gain * predictive_variance(moments, scale)
    of_mean = gain * moments.standard_error**2 / total
    of_variance = (gain * moments.variance / total) ** 2 / as_column(jnp.maximum(moments.ess, 1.0))
    return 0.5 * jnp.sum(of_mean + of_variance, axis=-1)


def _gaussian_step(
    rng_key: PRNGKey, x: Array, bridge: Bridge, mean: Array, variance: Array
) -> tuple[Array, Array]:
    noise = jax.random.normal(rng_key, x.shape, x.dtype)
    new = mean + jnp.sqrt(variance) * noise
    forward_variance = jnp.broadcast_to(as_column(bridge.forward_variance), x.shape)
    log_forward = log_normal(x, as_column(bridge.ratio) * new, forward_variance)
    return new, log_forward - log_normal(new, mean, jnp.broadcast_to(variance, x.shape))


def check_step(x: Array, t: Array, s: Array, moments: Moments) -> None:
    """Check the shapes that a transition is given: (num_particles, dim) and (num_particles,).

    Raises:
        AssertionError: of `chex`, with the shapes; when the program is made, never when it runs.
    """
    chex.assert_rank([x, t, s], [2, 1, 1])
    chex.assert_equal_shape([x, moments.mean])
    chex.assert_equal_shape_prefix([x, t, s], 1)


@record
class moment_matched:
    """``N(c_x x + c_y m, v + c_y² V)``: first two moments of the true reverse kernel.

    The default. V is `predictive_variance`. Exact for a Gaussian target with exact moments.

    Reference: Bao et al. (2022), arXiv 2201.06503, Theorem 1, for the optimal variance.
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
    ) -> tuple[Array, Array]:
        """Move from times ``t`` to ``s``.

        Returns:
            Next points (num_particles, dim) and ``log F - log B`` (num_particles,).
        """
        check_step(x, t, s, moments)
        bridge = bridge_coefficients(process, t, s)
        scale = process.sigma(t) / process.alpha(t)
        mean = as_column(bridge.weight_x) * x + as_column(bridge.weight_y) * moments.mean
        spread = as_column(bridge.weight_y) ** 2 * predictive_variance(moments, scale)
        return _gaussian_step(rng_key, x, bridge, mean, as_column(bridge.variance) + spread)


@record
class ancestral:
    """``N(c_x x + c_y m, v)``: the bridge with the mean in the place of x_0.

    Too narrow by ``c_y² V``: its weights degenerate on coarse grids, use `moment_matched`.

    Reference: Ho et al. (2020), arXiv 2006.11239, Eq. (6)-(7).
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
    ) -> tuple[Array, Array]:
        """Move from times ``t`` to ``s``.

        Returns:
            Next points (num_particles, dim) and ``log F - log B`` (num_particles,).
        """
        check_step(x, t, s, moments)
        bridge = bridge_coefficients(process, t, s)
        mean = as_column(bridge.weight_x) * x + as_column(bridge.weight_y) * moments.mean
        variance = jnp.broadcast_to(as_column(bridge.variance), x.shape)
        return _gaussian_step(rng_key, x, bridge, mean, variance)


@record
class exponential:
    """``x_s = e^η x + 2(e^η - 1) score + √(e^{2η} - 1) ξ``, ``η = t - s``: the paper's step.

    The reverse Ornstein-Uhlenbeck equation with the score frozen over the step.

    Reference: Huang et al. (2024), arXiv 2307.02037, Algorithm 1, step 6.
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
    ) -> tuple[Array, Array]:
        """Move from times ``t`` to ``s``.

        Returns:
            Next points (num_particles, dim) and ``log F - log B`` (num_particles,).

        Raises:
            ValueError: for any other process, whose reverse equation is another one.
        """
        check_step(x, t, s, moments)
        if process != ornstein_uhlenbeck():
            raise ValueError(
                "exponential is the step of the Ornstein-Uhlenbeck process, but the levels use "
                "another one. Take ornstein_uhlenbeck(), or moment_matched() for any process."
            )
        eta = t - s
        score = score_from_mean(process, x, t, moments.mean)
        mean = as_column(jnp.exp(eta)) * x + 2 * as_column(jnp.expm1(eta)) * score
        variance = jnp.broadcast_to(as_column(jnp.expm1(2 * eta)), x.shape)
        return _gaussian_step(rng_key, x, bridge_coefficients(process, t, s), mean, variance)


@record
class bridge:
    """``N(c_x x + c_y y, v)`` with y a posterior draw: the exact reverse kernel if y is exact.

    It has no discretisation error at any step length, but no usable weight: given y the weight has
    huge or infinite variance, so none is reported. Its weighted form is `annealed_finish`.

    Reference: Huang et al. (2024), arXiv 2405.16387, for the reverse transition kernel.
    """

    needs_draw: ClassVar[bool] = True

    def __call__(
        self,
        rng_key: PRNGKey,
        process: Process,
        x: Array,
        t: Array,
        s: Array,
        moments: Moments,
        posterior_draw: Array | None = None,
    ) -> tuple[Array, None]:
        """Move from times ``t`` to ``s``.

        Returns:
            Next points (num_particles, dim) and None.

        Raises:
            ValueError: without a draw, of shape (num_particles, dim).
        """
        check_step(x, t, s, moments)
        if posterior_draw is None:
            raise ValueError("bridge moves by a draw of the posterior: pass posterior_draw.")
        chex.assert_equal_shape([x, posterior_draw])
        weights = bridge_coefficients(process, t, s)
        mean = as_column(weights.weight_x) * x + as_column(weights.weight_y) * posterior_draw
        noise = jax.random.normal(rng_key, x.shape, x.dtype)
        return mean + as_column(jnp.sqrt(weights.variance)) * noise, None


@record
class ddim:
    """``x_s = α_s m + σ_s (x - α_t m)/σ_t``: deterministic, right in the marginals only.

    It has no path weight, so it is not for certified draws.

    Reference: Song, Meng, Ermon (2021), arXiv 2010.02502, Eq. (12) with σ = 0.
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
    ) -> tuple[Array, None]:
        """Move from times ``t`` to ``s``.

        Returns:
            Next points (num_particles, dim) and None.
        """
        check_step(x, t, s, moments)
        noise = (x - as_column(process.alpha(t)) * moments.mean) / as_column(process.sigma(t))
        return as_column(process.alpha(s)) * moments.mean + as_column(
            process.sigma(s)
        ) * noise, None
