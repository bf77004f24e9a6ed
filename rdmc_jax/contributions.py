"""Where more evaluations buy most: parts of an error, how each falls, and what it costs."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

SLACK = 1.3
"""Where no choice is enough, the cheapest is taken that leaves at most so many times the least: the
last factor of the dearer part often lowers the sum by little, and a generation more costs less."""


class Part(NamedTuple):
    """One part of a path's divergence (or of the variance of log w, about twice that)."""

    value: float  # now
    power: float  # it falls like ``factor ** -power``
    factors: tuple[int, ...]  # by which its size may grow in one generation, 1 among them


def cheapest(
    parts: tuple[Part, ...],
    allowed: float,
    cost: Callable[[tuple[int, ...]], float],
    affordable: float,
) -> tuple[int, ...] | None:
    """Factors whose predicted sum is allowed at the least cost.

    Args:
        parts: what the error is made of; where a value is infinite, nothing is known, and all
            parts count alike.
        allowed: sum that may be left.
        cost: of a choice of factors, one for each part.
        affordable: cost at most.

    Returns:
        The cheapest factors that reach ``allowed``; if none does, the cheapest of those that come
        about as near as any (`SLACK`); None if nothing larger is affordable.

    >>> parts = (Part(0.3, 1.0, (1, 2, 4)), Part(0.1, 1.0, (1, 2, 4)))
    >>> cheapest(parts, 0.2, lambda f: 10 * f[0] + f[1], 1000)  # .3/2 + .1/2
    (2, 2)
    >>> cheapest(parts, 0.2, lambda f: 10 * f[0] + f[1], 15)  # (1, 4) is hardly better
    (1, 2)
    """
    if not all(math.isfinite(part.value) for part in parts):
        parts = tuple(part._replace(value=1.0) for part in parts)
        allowed = 0.5 * len(parts)
    choices = []
    for factors in itertools.product(*(part.factors for part in parts)):
        left = sum(p.value * f**-p.power for p, f in zip(parts, factors, strict=True))
        if max(factors) > 1:
            choices.append((left, cost(factors), factors))
    choices = [one for one in choices if one[1] <= affordable]
    if not choices:
        return None
    least = min(left for left, _, _ in choices)
    target = allowed if least <= allowed else SLACK * least
    enough = [one for one in choices if one[0] <= target]
    return min(enough, key=lambda one: (one[1], one[0]))[2]
