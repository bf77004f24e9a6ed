"""What may be wrong with a run: each finding has a code, numbers and a remedy."""

from typing import TYPE_CHECKING

import numpy as np

from ..montecarlo.weights import log_mean_exp, pareto_k, relative_weights
from ..target.flat import ravel_ensemble
from ..types import NUM_SHOWN, Finding
from .coverage import disagreement
from .detection import PROBABILITY, SHARE

if TYPE_CHECKING:
    from .draws import Draws


LOW_ESS = 100.0
"""Effective draws below which R103 is reported."""
LOW_ESS_SHARE = 0.05
"""Effective draws over draws below which R103 is reported."""
COARSE_LOGDENSITY = 1e5
"""Absolute log density above which single precision is too coarse (R108)."""
NONFINITE_SHARE = 0.01
"""Share of the evaluations that made the draws (R107). Those of the pilot do not count: it looks
far outside, where a healthy density may overflow. Message and `Draws.summary` show them too."""
ONE_SOURCE_SHARE = 0.05
"""Share of the mass that only one source found (R111)."""
NARROW = 0.5
"""Width, relative to the typical one, of which a mode should be seen (R117)."""
PREDICTION_RATIO = 1.5
"""Limit of the reported TV bound over the limit that the pilot predicted (R115)."""
PART_STANDARD_ERRORS = 5.0
"""Difference between weights of a part, in standard errors (R112). It is this large because several
parts and pairs of replicates are compared."""


def findings(draws: "Draws") -> list[Finding]:
    """List all findings about a run.

    Codes: R101 interrupted, R102 no weights, R103 few effective draws, R104 heavy tail of the
    weights, R105 replicates disagree, R106 inner estimates collapsed, R107 non-finite densities,
    R108 single precision too coarse, R109 only one replicate, R110 budget exceeded, R111 mass that
    only one of the searches found, R112 replicates disagree about where the mass is, R113
    weights that are not numbers, R114 tolerance not met, R115 pilot too small, R116
    searches that saw different modes, R117 modes of half the typical width may have been missed,
    R119 the density does not fall off. `Draws.check` may add R118, draws that chains move away.

    Args:
        draws: the run's record.

    Returns:
        A list, empty for a healthy run.
    """
    if draws.source_ess is not None:
        return list(draws.inherited)  # those of the run that the draws were resampled from
    found = _run(draws)
    if not draws.weighted:
        text = "this method has no weights: log Z, its error and the bounds are unknown."
        return [*found, Finding("R102", text + " For weights call rdmc_jax.sample().")]
    return found + _weights(draws)


def _run(draws: "Draws") -> list[Finding]:
    found = []
    if not draws.complete:
        text = (
            f"the run was interrupted after {draws.num_samples} draws. The record holds only these."
        )
        found.append(Finding("R101", text))
    made = draws.info.num_evals
    total = max(int(np.sum(made.logdensity)), int(np.sum(made.gradient)), 1)
    bad = int(np.sum(draws.info.num_nonfinite))
    if bad > NONFINITE_SHARE * total:
        text = (
            f"the density was nan, +inf or zero at {bad:,} of the {total:,} points "
            f"({100 * bad / total:.0f} %) that made the draws, and at {draws.num_nonfinite:,} "
            "points of the whole run. They count as zero density. That is right for a target with "
            "hard edges, although a smooth map of the support onto all reals samples better. For "
            "any other target correct the density."
        )
        found.append(Finding("R107", text))
    found += _runaway(draws) + _over_budget(draws)
    is_single = np.asarray(draws.log_weight).dtype == np.float32
    if is_single and draws.largest_logdensity > COARSE_LOGDENSITY:
        text = (
            f"|log density| reaches {draws.largest_logdensity:.1e}; single precision rounds such "
            "values to 0.01 or worse. Subtract a constant, or enable double precision "
            "(jax.config.update('jax_enable_x64', True)) and pass a float64 position."
        )
        found.append(Finding("R108", text))
    ess = np.asarray(draws.info.ess_median)
    worst = int(np.nanargmin(ess)) if np.any(np.isfinite(ess)) else -1
    if worst >= 0 and ess[worst] < 2:
        text = (
            f"score estimates collapsed: median inner ESS {ess[worst]:.1f} (effective inner "
            f"samples of a particle) at step {worst + 1} of {ess.size} "
            f"(log-SNR {float(np.asarray(draws.info.log_snr)[worst]):.1f}). "
            "Raise the number of inner samples, or use chains instead of importance sampling."
        )
        found.append(Finding("R106", text))
    return found


