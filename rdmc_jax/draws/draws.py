"""The host's record of a run: weighted draws, log Z, bounds, and what they cost."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..montecarlo.resampling import systematic
from ..montecarlo.weights import has_weight, pareto_k, relative_weights, t_quantile, weight_ess
from ..samplers.sampler import StepInfo
from ..types import Array, ArrayTree, Evaluations, Finding, PRNGKey, RDMCWarning, Runaway
from .coverage import Coverage
from .detection import Detection
from .drift import Density, drift
from .plan import Plan

STATIC = ("plan", "complete", "weighted", "inherited", "density")
SEEN = "the run saw all modes"
"""What the bounds assume, in words."""


@dataclasses.dataclass(frozen=True, repr=False)
class Draws:
    """Weighted draws of a target.

    ``logmeanexp(log_weight)`` is ``log Ẑ``. `tv_bound` and `kl_bound` compare the law of an
    unweighted draw with the target. Both describe only what the run saw: a mode that no particle
    met is in neither.
    """

    position: ArrayTree  # leading axis num_samples
    log_weight: Array  # (num_samples,)
    replicate: Array  # (num_samples,) int
    info: StepInfo  # (num_steps,) mean over the ensembles; counts are totals without the pilot's
    log_normalizer: float
    log_normalizer_error: float
    tv_bound: float
    kl_bound: float
    num_evals: Evaluations  # totals as Python ints, pilot included
    num_nonfinite: int
    plan: Plan
    complete: bool
    weighted: bool
    seconds: float
    largest_logdensity: float
    tv_limit: float = float("nan")  # upper 95 % confidence limits of the two bounds
    kl_limit: float = float("nan")
    coverage: Coverage | None = None  # of the mass by the sources of the pool
    num_nan_weights: int = 0  # draws whose weight is nan; it counts as zero
    source_ess: float | None = None  # ess of the weighted draws that these were resampled from
    inherited: tuple[Finding, ...] = ()  # findings about those
    detection: Detection | None = None  # of hypothetical modes; None: the pilot has no candidates
    runaway: Runaway | None = None  # climbs that ended where the density does not fall off
    density: Density = dataclasses.field(default_factory=Density)

    @property
    def num_samples(self) -> int:
        """Number of draws."""
        return int(self.log_weight.shape[0])

    @property
    def weights(self) -> np.ndarray:
        """Normalised weights, shape (num_samples,)."""
        w = relative_weights(np.asarray(self.log_weight))
        return w / np.sum(w)

    @property
    def ess(self) -> float:
        """Effective sample size of the weights."""
        return weight_ess(np.asarray(self.log_weight))

    @property
    def total_evals(self) -> int:
        """Evaluations of the run: a density value with its gradient counts as one."""
        return max(self.num_evals.logdensity, self.num_evals.gradient)

    @property
    def evals_per_sample(self) -> float:
        """Evaluations per output draw, pilot and discarded draws included."""
        return self.total_evals / self.num_samples

    def detection_probability(self, share: float, width: float) -> float:
        """Probability that the searches would have seen a mode of given share and relative width.

        Hypothetical modes are injected among the candidates that the searches have evaluated, and
        those are counted that their own rule would have noticed. They lie where the candidates look
        and have the shapes of modes that were met. A needle far outside is not among them.

        Args:
            share: of the mass, in (0, 1).
            width: in each coordinate, relative to the typical width of a mode.

        Returns:
            The recovered fraction; nan where there were no candidates (densities without a
            gradient, methods of the user's own) or no weights.

        Raises:
            ValueError: for a share or width out of range.
        """
        if self.detection is None or not np.isfinite(self.log_normalizer):
            return float("nan")
        return self.detection.probability(self.log_normalizer, share, width)

    @property
    def detection_limit(self) -> float:
        """Relative width down to which a mode of a tenth of the mass is seen in nine of ten cases.

        See `detection_probability`; nan where that is, infinite if even wide ones are not seen.
        """
        if self.detection is None or not np.isfinite(self.log_normalizer):
            return float("nan")
        return self.detection.limit(self.log_normalizer)

    def log_normalizer_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval of log Z by the t quantile of replicates - 1 degrees of freedom.

        Args:
            level: confidence, in (0, 1).

        Returns:
            Lower and upper end; infinite ends with one replicate, whose error nothing checks.

        Raises:
            ValueError: for a level out of range.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, but got {level}. Try 0.95.")
        num = np.unique(np.asarray(self.replicate)).size
        quantile = t_quantile(num, 0.5 + level / 2) if num > 1 else float("inf")
        reach = quantile * self.log_normalizer_error
        return self.log_normalizer - reach, self.log_normalizer + reach

    def expectation(self, fn: Callable[[ArrayTree], Any]) -> tuple[Any, Any]:
        """Weighted mean of ``fn(position)`` and its standard error.

        The error is the larger of two: the delta method's, and the scatter between replicates. For
        resampled draws it is enlarged by the noise of the weights that they were resampled by. The
        delta method treats the draws of a replicate as independent. The default method spreads them
        evenly over the pool's regions, so the true error is smaller where ``fn`` depends mostly on
        the region (weights of modes).

        Args:
            fn: function of one position; any PyTree of arrays.

        Returns:
            Estimate and standard error, each of the shape of ``fn``'s value; nan where no draw has
            any weight.
        """
        values = jax.vmap(fn)(self.position)
        w = self.weights
        replicate = np.asarray(self.replicate)
        is_known = has_weight(np.asarray(self.log_weight))
        # resampled draws have the noise of the weights besides their own
        inflation = 1.0 if self.source_ess is None else 1 + w.size / max(self.source_ess, 1.0)

        def estimate(leaf: Array) -> tuple[np.ndarray, np.ndarray]:
            x = np.asarray(leaf, np.float64)
            weight = w.reshape(-1, *([1] * (x.ndim - 1)))
            if not is_known:
                return np.full(x.shape[1:], np.nan), np.full(x.shape[1:], np.nan)
            x = np.where(weight > 0, x, 0.0)  # fn may be nan where the target has no mass
            mean = np.sum(weight * x, axis=0)
            part = weight * (x - mean)
            error2 = np.sum(part**2, axis=0)
            labels = np.unique(replicate)
            if labels.size > 1:
                sums = np.stack([np.sum(part[replicate == one], axis=0) for one in labels])
                between = np.sum(sums**2, axis=0) * labels.size / (labels.size - 1)
                error2 = np.maximum(error2, between)
            return mean, np.sqrt(error2 * inflation)

        leaves, tree = jax.tree.flatten(values)
        pairs = [estimate(leaf) for leaf in leaves]
        return (
            jax.tree.unflatten(tree, [mean for mean, _ in pairs]),
            jax.tree.unflatten(tree, [error for _, error in pairs]),
        )

    def resample(self, rng_key: PRNGKey, num_samples: int | None = None) -> "Draws":
        """Equally weighted draws, by systematic resampling over all replicates.

        Args:
            rng_key: key.
            num_samples: number of draws; by default the number there is. More draws than the
                effective sample size repeat points.

        Returns:
            `Draws` with equal ``log_weight = log Ẑ``. Log Z, the bounds and the findings are those
            of the run, and errors of expectations include the noise of its weights.
        """
        count = self.num_samples if num_samples is None else num_samples
        if count < 1:
            raise ValueError(f"num_samples must be at least 1, but got {num_samples}.")
        chosen = systematic(rng_key, jnp.asarray(self.log_weight), count)
        value = self.log_normalizer if self.weighted else 0.0
        return dataclasses.replace(
            self,
            position=jax.tree.map(lambda leaf: leaf[chosen], self.position),
            log_weight=jnp.full((count,), value, self.log_weight.dtype),
            replicate=jnp.asarray(self.replicate)[chosen],
            source_ess=self.ess if self.source_ess is None else self.source_ess,
            inherited=tuple(self.findings()),
        )

    def summary(self) -> str:
        """Describe the run on one page: log Z, quality of the weights, cost, choices, findings."""
        num = self.num_samples
        rows = [
            ("draws", f"{num} in {self.plan.num_replicates} replicates"),
            ("log Z", f"{self.log_normalizer:.4f} ± {self.log_normalizer_error:.4f}"),
            ("weight ESS", self._ess_text()),
            (
                "Pareto k",
                f"{pareto_k(np.asarray(self.log_weight)):.2f}, tail of the weights (good to 0.7)",
            ),
            (
                "TV bound",
                f"{self.tv_bound:.3f} between an unweighted draw and the target, if {SEEN}",
            ),
            ("KL bound", f"{self.kl_bound:.3f} nats between them, if {SEEN}"),
            ("95 % limits", f"TV at most {self.tv_limit:.3f}, KL at most {self.kl_limit:.3f} nats"),
            ("detection", self._detection_text()),
            (
                "evaluations",
                f"{self.total_evals:,} in all, {self.evals_per_sample:.0f} per draw "
                f"({self.num_evals.logdensity:,} densities, {self.num_evals.gradient:,} of them "
                "with gradient)",
            ),
            ("non-finite", f"{self.num_nonfinite:,} density values; they count as zero density"),
            ("seconds", f"{self.seconds:.1f}, compilation included"),
            ("plan", self.plan.reason),
        ]
        if self.plan.accuracy is not None:
            rows.append(("tolerance", self.plan.accuracy.summary()))
        if not self.weighted:
            rows = [row for row in rows if row[0] not in ("log Z", "Pareto k")]
            rows = [row for row in rows if not row[0].endswith(("bound", "limits"))]
        findings = self.findings()
        rows += [("finding", f"[{code}] {message}") for code, message in findings]
        rows += [] if findings else [("findings", "none")]
        return "\n".join(f"{name:<12} {text}" for name, text in rows)

    def _ess_text(self) -> str:
        if not self.weighted:
            return "no weights"
        if self.source_ess is not None:
            return f"{self.source_ess:.0f} before resampling to {self.num_samples}"
        return f"{self.ess:.0f} of {self.num_samples}"

    def _detection_text(self) -> str:
        if self.detection is None:
            return "unknown: this search has no candidates to judge by"
        seen = ", ".join(
            f"{self.detection_probability(0.1, width):.0%} at {text}"
            for width, text in (
                (1.0, "the typical width"),
                (0.5, "half of it"),
                (0.25, "a quarter"),
            )
        )
        return f"a further mode of a tenth of the mass would have been seen: {seen}"

    def findings(self) -> list[Finding]:
        """List what looks wrong with the run, without warning about it."""
        from .findings import findings

        return findings(self)

    def check(self, *, thorough: bool = False, rng_key: PRNGKey | None = None) -> list[Finding]:
        """Warn about each finding (`RDMCWarning`) and return them all; empty if healthy.

        Args:
            thorough: whether to make the drift test, too (finding R118): up to 2,000 draws are
                moved by 32 steps that leave the target invariant, for 66,000 evaluations at most
                and a program of its own. It sees mass that is missing next to the draws, such as
                the mouth of a funnel, and is left out by default because it often costs more than
                the run.
            rng_key: of the drift test.

        Raises:
            ValueError: for a thorough check of draws that were loaded or made by hand.
        """
        found = self.findings()
        if thorough:
            key = jax.random.key(0) if rng_key is None else rng_key
            found = found + drift(key, self.density, self.position, self.log_weight)
        for code, message in found:
            warnings.warn(f"[{code}]: {message}", RDMCWarning, stacklevel=2)
        return found

    def __repr__(self) -> str:
        return (
            f"Draws(num_samples={self.num_samples}, log_normalizer={self.log_normalizer:.4f}"
            f" ± {self.log_normalizer_error:.4f}, ess={self.ess:.0f}, "
            f"complete={self.complete})"
        )


jax.tree_util.register_dataclass(
    Draws,
    # numbers are data: as metadata they would make every run a type of its own, and nan ≠ nan
    data_fields=[field.name for field in dataclasses.fields(Draws) if field.name not in STATIC],
    meta_fields=list(STATIC),
)
