"""Sizes that a theorem proves sufficient, for the paper's algorithm.

Its inner draws are exact or come from Langevin chains. The law of a draw is compared with the
target, for the Ornstein-Uhlenbeck process, a uniform time grid, the exponential step and a start
from N(0, I). Girsanov's theorem splits the divergence in three,

    KL(π ‖ law of a draw) ≤ KL(p_T ‖ N(0, I)) + Σ_k ∫ E‖s_t - s_k‖² dt + Σ_k η E‖ŝ_k - s_k‖²,

the errors of horizon, steps and estimated scores. Here s is the score of p_t along the reversed
path and ŝ its estimate; the last two terms hold up to the factor `BOTH`. Pinsker's inequality turns
``2 ε²`` nats into a total variation of ε. Each part has a third of them. The constants are derived
here, not quoted, one inequality a function. The orders of the paper's Theorem 1 are given beside
them with all constants set to one (`PaperOrders`).
"""

import math
from typing import NamedTuple

import numpy as np

MAX_STEP = 0.5
"""Largest time step: the expansion in it below holds up to here."""


def horizon(start_error: float, dim: int, second_moment: float) -> float:
    """Find the time at which N(0, I) is near enough to the noised target.

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
    """Find the length of the time steps.

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
    """Bound the log-Sobolev constants of the denoising posteriors, as far as they are known.

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
    """Count the steps that bring unadjusted Langevin within ``accuracy`` nats of a posterior.

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


SHARES = 3
"""Number of equal parts of the divergence: horizon, steps and scores."""
BOTH = 2.0
"""Factor on the errors of steps and scores: ``‖ŝ_k - s_t‖² ≤ 2 ‖ŝ_k - s_k‖² + 2 ‖s_k - s_t‖²``."""
MAX_SHOWN = 512
"""Most levels that are evaluated; on longer grids each of these stands for its neighbours."""


class PaperOrders(NamedTuple):
    """Orders of the paper's Theorem 1 with all constants set to one; these guarantee nothing."""

    horizon: float
    step_size: float
    num_inner: np.ndarray  # (num_shown,) inf where no log-Sobolev constant is known
    inner_accuracy: np.ndarray  # (num_shown,) zero there


class TheoryPlan(NamedTuple):
    """Sizes that a theorem proves sufficient under the stated assumptions."""

    tolerance: float
    dim: int
    smoothness: float
    second_moment: float
    failure: float
    horizon: float
    step_size: float  # nan without a smoothness
    num_levels: int  # 0 without one
    time: np.ndarray  # (num_shown,) of the levels shown, from noise to data
    num_same: np.ndarray  # (num_shown,) levels that each of them stands for
    log_sobolev: np.ndarray  # (num_shown,) of the denoising posteriors, 0 where none is known
    num_inner: np.ndarray  # (num_shown,) inner draws of each particle
    inner_accuracy: np.ndarray  # (num_shown,) KL of each inner draw's law from the posterior
    log10_inner: float  # of the inner draws of one output draw, over all levels
    log10_evals: float  # of the gradients of one output draw; inf where a level has no bound
    paper: PaperOrders
    assumptions: tuple[str, ...]

    def summary(self) -> str:
        """List the sizes and what they assume, in a few lines."""
        rows = [
            f"horizon {self.horizon:.3g} (the paper's order {self.paper.horizon:.3g})",
        ]
        if self.num_levels:
            known = float(np.sum(self.num_same[self.log_sobolev > 0]))
            evals = "no bound" if math.isinf(self.log10_evals) else f"10^{self.log10_evals:.1f}"
            rows += [
                f"step {self.step_size:.3g} (order {self.paper.step_size:.3g}), "
                f"{self.num_levels:,} levels",
                f"inner draws per level {np.min(self.num_inner):.3g} to "
                f"{np.max(self.num_inner):.3g}, 10^{self.log10_inner:.1f} in all "
                f"(order per level {_span(self.paper.num_inner)})",
                f"inner accuracy KL {_span(self.inner_accuracy)} "
                f"(order {_span(self.paper.inner_accuracy)}), log-Sobolev constant known at "
                f"{known / self.num_levels:.0%} of the levels",
                f"gradients per draw: {evals}",
            ]
        return "\n".join(rows + [f"assumes {text}" for text in self.assumptions])


