"""How rich a method is needed: measured on an ensemble that is thrown away.

The draws of the reported run decide nothing about it: given pools and plan, which are fixed before,
its mean weight is the normalising constant exactly.
"""

import math

import numpy as np

from .compose import Method
from .core import Plan, Result
from .diagnostics import weight_ess

ENOUGH = 0.5
"""Share of the draws that their weights' effective sample size should reach."""
AIMED = 0.6
"""What a richer method is chosen for, because the measured share is itself noisy."""


def chosen_method(plan: Plan, discarded: Result) -> tuple[Method, str]:
    """The method of the reported run, and the reason in words.

    The log of ``ESS/N`` is minus the variance of the log weights of nearly normal weights, and that
    falls like one over the number of temperatures; so the first of ``plan.richer`` is taken that
    should reach `AIMED`, or the last.

    Args:
        plan: its ``richer`` methods have 2, 4, 8 times the temperatures of ``plan.method``.
        discarded: an ensemble of ``plan.method``.

    Returns:
        The method, and what to add to the plan's reason.
    """
    log_weight = np.asarray(discarded.log_weight)
    log_weight = np.where(np.isnan(log_weight), -np.inf, log_weight)
    share = weight_ess(log_weight) / log_weight.size
    measured = f"weight ESS {share:.2f} of the draws in a discarded ensemble"
    if share >= ENOUGH or not plan.richer:
        return plan.method, measured
    wanted = math.log(max(share, 1e-6)) / math.log(AIMED)
    fitting = [k for k in range(len(plan.richer)) if 2 ** (k + 1) >= wanted]
    k = fitting[0] if fitting else len(plan.richer) - 1
    return plan.richer[k], f"{measured}, so the run has {2 ** (k + 1)} times as many temperatures"
