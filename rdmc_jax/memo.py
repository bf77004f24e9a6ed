"""Factories that return the same object for equal arguments.

A composed method is a tuple of closures, and a closure is equal only to itself. The compiled
program of a run is looked up by its method, so without this every re-composition of an equal
method would compile again.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def memoised(factory: Callable[P, T]) -> Callable[P, T]:
    """Cache ``factory`` by its arguments; unhashable arguments are passed through uncached."""
    cached: Any = functools.lru_cache(maxsize=512)(factory)

    @functools.wraps(factory)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            hash((args, tuple(kwargs.values())))
        except TypeError:
            return factory(*args, **kwargs)
        result: T = cached(*args, **kwargs)
        return result

    return wrapper