def _span(values: np.ndarray) -> str:
    known = values[np.isfinite(values) & (values > 0)]
    return f"{np.min(known):.1e} to {np.max(known):.1e}" if known.size else "not known"


def theory_plan(
    tolerance: float,
    *,
    dim: int,
    smoothness: float,
    second_moment: float,
    failure: float = 0.1,
    convexity: float | None = None,
    oscillation: float = 0.0,
) -> TheoryPlan:
    """Compute the horizon, step, counts and inner accuracy that suffice for a total variation.

    The score's error at a level is ``(α²/σ⁴) E‖m̂ - m‖²``. With n independent inner draws from a
    law within KL of the posterior, ``E‖m̂ - m‖² ≤ 2 V/n + 4 KL/μ`` (Talagrand's inequality), and on
    average over the path ``V ≤ min(d s², M₂)`` for every target. So the counts need no log-Sobolev
    constant; only the accuracy of the inner draws does.

    Args:
        tolerance: ε, total variation between the law of a draw and the target, in (0, 1).
        dim: d.
        smoothness: L, the largest absolute eigenvalue of ``∇²log π`` anywhere; nan if not known.
        second_moment: M₂ = E‖x‖² about the origin.
        failure: δ. With probability 1 - δ over all inner draws, taken as fixed functions of the
            position, the law of a draw is within the tolerance (Markov's inequality).
        convexity: m with ``-∇²log π ⪰ m I``, if better than -L is known.
        oscillation: see `log_sobolev`.

    Returns:
        `TheoryPlan`.

    Raises:
        ValueError: for constants out of range.

    Not for choosing sizes to run: they are sufficient, not necessary, by many powers of ten, and L
    and M₂ are known only for few targets. `rdmc_jax.sample` measures its own accuracy instead.

    >>> found = theory_plan(0.1, dim=2, smoothness=1.0, second_moment=2.0, convexity=1.0)
    >>> round(found.horizon, 2), found.num_levels, round(found.log10_evals)
    (2.71, 12626, 9)

    Reference: sizes as in Theorem 1 of Huang et al. (2024), arXiv 2307.02037. Conforti, Durmus and
    Gentiloni-Silveri (2023), arXiv 2308.12240, also assume no more than finite Fisher information.
    """
    _check(tolerance, dim, smoothness, second_moment, failure, convexity, oscillation)
    share = 2 * tolerance**2 / SHARES
    time = horizon(share, dim, second_moment)
    assumptions = [f"E‖x‖² ≤ {second_moment:.4g} (start, counts)"]
    paper_time = 0.5 * math.log((dim + second_moment) / tolerance**2)
    paper_step = tolerance**2 / (dim + second_moment)
    if math.isnan(smoothness):
        none = np.zeros(0)
        orders = PaperOrders(paper_time, paper_step, none, none)
        assumptions.append("a smooth log density; its L is not known, so only the horizon is given")
        return TheoryPlan(
            tolerance, dim, smoothness, second_moment, failure, time, math.nan, 0,
            none, none, none, none, none, math.nan, math.nan, orders, tuple(assumptions),
        )  # fmt: skip
    num_levels = math.ceil(time / step_size(share / BOTH, dim, smoothness, time))
    eta = time / num_levels
    level, num_same = _levels(num_levels)
    t = eta * level
    s2 = np.expm1(2 * t)
    alpha2, sigma2 = np.exp(-2 * t), -np.expm1(-2 * t)
    mu = log_sobolev(t, smoothness, convexity=convexity, oscillation=oscillation)
    # E‖ŝ - s‖² that is allowed at each level, half of it variance and half of it bias
    allowed = failure * share / (BOTH * time)
    variance = alpha2 / sigma2**2 * np.minimum(dim * s2, second_moment)
    num_inner = np.ceil(4 * variance / allowed)
    accuracy = allowed * mu * sigma2**2 / (8 * alpha2)
    steps = log10_langevin_steps(accuracy, dim, smoothness + 1 / s2, mu)
    log10_inner = _log10_sum(np.log10(np.maximum(num_inner, 1.0)), num_same)
    log10_evals = _log10_sum(np.log10(np.maximum(num_inner, 1.0)) + steps, num_same)
    with np.errstate(divide="ignore"):
        log_mu = np.log(mu)
    log_eps, log_delta = math.log(tolerance), math.log(failure)
    log_eta, log_dim, log_time = math.log(paper_step), math.log(dim), math.log(paper_time)
    orders = PaperOrders(
        paper_time,
        paper_step,
        np.exp(log_time + log_dim - log_mu - 3 * log_eta - 2 * log_eps - log_delta),
        np.exp(
            -4 * log_time - 2 * log_dim + 2 * log_mu + 8 * log_eta + 4 * log_eps + 4 * log_delta
        ),
    )
    least = -smoothness if convexity is None else convexity
    assumptions += [
        f"-{smoothness:.4g} I ⪯ ∇²log π ⪯ {smoothness:.4g} I everywhere (steps, inner chains)",
        f"-∇²log π ⪰ {least:.4g} I up to an oscillation of {oscillation:g} (log-Sobolev constants "
        "of the posteriors: inner accuracy)",
        "inner chains that start within (d/2) log(L/μ) nats of their posterior (gradients)",
        f"a probability of 1 - {failure:g} over the inner draws",
    ]
    return TheoryPlan(
        tolerance, dim, smoothness, second_moment, failure, time, eta, num_levels,
        t, num_same, mu, num_inner, accuracy, log10_inner, log10_evals, orders, tuple(assumptions),
    )  # fmt: skip