def _runaway(draws: "Draws") -> list[Finding]:
    if draws.runaway is None or not int(draws.runaway.number):
        return []
    place = np.asarray(draws.runaway.position)
    shown = np.array2string(place[:NUM_SHOWN], precision=3, separator=", ")
    shown += f" (the first {NUM_SHOWN} of {place.size} coordinates)" * (place.size > NUM_SHOWN)
    text = (
        f"the density does not fall off: {int(draws.runaway.number)} climbs ended far outside, the "
        f"highest at {shown} with log density {float(draws.runaway.logdensity):.4g}, and it is no "
        "lower at a million times that distance from the example position. It cannot be "
        "normalised as coded, and log Z means nothing. Look for a missing prior, a clipped value, "
        "or a probability in place of its logarithm. The draws come from elsewhere, if there was "
        "any mode."
    )
    return [Finding("R119", text)]


def _over_budget(draws: "Draws") -> list[Finding]:
    asked = draws.plan.max_evals
    # an interrupted run has paid the pilot for draws that it did not make
    if asked is None or not draws.complete or draws.total_evals <= asked:
        return []
    if draws.plan.pool_sources:
        why = "the number of temperatures that the pilot needs is known only after the run"
        remedy = "Lower max_evals"
    else:
        why = (
            "max_evals limits only what a tolerance adds to the pilot and the method's first sizes"
        )
        remedy = "Give the method fewer levels or inner samples, or ask for fewer draws"
    text = (
        f"{draws.total_evals:,} evaluations were spent, more than max_evals={asked:g}: {why}. "
        f"{remedy}."
    )
    return [Finding("R110", text)]


def _more_work(draws: "Draws") -> str:
    """Say what makes the weights better, as the beginning of a sentence."""
    if not draws.plan.pool_sources:
        return "Give the method more temperatures or inner samples"
    if draws.plan.is_capped:
        return f"Raise max_evals={draws.plan.max_evals:g}"
    if draws.plan.accuracy is not None:
        is_met = draws.plan.accuracy.predicted <= draws.plan.accuracy.requested
        return "Ask for a smaller tolerance" if is_met else "Ask for more draws"
    return "Ask for accuracy, such as tolerance=0.1, which adds candidates and temperatures"


def _weights(draws: "Draws") -> list[Finding]:
    log_weight, replicate = np.asarray(draws.log_weight), np.asarray(draws.replicate)
    found = []
    num, ess = draws.num_samples, draws.ess
    if draws.num_nan_weights:
        text = (
            f"{draws.num_nan_weights} of {num} weights are nan and count as zero, so log Z is too "
            "low by their share. Look for overflow in the density or the method, or use "
            "double precision."
        )
        found.append(Finding("R113", text))
    if ess < min(LOW_ESS, 0.5 * num) or ess < LOW_ESS_SHARE * num:
        text = (
            f"the weights have an effective sample size of {ess:.0f} of {num}. "
            f"{_more_work(draws)}, or pass known_positions if you know where modes are."
        )
        found.append(Finding("R103", text))
    k = pareto_k(log_weight)
    if k > 0.7:
        text = (
            f"the weights have a heavy tail (Pareto k {k:.2f} > 0.7): log Z, the bounds and their "
            f"errors are probably too low. {_more_work(draws)}."
        )
        found.append(Finding("R104", text))
    found += _tolerance(draws)
    found += _searches(draws) + _detection(draws)
    return found + _coverage(draws) + _replicates(draws, log_weight, replicate)


def _tolerance(draws: "Draws") -> list[Finding]:
    accuracy = draws.plan.accuracy
    if accuracy is None:
        return []
    found = []
    if draws.tv_limit > accuracy.requested:
        remedy = "Raise num_samples, or ask"
        if "max_evals" in accuracy.stopped:
            remedy = "Raise max_evals or num_samples, or ask"
        elif "not enough" in accuracy.stopped and draws.tv_bound > accuracy.requested:
            remedy = "Ask"  # more draws only lower the limit to the bound, which is too high
        usable = "; the weighted draws are usable as they are" if draws.ess >= LOW_ESS else ""
        text = (
            f"tolerance not met: {accuracy.requested:g} was asked for, but the upper 95 % "
            f"confidence limit of the TV bound is {draws.tv_limit:.3f} (its estimate is "
            f"{draws.tv_bound:.3f}; {accuracy.stopped}). {remedy} for a larger tolerance{usable}."
        )
        found.append(Finding("R114", text))
    if draws.tv_limit > PREDICTION_RATIO * accuracy.predicted:
        text = (
            f"pilot too small: it predicted an upper limit of {accuracy.predicted:.3f} for the TV "
            f"bound, but the limit from the reported draws is {draws.tv_limit:.3f}. Either they "
            "met large weights that the pilot missed, or they are few. Ask for more draws or "
            "replicates."
        )
        found.append(Finding("R115", text))
    return found


