"""The user's own globals that a function names: helpers, classes, constants."""

import dataclasses
import dis
import functools
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

LIBRARY = "rdmc_jax"
LIBRARIES = {LIBRARY, "jax", "jaxlib", "numpy", "optax", "chex"}
"""Never the user's own, even where they are installed from a folder of sources."""
DATA = int | float | complex | str | bytes | set | frozenset | np.generic | np.ndarray | jax.Array


class Reference(NamedTuple):
    """A global name, with the attributes of modules that follow it, and what it stands for."""

    name: str
    value: Any


@functools.cache
def is_own(module: str | None) -> bool:
    """Whether a module is the user's: neither Python's nor installed.

    Args:
        module: its name, as of ``__module__``.

    >>> is_own("jax.numpy"), is_own("collections"), is_own("__main__")
    (False, False, True)
    """
    root = (module or "").partition(".")[0]
    if root == "__main__":
        return True
    if not root or root in LIBRARIES or root in sys.stdlib_module_names:
        return False
    found = sys.modules.get(root)
    if found is None:
        return False
    places = (
        [found.__file__] if getattr(found, "__file__", None) else getattr(found, "__path__", [])
    )
    installed = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return bool(places) and not any(
        place is None
        or {"site-packages", "dist-packages"} & set(Path(place).parts)
        or any(Path(place).is_relative_to(one) for one in installed)
        for place in places
    )


def is_foreign(value: Any) -> bool:
    """Whether an object is another library's, so that its name says enough.

    Not so for data: numbers, texts, arrays, containers, PyTrees, records and partial functions; and
    not for what this library makes, which the user has chosen the sizes of.

    >>> is_foreign(dis), is_foreign(dis.dis), is_foreign(is_foreign), is_foreign(np.zeros(3))
    (True, True, False, False)
    """
    if isinstance(value, types.ModuleType):
        return not is_own(value.__name__)
    if isinstance(value, types.MethodType | functools.partial):
        return is_foreign(value.__func__ if isinstance(value, types.MethodType) else value.func)
    if isinstance(value, type | types.FunctionType) or hasattr(value, "__wrapped__"):
        return _is_of_a_library(getattr(value, "__module__", None))
    leaves = jax.tree.leaves(value)
    is_leaf = len(leaves) == 1 and leaves[0] is value
    if not is_leaf or isinstance(value, DATA) or dataclasses.is_dataclass(value):
        return False
    return _is_of_a_library(type(value).__module__)


def _is_of_a_library(module: str | None) -> bool:
    return not is_own(module) and (module or "").partition(".")[0] != LIBRARY


def _names(code: types.CodeType) -> Iterator[tuple[str, ...]]:
    """Global names with the attributes that are taken of them, of all functions within."""
    chain: tuple[str, ...] = ()
    for one in dis.get_instructions(code):
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            if chain:
                yield chain
            chain = (str(one.argval),)
        elif one.opname in ("LOAD_ATTR", "LOAD_METHOD") and chain:
            chain = (*chain, str(one.argval))
        elif chain and one.opname != "CACHE":
            yield chain
            chain = ()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _stored(code: types.CodeType) -> set[str]:
    own = {str(one.argval) for one in dis.get_instructions(code) if one.opname == "STORE_GLOBAL"}
    return own.union(*(_stored(one) for one in code.co_consts if isinstance(one, types.CodeType)))


def references(function: types.FunctionType) -> list[Reference]:
    """What a function of the user's own takes from the globals of modules, by name.

    Args:
        function: any; one of a library refers to nothing that its version does not say.

    Returns:
        In the order of their names, each once; modules are followed to what is taken of them.

    >>> def plus_one(x):
    ...     return helper(x) + jax.numpy.ones(())
    >>> plus_one.__module__ = "__main__"
    >>> plus_one.__globals__["helper"] = abs
    >>> [one.name for one in references(plus_one)]
    ['helper', 'jax']
    """
    if not is_own(function.__module__):
        return []
    found: dict[str, Any] = {}
    stored = _stored(function.__code__)
    for first, *rest in _names(function.__code__):
        if first not in function.__globals__ or first in stored:
            continue  # a builtin, not there yet, or what the function itself changes
        name, value = first, function.__globals__[first]
        for attribute in rest:
            if not isinstance(value, types.ModuleType) or is_foreign(value):
                break
            if not hasattr(value, attribute):
                break
            name, value = f"{name}.{attribute}", getattr(value, attribute)
        found[name] = value
    return [Reference(name, found[name]) for name in sorted(found)]


def methods(kind: type) -> dict[str, types.FunctionType]:
    """Functions of a class of the user's own and of its bases that are, in the order of names."""
    found: dict[str, types.FunctionType] = {}
    for one in reversed(kind.__mro__):
        if not is_own(one.__module__):
            continue
        for name, value in vars(one).items():
            for part in (value, *(getattr(value, a, None) for a in ("__func__", "fget", "func"))):
                if isinstance(part, types.FunctionType):
                    found[name] = part
    return dict(sorted(found.items()))
