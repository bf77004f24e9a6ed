"""Factories that return the same object for equal arguments.

A composed method is a tuple of closures, and a closure is equal only to itself. The compiled
program of a run is looked up by its method, so without this every re-composition of an equal
method would compile again.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def memoised(factory: Callable[P, T]) -> Callable[P, T]:
    """Cache ``factory`` by its arguments; unhashable arguments are passed through uncached."""
    signature = inspect.signature(factory)
    made: dict[Any, T] = {}

    @functools.wraps(factory)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        # defaults filled in: a call is the same however it is written
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        # types too: 1 and 1.0 are equal, but need not make the same thing
        values = tuple(bound.arguments.values())
        key = (values, tuple(map(type, values)))
        try:
            hash(key)
        except TypeError:
            return factory(*args, **kwargs)
        if key not in made:
            made[key] = factory(*args, **kwargs)
        return made[key]

    return wrapper