def _searches(draws: "Draws") -> list[Finding]:
    exchanged = draws.plan.exchanged_pools
    if not exchanged:
        return []
    text = (
        f"searches saw different modes: {', '.join(exchanged)}. The missing points were added, but "
        "there may be modes that no search saw. Raise num_replicates, or pass known_positions."
    )
    return [Finding("R116", text)]


def _detection(draws: "Draws") -> list[Finding]:
    seen = draws.detection_probability(SHARE, NARROW)
    if not seen < PROBABILITY:  # nan: unknown
        return []
    limit = draws.detection_limit
    searched = draws.plan.search_evals
    now = "" if searched is None else f" (now {searched:g})"
    text = (
        f"a further mode of a tenth of the mass, half as wide as those met, would have been seen "
        f"with probability {seen:.2f}. The detection limit (probability {PROBABILITY:g}) is "
        f"{limit:.2g} times the typical width. Raise search_evals{now} to look for narrower ones, "
        "or pass known_positions."
    )
    return [Finding("R117", text)]


def _coverage(draws: "Draws") -> list[Finding]:
    seen = draws.coverage
    if seen is None or seen.seen_by_one_source <= ONE_SOURCE_SHARE:
        return []
    plan = draws.plan
    has_several = plan.sizes is not None and plan.num_replicates > 1
    if has_several and seen.missed_by_source[0] <= ONE_SOURCE_SHARE:
        return []  # the pilots of several searches found it, and R116 tells where these differ
    # a method of the user's own has no names for them
    names = draws.plan.pool_sources or [
        f"generator {k + 1}" for k in range(len(seen.missed_by_source))
    ]
    parts = [
        f"{name} {share:.0%}" for name, share in zip(names, seen.missed_by_source, strict=False)
    ]
    remedy = "max_evals or num_replicates" if draws.plan.is_capped else "num_replicates"
    text = (
        f"{seen.seen_by_one_source:.0%} of the mass lies where only one of the searches has points "
        f"(share missed by each: {', '.join(parts)}). Only one search found this region, so there "
        f"may be regions that none of them found. Raise {remedy}, or pass known_positions."
    )
    return [Finding("R111", text)]


def _replicates(draws: "Draws", log_weight: np.ndarray, replicate: np.ndarray) -> list[Finding]:
    labels = np.unique(replicate)
    if labels.size < 2:
        text = "one replicate only: nothing checks its log Z. Ask for num_replicates=2 or more."
        return [Finding("R109", text)]
    parts = [log_weight[replicate == label] for label in labels]
    logs = np.array([log_mean_exp(part) for part in parts])
    errors = np.array(
        [
            np.std(relative_weights(part), ddof=1) / np.sqrt(part.size) if part.size > 1 else np.inf
            for part in parts
        ]
    )
    if not np.any(np.isfinite(logs)):
        return []  # no weight anywhere: the effective sample size says so
    low, high = int(np.argmin(logs)), int(np.argmax(logs))
    gap, error = logs[high] - logs[low], float(np.hypot(errors[low], errors[high]))
    if gap > 4 * error + 0.02:
        text = (
            f"replicates disagree about log Z: {logs[low]:.3f} and {logs[high]:.3f}, "
            f"{gap / max(error, 1e-12):.0f} standard errors apart. Some saw modes that others "
            f"missed. {_more_work(draws)}, or pass the draws of this run as known_positions."
        )
        return [Finding("R105", text)]
    found = disagreement(np.asarray(ravel_ensemble(draws.position)), log_weight, replicate)
    if found.standard_errors > PART_STANDARD_ERRORS:
        text = (
            "replicates disagree about where the mass is: one part of the draws has weight "
            f"{found.weights[0]:.3f} in one and {found.weights[1]:.3f} in another, "
            f"{found.standard_errors:.0f} standard errors apart. {_more_work(draws)}."
        )
        return [Finding("R112", text)]
    return []
