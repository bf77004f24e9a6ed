"""What an object is, in words that the next process says alike: no addresses, no caches."""

import functools
import hashlib
import types
from typing import Any

import jax
import numpy as np


def digest(*texts: str) -> str:
    """A short hash of texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def described(value: Any) -> str:
    """A text that is equal for equal compositions, in any process.

    Functions are their module, name, code and what they close over; arrays their type and content;
    records and PyTrees their parts. That is how a method, a tuple of closures, can be compared with
    the one of a run that was killed.

    Args:
        value: plans, methods, PyTrees, numbers.

    Returns:
        The text; long, so `digest` it.

    >>> def step(size):
    ...     return lambda x: x + size
    >>> described(step(1)) == described(step(1)), described(step(1)) == described(step(2))
    (True, False)
    """
    return _described(value, ())


def _described(value: Any, above: tuple[int, ...]) -> str:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        return repr(value)
    if id(value) in above:
        return "itself"  # recursive functions close over themselves
    above = (*above, id(value))

    def inner(part: Any) -> str:
        return _described(part, above)

    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return f"key {jax.random.key_impl(value)} {inner(jax.random.key_data(value))}"
    if isinstance(value, jax.Array | np.ndarray):
        array = np.asarray(value)
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return f"{array.dtype}{array.shape} {content}"
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    if hasattr(value, "__wrapped__"):
        return inner(value.__wrapped__)  # a cache or a compiled program around a function
    if isinstance(value, types.FunctionType):
        return _function(value, inner)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inner(k)}: {inner(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(map(inner, value))})"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    leaves, structure = jax.tree.flatten(value)
    if len(leaves) != 1 or leaves[0] is not value:
        return f"{structure} {inner(leaves)}"
    # of other objects nothing is known for sure; a default repr would say where they lie in memory
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    return f"{name}({inner(vars(value))})" if hasattr(value, "__dict__") else name


def _function(function: types.FunctionType, inner: Any) -> str:
    code = function.__code__
    body = digest(*_code(code))
    closed = [inner(cell.cell_contents) for cell in function.__closure__ or ()]
    given = [inner(function.__defaults__), inner(function.__kwdefaults__)]
    return f"{function.__module__}.{function.__qualname__}:{body}({', '.join(closed + given)})"


def _code(code: types.CodeType) -> list[str]:
    """What a function does, and all functions within it, but not where it was written."""
    constants = [one for one in code.co_consts if not isinstance(one, types.CodeType)]
    nested = [one for one in code.co_consts if isinstance(one, types.CodeType)]
    own = [code.co_code.hex(), repr(code.co_names), repr(constants)]
    return own + [text for one in nested for text in _code(one)]