def _levels(num_levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the levels to show, from noise to data, and count how many each stands for."""
    if num_levels <= MAX_SHOWN:
        level = np.arange(num_levels, 0, -1, dtype=np.float64)
        return level, np.ones(num_levels)
    # a level between two shown ones counts with the noisier one
    level = np.unique(np.floor(np.geomspace(1.0, num_levels, MAX_SHOWN)))
    level[-1] = num_levels
    return level[::-1], np.diff(level, prepend=0.0)[::-1]


def _log10_sum(log10_values: np.ndarray, counts: np.ndarray) -> float:
    top = float(np.max(log10_values))
    if not math.isfinite(top):
        return top
    return top + math.log10(float(np.sum(counts * 10 ** (log10_values - top))))


def check_probability(name: str, value: float) -> None:
    """Check a number.

    Raises:
        ValueError: if it is not in (0, 1).
    """
    if not 0 < value < 1:
        raise ValueError(f"{name}={value!r} must lie between 0 and 1.")


def _check(
    tolerance: float,
    dim: int,
    smoothness: float,
    second_moment: float,
    failure: float,
    convexity: float | None,
    oscillation: float,
) -> None:
    check_probability("tolerance", tolerance)
    check_probability("failure", failure)
    if dim < 1:
        raise ValueError(f"dim={dim!r} must be at least 1.")
    for name, value in (("second_moment", second_moment), ("oscillation", oscillation)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}={value!r} must be finite and not negative.")
    if smoothness < 0 or math.isinf(smoothness):
        raise ValueError(
            f"smoothness={smoothness!r} must be finite and not negative, or nan if not known."
        )
    if convexity is not None and abs(convexity) > smoothness:
        raise ValueError(
            f"convexity={convexity!r} must lie between -smoothness and smoothness={smoothness!r}: "
            "both are eigenvalues of the same Hessian."
        )
