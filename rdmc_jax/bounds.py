"""Inequalities behind the theory: one function each, on floats and arrays of the host.

Derived here or taken from the papers named, with all constants; `rdmc_jax.theory` joins them.
"""

import math

import numpy as np

MAX_STEP = 0.5
"""Of the time: the expansion in it below holds up to here."""


def horizon(start_error: float, dim: int, second_moment: float) -> float:
    """Time from which N(0, I) is near enough to the noised target.

    ``T = ½ log max(2, (M₂ + d/2)/(2 κ))``. Given x_0, p_T is Gaussian, so by convexity
    ``KL(p_T ‖ N(0, I)) ≤ ½ (u M₂ + d (-u - log(1 - u)))`` with ``u = e^{-2T}``, and the bracket is
    at most ``u²/(2 (1 - u)) ≤ u/2`` for ``u ≤ ½``. The paper has ``½ log((d + M₂)/ε²)``.

    Args:
        start_error: κ, divergence allowed, in nats.
        dim: d.
        second_moment: M₂ = E‖x‖² about the origin.

    Returns:
        T. Nothing but the second moment is assumed.

    >>> round(horizon(0.01, 1, 4.5), 3)  # ½ log 250
    2.761
    """
    return 0.5 * math.log(max(2.0, (second_moment + dim / 2) / (2 * start_error)))


def step_size(step_error: float, dim: int, smoothness: float, time: float) -> float:
    """Length of the time steps.

    ``η = min(½, κ / (J (1 + 2.5 T)))`` with ``J = d max(L, 1)``. Along the reversed path
    ``ds = -s dt + √2 ∇²log p dB``, so ``E‖s_t - s_k‖² = J_t - (2 e^{-τ} - 1) J_k`` for ``J_t =
    E‖s_t‖²``, the Fisher information; its increments telescope. It is at most ``E‖∇log π‖² =
    -E Δlog π ≤ d L`` or d (Stam's inequality).

    Args:
        step_error: κ, what ``Σ_k ∫ E‖s_t - s_k‖² dt`` may be.
        dim: d.
        smoothness: L; only ``-Δ log π ≤ d L`` on average is used, and no smoothness of the noised
            targets, which the paper assumes.
        time: horizon T.

    Returns:
        η.
    """
    fisher = dim * max(smoothness, 1.0)
    return min(MAX_STEP, step_error / (fisher * (1 + 2.5 * time)))


def log_sobolev(
    time: np.ndarray,
    smoothness: float,
    *,
    convexity: float | None = None,
    oscillation: float = 0.0,
) -> np.ndarray:
    """Log-Sobolev constants of the denoising posteriors, as far as they are known.

    ``μ = max(1/s² + m, 0) e^{-B}``, ``s² = e^{2t} - 1``, for ``-log π = f + b`` with ``∇²f ⪰ m I``
    (Bakry-Émery) and ``sup b - inf b ≤ B`` (Holley-Stroock).

    Args:
        time: t of the Ornstein-Uhlenbeck process, any shape.
        smoothness: L with ``-L I ⪯ ∇²log π ⪯ L I``.
        convexity: m; by default -L, which holds for every L-smooth target.
        oscillation: B of the rest.

    Returns:
        Constants, 0 where no bound is known: with the defaults ``t ≥ ½ log(1 + 1/L)``. A constant
        may exist there, but nothing that pilots measure bounds it; far modes make it tiny.

    >>> log_sobolev(np.array([0.1, 1.0]), 1.0).round(2)  # 1/s² - L
    array([3.52, 0.  ])
    >>> log_sobolev(np.array([0.1, 1.0]), 1.0, convexity=1.0).round(2)
    array([5.52, 1.16])
    """
    lowest = -smoothness if convexity is None else convexity
    return np.maximum(1 / np.expm1(2 * time) + lowest, 0.0) * math.exp(-oscillation)


def log10_langevin_steps(
    accuracy: np.ndarray, dim: int, smoothness: np.ndarray, log_sobolev: np.ndarray
) -> np.ndarray:
    """Steps of unadjusted Langevin that bring a law within ``accuracy`` nats of a posterior.

    ``h = min(μ/(4 L²), μ κ/(16 d L²))`` and ``log(2 KL₀/κ)/(μ h)`` steps, from ``KL₀ = (d/2)
    log(L/μ)``: the Gaussian of variance 1/L about the mode, if the posterior is μ-strongly
    log-concave.

    Args:
        accuracy: κ.
        dim: d.
        smoothness: L of the posterior, ``L_π + 1/s²``.
        log_sobolev: μ.

    Returns:
        Base-10 logarithm; inf where μ is zero.

    Reference: Vempala and Wibisono (2019), arXiv 1903.08568, Theorem 1.
    """
    is_known = (log_sobolev > 0) & (accuracy > 0)
    mu, kl = np.where(is_known, log_sobolev, 1.0), np.where(is_known, accuracy, 1.0)
    h = mu / smoothness**2 * np.minimum(0.25, kl / (16 * dim))
    first = 0.5 * dim * np.log(np.maximum(smoothness / mu, 1.0))
    count = np.ceil(np.log(np.maximum(2 * first / kl, 1.0)) / (mu * h))
    return np.where(is_known, np.log10(np.maximum(count, 1.0)), np.inf)
