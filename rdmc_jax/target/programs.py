"""Compiled programs, kept for the last few densities only.

A program belongs to one density, and a process may map only so many pieces of compiled code. A
notebook or a loop with ever new densities would use them up, so programs of densities that were not
used for long are let go.
"""

import collections
import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import jax

NUM_KEPT = 4
"""Densities whose programs are kept, for each compiled function."""
QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}
"""Compiler options for CPUs: a first call takes .6 to .75 of the time it takes with JAX's own
(``benchmarks/speed/startup.py``)."""
P = ParamSpec("P")
T = TypeVar("T")


@functools.cache
def compiler_options() -> dict[str, Any] | None:
    """Options of all programs here: `QUICK` on CPUs, if this jaxlib has these options.

    None where the user asks JAX for less optimisation still, as options of a program would win.
    """
    if jax.default_backend() != "cpu" or jax.config.read("jax_disable_most_optimizations"):
        return None
    try:
        jax.jit(lambda x: x, compiler_options=QUICK)(0.0)
    except jax.errors.JaxRuntimeError:
        return None
    return QUICK


class compiled(Generic[P, T]):
    """`jax.jit` of a function of a density, with programs that can be let go.

    Args:
        fn: function with an argument ``logdensity_fn``.
        static: names of other arguments that are static.

    >>> import jax.numpy as jnp
    >>> value = compiled(lambda logdensity_fn, x: logdensity_fn(x))
    >>> [float(value(fn, jnp.zeros(()))) for fn in (jnp.cos, jnp.sin)], len(value.programs)
    ([1.0, 0.0], 2)
    """

    def __init__(self, fn: Callable[P, T], static: tuple[str, ...] = ()) -> None:
        self._fn, self._static = fn, static
        self._place = list(inspect.signature(fn).parameters).index("logdensity_fn")
        self.programs: collections.OrderedDict[Any, Any] = collections.OrderedDict()

    def _program(self, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """The program of a density, and the arguments without it."""
        density, rest = args[self._place], args[: self._place] + args[self._place + 1 :]
        if density not in self.programs:

            @functools.wraps(self._fn)
            def bound(*rest: Any, **named: Any) -> Any:
                return self._fn(*rest[: self._place], density, *rest[self._place :], **named)

            del bound.__wrapped__  # its signature has the density
            self.programs[density] = jax.jit(
                bound,
                static_argnames=self._static or None,
                compiler_options=compiler_options(),
            )
        self.programs.move_to_end(density)
        while len(self.programs) > NUM_KEPT:
            self.programs.popitem(last=False)
        return self.programs[density], rest

    def __call__(self, *args: P.args, **named: P.kwargs) -> T:
        """Call the function, compiled; ``logdensity_fn`` is passed by position."""
        program, rest = self._program(args)
        found: T = program(*rest, **named)
        return found

    def eval_shape(self, *args: Any, **named: Any) -> Any:
        """Shapes of the result, without compiling."""
        program, rest = self._program(args)
        return program.eval_shape(*rest, **named)

    def trace(self, *args: Any, **named: Any) -> Any:
        """Trace the program, which raises what the density raises; see `jax.stages`."""
        program, rest = self._program(args)
        return program.trace(*rest, **named)

    def lower(self, *args: Any, **named: Any) -> Any:
        """Lower the program; see `jax.stages`."""
        program, rest = self._program(args)
        return program.lower(*rest, **named)
