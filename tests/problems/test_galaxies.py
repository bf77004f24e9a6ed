"""The galaxy posterior against scipy's laws, a plane quadrature, and importance sampling."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import logsumexp

from rdmc_jax import problems
from rdmc_jax.problems.galaxies import GALAXY_VELOCITIES


def unconstrained(rng, num_components, equal_variances):
    return {
        "mean": rng.normal(20.0, 5.0, num_components),
        "log_variance": rng.normal(1.5, 0.5, () if equal_variances else num_components),
        "log_ratio": rng.normal(0.0, 1.0, num_components - 1),
    }


def constrained(position):
    """The natural parameters, the last and dependent weight left out."""
    ratio = jnp.append(jnp.exp(position["log_ratio"]), 1.0)
    return {
        "mean": position["mean"],
        "variance": jnp.exp(position["log_variance"]),
        "weight": (ratio / ratio.sum())[:-1],
    }


def expected_logdensity(position, num_components):
    natural = {k: np.asarray(v, float) for k, v in constrained(position).items()}
    weight = np.append(natural["weight"], 1.0 - natural["weight"].sum())
    deviation = np.sqrt(natural["variance"]) * np.ones(num_components)
    likelihood = stats.norm.pdf(GALAXY_VELOCITIES[:, None], natural["mean"], deviation) @ weight
    log_prior = stats.norm.logpdf(natural["mean"], 20.0, 10.0).sum()
    log_prior += stats.invgamma.logpdf(natural["variance"], 3.0, scale=20.0).sum()
    if num_components > 1:
        log_prior += stats.dirichlet.logpdf(weight, np.ones(num_components))
    # The Jacobian by automatic differentiation of the transform, block by block.
    variance_slope = jax.jacfwd(jnp.exp)(jnp.atleast_1d(position["log_variance"]))
    weight_slope = jax.jacfwd(lambda r: constrained({**position, "log_ratio": r})["weight"])(
        jnp.asarray(position["log_ratio"])
    )
    log_jacobian = sum(
        np.linalg.slogdet(np.asarray(a, float))[1] for a in (variance_slope, weight_slope) if a.size
    )
    return np.log(likelihood).sum() + log_prior + log_jacobian


@pytest.mark.parametrize(
    ("num_components", "equal_variances"), [(1, True), (2, True), (3, True), (3, False)]
)
def test_density_includes_constants_and_jacobians(num_components, equal_variances):
    problem = problems.galaxy(num_components, equal_variances)
    rng = np.random.default_rng(3)
    logdensity_fn = jax.jit(problem.logdensity_fn)
    for _ in range(3):
        position = unconstrained(rng, num_components, equal_variances)
        expected = expected_logdensity(position, num_components)
        np.testing.assert_allclose(logdensity_fn(position), expected, rtol=2e-6)


def test_density_and_mode_weights_are_symmetric_under_relabelling():
    problem = problems.galaxy(3, equal_variances=False)
    rng = np.random.default_rng(5)
    position = unconstrained(rng, 3, equal_variances=False)
    position["mean"] = np.sort(position["mean"])
    full_ratio = np.append(position["log_ratio"], 0.0)
    values, modes = [], []
    logdensity_fn = jax.jit(problem.logdensity_fn)
    for order in map(list, itertools.permutations(range(3))):
        relabelled = {
            "mean": position["mean"][order],
            "log_variance": position["log_variance"][order],
            "log_ratio": (full_ratio[order] - full_ratio[order[-1]])[:-1],
        }
        values.append(float(logdensity_fn(relabelled)))
        modes.append(int(problem.mode_fn(relabelled)))
    np.testing.assert_allclose(values, values[0], rtol=1e-6)
    assert sorted(modes) == list(range(6))
    np.testing.assert_allclose(problem.mode_weights, 1.0 / 6.0)


def test_mode_ranks_permutations_in_lexicographic_order():
    mode_fn = problems.galaxy(3).mode_fn
    for rank, order in enumerate(itertools.permutations(range(3))):
        mean = np.empty(3)
        mean[list(order)] = [10.0, 20.0, 30.0]
        assert mode_fn({"mean": mean}) == rank


def test_two_components_have_the_stated_normalizer():
    # Importance sampling around the one ordered mode, twice by symmetry.
    problem = problems.galaxy(2)

    def logdensity_fn(flat):
        return problem.logdensity_fn(
            {"mean": flat[:2], "log_variance": flat[2], "log_ratio": flat[3:]}
        )

    value_and_grad = jax.jit(jax.value_and_grad(lambda flat: -logdensity_fn(flat)))
    start = np.array([15.0, 22.0, 2.0, -1.0])
    found = optimize.minimize(
        lambda flat: tuple(np.asarray(a, float) for a in value_and_grad(flat)), start, jac=True
    )
    covariance = np.linalg.inv(
        np.asarray(jax.jit(jax.hessian(lambda flat: -logdensity_fn(flat)))(found.x), float)
    )
    proposal = stats.multivariate_t(found.x, 1.3 * (covariance + covariance.T) / 2.0, df=5)
    draws = proposal.rvs(10_000, random_state=np.random.default_rng(0))
    values = np.asarray(jax.jit(jax.vmap(logdensity_fn))(draws), float)
    log_weight = np.where(draws[:, 0] < draws[:, 1], values - proposal.logpdf(draws), -np.inf)
    weight = np.exp(log_weight - log_weight.max())
    error = weight.std() / weight.mean() / math.sqrt(len(weight))
    log_z = logsumexp(log_weight) - math.log(len(weight)) + math.log(2.0)
    assert error < 0.02
    np.testing.assert_allclose(log_z, problem.log_normalizer, atol=4.0 * error + 0.005)


def test_data_are_the_version_that_published_normalizers_use():
    assert GALAXY_VELOCITIES.shape == (82,)
    assert np.all(np.diff(GALAXY_VELOCITIES) > 0.0)
    assert GALAXY_VELOCITIES[77] == 26.960
    assert not GALAXY_VELOCITIES.flags.writeable
