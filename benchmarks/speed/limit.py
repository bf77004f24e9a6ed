"""The limit of speed: a bare loop of the same evaluations and normal numbers, and their counts."""

import math
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

STEP_SIZE = 1e-3


class Counts(NamedTuple):
    """What a program does."""

    gradients: int  # value and gradient at once
    values: int  # the value alone
    normals: int  # vectors of dim numbers


def bare_loop(logdensity_fn, dim, width, counts):
    """The limit: a function of a key, and the counts that it really has.

    Each count is rounded to whole rows of ``width`` chains. As many gradients as there are normal
    vectors take one of them per step; values alone take what is left.
    """
    moved = min(counts.normals, counts.gradients)
    looked = min(counts.normals - moved, counts.values)
    vectors = (
        (True, False, moved, counts.gradients - moved),
        (False, True, looked, counts.values - looked),
        (False, False, counts.normals - moved - looked, 0),
    )
    stages = [
        (has_gradient, has_value, has_noise, round(count / width))
        for has_gradient, has_value, *both in vectors
        for has_noise, count in zip((True, False), both, strict=True)
        if round(count / width)
    ]
    evaluate = jax.vmap(jax.value_and_grad(logdensity_fn))

    def run(key):
        def rows(carry, key, has_gradient, has_value, has_noise):
            x, total = carry
            if has_gradient:
                value, gradient = evaluate(x)
                x, total = x + STEP_SIZE * gradient, total + value
            if has_noise:
                noise = jax.random.normal(key, (width, dim), jnp.float32)
                x = x + math.sqrt(2 * STEP_SIZE) * noise
            if has_value:
                total = total + jax.vmap(logdensity_fn)(x)
            return (x, total), None

        # the barrier: a constant start would be evaluated by the compiler, in seconds
        start = jax.lax.optimization_barrier(jnp.zeros((width, dim), jnp.float32))
        carry = (start, jnp.zeros(width, jnp.float32))
        for number, (*does, length) in enumerate(stages):
            keys = jax.random.split(jax.random.fold_in(key, number), length)
            carry, _ = jax.lax.scan(lambda c, k, does=does: rows(c, k, *does), carry, keys)
        return carry

    done = [width * sum(s[3] for s in stages if s[kind]) for kind in range(3)]
    return run, Counts(*done)


def counted_normals(run, *arguments):
    """Normal numbers that one run draws: its calls of `jax.random.normal`, under vmap and loops."""
    total = 0

    def add(size):
        nonlocal total
        total += int(size)

    @custom_vmap
    def count(key, size):
        jax.debug.callback(add, size)
        return size

    @count.def_vmap
    def _(axis_size, is_batched, key, size):
        return count(key[0] if is_batched[0] else key, axis_size * size), False

    plain = jax.random.normal

    def normal(key, shape=(), dtype=float, **options):
        # the key tells along which axes of vmap there are numbers of their own
        count(jax.random.key_data(key), jnp.asarray(math.prod(shape), jnp.float32))
        return plain(key, shape, dtype, **options)

    with mock.patch.object(jax.random, "normal", normal):
        jax.block_until_ready(jax.jit(lambda *given: run(*given))(*arguments))
        jax.effects_barrier()
    return total
