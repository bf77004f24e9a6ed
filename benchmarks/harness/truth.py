"""Errors of any method's draws against exact ones, and the floors: errors of exact draws."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdmc_jax import metrics

NUM_REFERENCE = 10_000
NUM_PROJECTIONS = 64
NUM_REPEATS = 20
NUM_MULTINOMIAL = 20_000
QUANTILE = 0.95


def rows_of(position):
    """Flatten draws to one row each, shape (num_samples, dim)."""
    leaves = jax.tree.leaves(position)
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


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


def estimated_mode_weights(problem, draws):
    """Weighted share of each mode, shape (num_modes,)."""
    modes = np.asarray(jax.vmap(problem.mode_fn)(draws.position))
    return np.bincount(modes, draws.weights, minlength=len(problem.mode_weights))


def total_variation(estimate, truth):
    return 0.5 * np.sum(np.abs(estimate - truth), axis=-1)


def mode_floor(truth, num_draws):
    """Quantile of the error of exact draws."""
    counts = np.random.default_rng(0).multinomial(num_draws, truth, size=NUM_MULTINOMIAL)
    return float(np.quantile(total_variation(counts / num_draws, truth), QUANTILE))


def modes_record(problem, runs):
    if problem.mode_weights is None:
        return None
    truth = problem.mode_weights / problem.mode_weights.sum()
    estimates = np.stack([estimated_mode_weights(problem, draws) for draws in runs])
    ess = [draws.ess for draws in runs]
    return {
        "weights": estimates.tolist(),
        "truth": truth.tolist(),
        "average": float(total_variation(estimates.mean(0), truth)),
        "average_floor": mode_floor(truth, max(1, round(sum(ess)))),
        "per_seed": total_variation(estimates, truth).tolist(),
        "per_seed_floor": mode_floor(truth, max(1, round(np.mean(ess)))),
    }


def log_weights(draws):
    """Log of the normalised weights, which are equal where no draw has any."""
    with np.errstate(divide="ignore"):
        return np.log(draws.weights)


def distances(x, y, log_weight=None):
    """KS over the coordinates, sliced KS and sliced W2 of two clouds of rows."""
    key = jax.random.key(0)
    options = {"num_projections": NUM_PROJECTIONS, "x_log_weight": log_weight}
    return (
        float(metrics.kolmogorov_smirnov(x, y, x_log_weight=log_weight)),
        float(metrics.sliced_kolmogorov_smirnov(key, x, y, **options)),
        float(metrics.sliced_wasserstein(key, x, y, **options)),
    )


def distances_record(problem, runs):
    if problem.sample is None:
        return None
    reference_key, floor_key = jax.random.split(jax.random.key(2**31))
    draw = jax.jit(problem.sample, static_argnums=1)
    reference = rows_of(draw(reference_key, NUM_REFERENCE))
    scale = jnp.std(reference, axis=0)
    reference = reference / scale
    values = [
        distances(rows_of(draws.position) / scale, reference, log_weights(draws)) for draws in runs
    ]
    num_exact = max(2, round(np.mean([draws.ess for draws in runs])))
    floors = [
        distances(rows_of(draw(key, num_exact)) / scale, reference)
        for key in jax.random.split(floor_key, NUM_REPEATS)
    ]
    names = ("ks", "sliced_ks", "sliced_w2")
    return {
        name: {
            "per_seed": [value[k] for value in values],
            "mean": float(np.mean([value[k] for value in values])),
            "floor_mean": float(np.mean([floor[k] for floor in floors])),
            "floor": float(np.quantile([floor[k] for floor in floors], QUANTILE)),
        }
        for k, name in enumerate(names)
    }
