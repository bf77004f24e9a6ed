"""What an object is, in words that the next process says alike: no addresses, no caches."""

import functools
import hashlib
import types
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .references import Reference, is_foreign, methods, references


def digest(*texts: str) -> str:
    """A short hash of texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def described(value: Any) -> str:
    """A text that is equal for equal compositions, in any process.

    Functions are their module, name, code, what they close over, and the global functions,
    classes, numbers and arrays that they name, if these are neither of this library nor of an
    installed one; arrays their type and content; records and PyTrees their parts. That is how a
    method, a tuple of closures, or a density can be compared with the one of a run that was killed.

    Args:
        value: densities, plans, methods, PyTrees, numbers.

    Returns:
        The text; long, so `digest` it.

    >>> def step(size):
    ...     return lambda x: x + size
    >>> described(step(1)) == described(step(1)), described(step(1)) == described(step(2))
    (True, False)
    """
    return _described(value, (), {})


Known = dict[int, tuple[Any, str]]
"""What was described, by id, and held so that its id is not given again."""
DEEPEST = 50
"""Levels of objects within objects that are looked into."""
LONGEST = 500
"""Characters beyond which a description is digested, so that shared parts do not multiply."""


def _described(value: Any, above: tuple[int, ...], known: Known) -> str:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        return repr(value)
    if id(value) in above:
        return "itself"  # recursive functions close over themselves
    if id(value) not in known:
        if len(above) == DEEPEST:
            return f"{type(value).__module__}.{type(value).__qualname__}"
        above = (*above, id(value))
        text = _composed(value, lambda part: _described(part, above, known))
        known[id(value)] = (value, text if len(text) <= LONGEST else digest(text))
    return known[id(value)][1]


def _composed(value: Any, inner: Callable[[Any], str]) -> str:
    if isinstance(value, types.FunctionType):
        return _function(value, inner)
    if isinstance(value, type):
        return _class(value, inner)
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return f"key {jax.random.key_impl(value)} {inner(jax.random.key_data(value))}"
    if isinstance(value, jax.Array | np.ndarray):
        return _array(np.asarray(value))
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    if isinstance(value, types.MethodType):
        return f"method({inner(value.__func__)}, {inner(value.__self__)})"
    if hasattr(value, "__wrapped__"):
        return inner(value.__wrapped__)  # a cache or a compiled program around a function
    if isinstance(value, types.ModuleType):
        return f"module {value.__name__}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inner(k)}: {inner(v)}" for k, v in value.items()) + "}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({', '.join(sorted(map(inner, value)))})"
    if isinstance(value, tuple | list):
        return f"{inner(type(value))}({', '.join(map(inner, value))})"
    return _object(value, inner)


def _array(array: np.ndarray) -> str:
    if array.dtype == object:  # whose bytes are addresses
        return f"object{array.shape}"
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"{array.dtype}{array.shape} {content}"


def _object(value: Any, inner: Callable[[Any], str]) -> str:
    flat: Any = jax.tree.flatten(value, is_leaf=lambda one: one is not value)
    children, structure = flat
    node = structure.node_data()
    if node is not None:
        beside = list(node[1]) if isinstance(node[1], tuple) else [node[1]]
        found = [list(map(inner, part)) for part in (children, beside)]
        if is_foreign(type(value)):
            # some libraries (NumPyro) keep their fields in the order of a set
            found = [sorted(part) for part in found]
        return f"{inner(type(value))}({found})"
    # of other objects nothing is known for sure; a default repr would say where they lie in memory
    kind = type(value)
    held = {
        name: getattr(value, name)
        for one in kind.__mro__
        for name in _slots(one)
        if hasattr(value, name)
    }
    held |= {
        name: part
        for name, part in getattr(value, "__dict__", {}).items()
        if not isinstance(getattr(kind, name, None), functools.cached_property)
    }
    return f"{inner(kind)}({inner(held)})"


def _slots(kind: type) -> tuple[str, ...]:
    names = kind.__dict__.get("__slots__", ())
    names = (names,) if isinstance(names, str) else tuple(names)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _class(kind: type, inner: Callable[[Any], str]) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}"
    own = methods(kind)
    return f"{name}:{digest(*(f'{key} {inner(one)}' for key, one in own.items()))}" if own else name


def _function(function: types.FunctionType, inner: Callable[[Any], str]) -> str:
    parts = [*_code(function.__code__, inner)]
    for cell in function.__closure__ or ():
        try:
            parts.append(inner(cell.cell_contents))
        except ValueError:  # what is defined later
            parts.append("empty")
    parts += [inner(function.__defaults__), inner(function.__kwdefaults__)]
    parts += [f"{one.name}={_reference(one, inner)}" for one in references(function)]
    return f"{function.__module__}.{function.__qualname__}:{digest(*parts)}"


def _reference(found: Reference, inner: Callable[[Any], str]) -> str:
    value = found.value
    if is_foreign(value):
        return getattr(
            value, "__qualname__", f"{type(value).__module__}.{type(value).__qualname__}"
        )
    if isinstance(value, list | dict | set):
        # whole numbers and truth in them change when functions count their calls, say
        leaves = jax.tree.leaves(sorted(value, key=repr) if isinstance(value, set) else value)
        return inner([leaf for leaf in leaves if not isinstance(leaf, int)])
    return inner(value)


def _code(code: types.CodeType, inner: Callable[[Any], str]) -> list[str]:
    """What a function does, and all functions within it, but not where it was written."""
    constants = [one for one in code.co_consts if not isinstance(one, types.CodeType)]
    nested = [one for one in code.co_consts if isinstance(one, types.CodeType)]
    own = [code.co_code.hex(), repr(code.co_names), inner(constants)]
    return own + [text for one in nested for text in _code(one, inner)]
