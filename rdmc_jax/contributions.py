"""Where more evaluations buy most: parts of an error, how each falls, and what it costs."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple


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
        The cheapest factors that reach ``allowed``; those that come nearest if none does; None if
        nothing larger is affordable.

    >>> parts = (Part(0.3, 1.0, (1, 2, 4)), Part(0.1, 1.0, (1, 2, 4)))
    >>> cheapest(parts, 0.2, lambda f: 10 * f[0] + f[1], 1000)  # .3/2 + .1/2
    (2, 2)
    >>> cheapest(parts, 0.2, lambda f: 10 * f[0] + f[1], 15)  # too dear: the best that is not
    (1, 4)
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
    enough = [one for one in choices if one[0] <= allowed]
    if enough:
        return min(enough, key=lambda one: (one[1], one[0]))[2]
    return min(choices)[2] if choices else None
