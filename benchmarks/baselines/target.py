"""What every baseline is given: a flat density in the coordinates of a broad Gaussian around it."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

INFLATION = 1.5
EACH = "each draw"
"""As a number of chains: one for each draw, whose last state it is."""
# galaxy: the prior, N(20, 10²) for the means; log of an inverse gamma (3, 20); log-ratios of a
# uniform point of the simplex
PRIORS = {
    "galaxy": {"log_ratio": (0.0, 2.0), "log_variance": (2.1, 0.8), "mean": (20.0, 10.0)},
    "logistic": (0.0, np.append(np.ones(30), 2.5)),
}


class Target(NamedTuple):
    """A density of standardised flat coordinates y, x = mean + scale y, with its Jacobian.

    The reference of tempering, and the law of all starts, is N(0, I) in y: it covers the modes,
    and the baselines get it for nothing.
    """

    logdensity_fn: Callable[[jax.Array], jax.Array]
    dim: int
    to_position: Callable[[jax.Array], Any]


class Result(NamedTuple):
    """Draws in y with their weights (None: equal), log Z (None: none), and total counts."""

    position: jax.Array
    log_weight: jax.Array | None
    log_normalizer: float | None
    num_logdensity: int
    num_gradient: int


def reference_of(problem):
    """Mean and scale of each coordinate, 1.5 times the width of exact draws, or the prior."""
    flat, _ = ravel_pytree(problem.position)
    if problem.sample is not None:
        draws = problem.sample(jax.random.key(123), 5000)
        rows = np.asarray(jax.vmap(lambda one: ravel_pytree(one)[0])(draws), np.float64)
        return rows.mean(0), INFLATION * rows.std(0)
    prior = PRIORS[problem.name.split("(")[0]]
    if isinstance(prior, dict):
        pair = [
            {name: prior[name][k] + 0 * problem.position[name] for name in prior} for k in (0, 1)
        ]
        return tuple(np.asarray(ravel_pytree(one)[0], np.float64) for one in pair)
    return tuple(np.broadcast_to(np.asarray(part, np.float64), flat.shape) for part in prior)


def make_target(problem):
    """The problem as the baselines see it."""
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, problem.position))
    mean, scale = (jnp.asarray(part, flat.dtype) for part in reference_of(problem))
    log_jacobian = float(np.sum(np.log(np.asarray(scale, np.float64))))

    def to_position(y):
        return unravel(mean + scale * y)

    def logdensity_fn(y):
        return problem.logdensity_fn(to_position(y)) + log_jacobian

    return Target(logdensity_fn, flat.size, to_position)


def reference_logdensity(y):
    """Log density of N(0, I)."""
    return -0.5 * jnp.sum(y**2) - 0.5 * y.size * jnp.log(2 * jnp.pi)


def adapted(log_step, acceptance, wanted, iteration):
    """Robbins-Monro on the log of a step size."""
    return log_step + (acceptance - wanted) / jnp.sqrt(1.0 + iteration / 10.0)


def compiled(fn):
    """Jitted, with the target and numbers of draws and chains fixed."""
    names = {"target", "num_samples", "num_chains"} & set(inspect.signature(fn).parameters)
    return jax.jit(fn, static_argnames=tuple(names))


def chains_of(num_chains, num_samples):
    """Number of chains of a size: as it says, or one for each draw."""
    return num_samples if num_chains == EACH else num_chains
