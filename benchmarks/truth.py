"""Errors of any method's draws against exact ones, and what exact draws themselves read."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accuracy import NUM_REPEATS, QUANTILE, mode_floor, rows_of
from rdmc_jax import metrics

NUM_REFERENCE = 10_000


class Truth(NamedTuple):
    """Exact draws divided by their deviations, and the floors of both distances."""

    reference: Any
    scale: Any
    floors: dict


def truth_of(problem, num_samples):
    floors = {}
    if problem.mode_weights is not None:
        weights = problem.mode_weights / np.sum(problem.mode_weights)
        floors["modes"] = mode_floor(weights, num_samples)
    if problem.sample is None:
        return Truth(None, None, floors)
    reference_key, floor_key = jax.random.split(jax.random.key(2**31))
    reference = rows_of(problem.sample(reference_key, NUM_REFERENCE))
    scale = jnp.std(reference, axis=0)
    exact = [
        float(metrics.kolmogorov_smirnov(rows_of(problem.sample(key, num_samples)), reference))
        for key in jax.random.split(floor_key, NUM_REPEATS)
    ]
    floors["ks"] = float(np.quantile(exact, QUANTILE))
    return Truth(reference / scale, scale, floors)


def errors_of(problem, truth, outcome):
    """All distances from the truth that exist; a draw that is not a number counts against it."""
    log_z = outcome.log_normalizer - problem.log_normalizer
    record = {"log_z": float(log_z), "modes": None, "ks": None}
    rows = np.asarray(rows_of(outcome.position), np.float64)
    log_weight = np.zeros(len(rows)) if outcome.log_weight is None else outcome.log_weight
    log_weight = np.where(np.isfinite(rows).all(1), log_weight, -np.inf)
    if not np.isfinite(log_weight).any():
        return {"log_z": float(log_z), "modes": 1.0, "ks": 1.0}
    position = jax.tree.map(jnp.nan_to_num, outcome.position)
    if problem.mode_weights is not None:
        modes = jax.vmap(problem.mode_fn)(position)
        weights = problem.mode_weights / np.sum(problem.mode_weights)
        record["modes"] = float(
            metrics.mode_weight_error(modes, weights, log_weight=jnp.asarray(log_weight))
        )
    if truth.reference is not None:
        scaled = rows_of(position) / truth.scale
        record["ks"] = float(
            metrics.kolmogorov_smirnov(
                scaled, truth.reference, x_log_weight=jnp.asarray(log_weight)
            )
        )
    return record
