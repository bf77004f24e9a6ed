"""Noising processes ``x_t = alpha(t) x_0 + sigma(t) z`` and the coefficients of their bridges."""

import math
from typing import NamedTuple

import jax.numpy as jnp

from ..types import Array, Process, record


@record
class ornstein_uhlenbeck:
    """Ornstein-Uhlenbeck process of the paper.

    ``alpha = exp(-t)``, ``sigma² = 1 - exp(-2t)``, log-SNR ``-log(exp(2t) - 1)``; its stationary
    law is N(0, I), so the target should be standardised.

    It is a `Process`; its times are in units of the relaxation time of the mean.

    >>> process = ornstein_uhlenbeck()
    >>> round(process.time(0.0), 6)  # equal parts of signal and noise: t = log(2)/2
    0.346574

    Reference: Huang et al. (2024), arXiv 2307.02037, Eq. (1).
    """

    def alpha(self, t: Array) -> Array:
        """``exp(-t)``."""
        return jnp.exp(-t)

    def sigma(self, t: Array) -> Array:
        """``√(1 - exp(-2t))``."""
        return jnp.sqrt(-jnp.expm1(-2 * t))

    def log_snr(self, t: Array) -> Array:
        """``-log(exp(2t) - 1)``, without overflow."""
        return -2 * t - jnp.log(-jnp.expm1(-2 * t))

    def time(self, log_snr_value: float) -> float:
        """``½ log(1 + exp(-l))``, written so that neither end overflows."""
        return 0.5 * (max(-log_snr_value, 0.0) + math.log1p(math.exp(-abs(log_snr_value))))


@record
class variance_exploding:
    """Plain additive noise: ``alpha = 1``, ``sigma = t``, log-SNR ``-2 log t``.

    It is a `Process` whose times are standard deviations of the noise, in the units of the target.
    It has no stationary law: `gaussian_start` is right only up to the width of the target.

    >>> float(variance_exploding().sigma(jnp.asarray(3.0)))
    3.0

    Reference: Song et al. (2021), arXiv 2011.13456, Section 3.4.
    """

    def alpha(self, t: Array) -> Array:
        """One."""
        return jnp.ones_like(t)

    def sigma(self, t: Array) -> Array:
        """``t`` itself."""
        return t

    def log_snr(self, t: Array) -> Array:
        """``-2 log t``."""
        return -2 * jnp.log(t)

    def time(self, log_snr_value: float) -> float:
        """``exp(-l/2)``."""
        return math.exp(-0.5 * log_snr_value)


class Bridge(NamedTuple):
    """Coefficients of ``x_s | x_t, x_0 ~ N(weight_x x_t + weight_y x_0, variance I)``."""

    ratio: Array  # alpha_t / alpha_s: forward kernel N(ratio x_s, forward_variance I)
    forward_variance: Array
    weight_x: Array
    weight_y: Array
    variance: Array


def bridge_coefficients(process: Process, t: Array, s: Array) -> Bridge:
    """Coefficients of the Gaussian bridge from time ``t`` to the cleaner time ``s < t``.

    ``σ²_{t|s} = σ_t² - r² σ_s²`` is computed as ``-σ_t² expm1(λ_t - λ_s)``, which cannot be
    negative; on fine grids both forms lose digits in single precision, for the log-SNRs
    themselves are rounded.

    Args:
        process: the noising process.
        t: noisier times, any shape.
        s: cleaner times, same shape; 0 (no noise left) is allowed.

    Returns:
        The five coefficients, each of the shape of ``t``.
    """
    alpha_t, alpha_s = process.alpha(t), process.alpha(s)
    variance_t, variance_s = process.sigma(t) ** 2, process.sigma(s) ** 2
    ratio = alpha_t / alpha_s
    share = -jnp.expm1(process.log_snr(t) - process.log_snr(s))
    forward_variance = share * variance_t
    return Bridge(
        ratio=ratio,
        forward_variance=forward_variance,
        weight_x=ratio * variance_s / variance_t,
        weight_y=alpha_s * share,
        variance=share * variance_s,
    )
