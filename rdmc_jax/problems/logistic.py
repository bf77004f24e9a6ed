"""Bayesian logistic regression on real data: one mode, where other samplers set the standard."""

from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np

from .problem import Problem, constant, memoised_problem

INTERCEPT_SCALE = 2.5


# Measured by benchmarks/truths/logistic.py with standard error .002
LOG_NORMALIZER = -49.280


def breast_cancer() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the Wisconsin diagnostic breast-cancer table, standardised, split 80 to 20.

    Returns:
        Features and labels (1: benign) of the 455 training rows, then of the 114 held-out rows.
        The features have mean 0 and variance 1 over the *training* rows.

    Source: Street, Wolberg, Mangasarian (1993), UCI repository, as scikit-learn ships it; the
    split is committed with the table.
    """
    folder = resources.files("rdmc_jax.problems").joinpath("data")
    with folder.joinpath("breast_cancer.csv").open(encoding="utf-8") as file:
        table = np.loadtxt(file, delimiter=",")
    feature, label, held_out = table[:, :30], table[:, 30], table[:, 31] == 1
    kept = feature[~held_out]
    feature = (feature - kept.mean(0)) / kept.std(0)
    return feature[~held_out], label[~held_out], feature[held_out], label[held_out]


@memoised_problem
def logistic() -> Problem:
    """Return logistic regression of the breast-cancer table: 30 weights and an intercept.

    ``y_i ~ Bernoulli(1 / (1 + exp(-(w · x_i + b))))``, ``w_j ~ N(0, 1)``, ``b ~ N(0, 2.5²)``, on
    the 455 training rows; the position is ``(w, b)``, shape (31,). Unimodal and nearly Gaussian:
    NUTS and tempered SMC set the standard here. There are no exact draws;
    ``benchmarks/results/logistic_truth.json`` has means and deviations by long NUTS chains.

    >>> from rdmc_jax import problems
    >>> problems.logistic().position.shape
    (31,)

    Reference: Street, Wolberg, Mangasarian (1993); normaliser by importance sampling.
    """
    feature, label, _, _ = breast_cancer()
    signed_feature = (2 * label - 1)[:, None] * np.append(feature, np.ones((label.size, 1)), axis=1)
    scale = np.append(np.ones(30), INTERCEPT_SCALE)
    constant_term = -0.5 * scale.size * np.log(2 * np.pi) - np.sum(np.log(scale))

    def logdensity_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        log_prior = constant_term - 0.5 * jnp.sum((x / jnp.asarray(scale, x.dtype)) ** 2)
        return log_prior + jnp.sum(jax.nn.log_sigmoid(jnp.asarray(signed_feature, x.dtype) @ x))

    return Problem(
        name="logistic()",
        logdensity_fn=logdensity_fn,
        position=constant((31,)),
        log_normalizer=LOG_NORMALIZER,
        sample=None,
        mode_fn=None,
        mode_weights=None,
        reference="scikit-learn's breast-cancer table; log Z by importance sampling around NUTS "
        "(benchmarks/truths/logistic.py)",
    )
