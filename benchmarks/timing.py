"""Seconds of runs that compile nothing."""

import time
from typing import Any, NamedTuple

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"
NUM_TRIES = 3
_compiled: list[float] = []  # seconds of each program


def _listen(event, seconds, **_):
    if event == COMPILED:
        _compiled.append(seconds)


jax.monitoring.register_event_duration_secs_listener(_listen)


class Timed(NamedTuple):
    """What a call returned, and its seconds by the wall and of the processors."""

    result: Any
    wall: float
    cpu: float
    num_compiled: int  # programs that were compiled meanwhile
    cold: float  # seconds by the wall of the first try, compilation included


def timed(call):
    """A call, again if it compiled anything: another key may need another program.

    After `NUM_TRIES` calls that all compiled, the last one, whose ``num_compiled`` says so.
    """
    cold = None
    for _ in range(NUM_TRIES):
        before = len(_compiled)
        begin, begin_cpu = time.perf_counter(), time.process_time()
        result = jax.block_until_ready(call())
        wall, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
        cold = wall if cold is None else cold
        num_compiled = len(_compiled) - before
        if not num_compiled:
            break
    return Timed(result, wall, cpu, num_compiled, cold)
