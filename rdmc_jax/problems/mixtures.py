"""Gaussian mixtures and Gaussians, whose normalisers, draws and mode weights are known exactly."""

import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .problem import Problem, constant, frozen, memoised_problem


def gaussian_mixture(
    name: str,
    weights: Any,
    means: Any,
    covariances: Any,
    reference: str,
    *,
    mode_weights: Any = None,
) -> Problem:
    """Return the normalised mixture of Gaussians with its draws and modes.

    Args:
        name: The factory's call.
        weights: Probability of each component, shape ``(num_components,)``.
        means: Shape ``(num_components, dim)``.
        covariances: Matrices, shape ``(num_components, dim, dim)``, or variances of isotropic
            components, shape ``(num_components,)``.
        reference: Source of the definition.
        mode_weights: Probability that a draw's most responsible component is each one; ``weights``
            (the limit of components far apart) when omitted.

    Returns:
        The problem; the mode of a point is its most responsible component.
    """
    weights, means, covariances = (np.asarray(a, float) for a in (weights, means, covariances))
    dim = means.shape[1]
    isotropic = covariances.ndim == 1
    if isotropic:
        factors = np.sqrt(covariances)
        log_determinants = dim * np.log(factors)
        whiteners = 1.0 / factors
    else:
        factors = np.linalg.cholesky(covariances)
        log_determinants = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
        whiteners = np.linalg.inv(factors)
    log_amplitudes = np.log(weights) - log_determinants - 0.5 * dim * np.log(2.0 * np.pi)

    def log_components(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        offset = x[None, :] - jnp.asarray(means, x.dtype)
        whitener = jnp.asarray(whiteners, x.dtype)
        if isotropic:
            whitened = offset * whitener[:, None]
        else:
            # Accelerators round plain matrix products to less than single precision.
            whitened = jnp.einsum("kij,kj->ki", whitener, offset, precision="highest")
        return jnp.asarray(log_amplitudes, x.dtype) - 0.5 * jnp.sum(whitened**2, axis=1)

    def logdensity_fn(position: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(log_components(position))

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        component_key, noise_key = jax.random.split(rng_key)
        component = jax.random.choice(
            component_key, len(weights), (num_samples,), p=jnp.asarray(weights)
        )
        noise = jax.random.normal(noise_key, (num_samples, dim))
        factor = jnp.asarray(factors)[component]
        if isotropic:
            scaled = factor[:, None] * noise
        else:
            scaled = jnp.einsum("nij,nj->ni", factor, noise, precision="highest")
        return jnp.asarray(means)[component] + scaled

    def mode_fn(position: jax.Array) -> jax.Array:
        return jnp.argmax(log_components(position))

    return Problem(
        name=name,
        logdensity_fn=logdensity_fn,
        position=constant((dim,)),
        log_normalizer=0.0,
        sample=sample,
        mode_fn=mode_fn,
        mode_weights=frozen(weights if mode_weights is None else mode_weights),
        reference=reference,
    )


def _gaussian(name: str, mean: np.ndarray, covariance: np.ndarray) -> Problem:
    """Return one normalised Gaussian; a single mode needs no name."""
    problem = gaussian_mixture(name, [1.0], mean[None], covariance[None], "closed form")
    return problem._replace(mode_fn=None, mode_weights=None)


@memoised_problem
def gaussian(dim: int = 2) -> Problem:
    """Return N(0, I), normalised.

    Args:
        dim: Dimension.

    >>> from rdmc_jax import problems
    >>> problems.gaussian(dim=3).log_normalizer
    0.0
    """
    return _gaussian(f"gaussian(dim={dim})", np.zeros(dim), np.eye(dim))


@memoised_problem
def gaussian_scales(scales: tuple[float, ...] = (1e-3, 1.0, 1e3), offset: float = 100.0) -> Problem:
    """Return independent Gaussians of very different width, far from the origin, normalised.

    Coordinate i has standard deviation ``scales[i]`` and mean ``(-1)^i offset scales[i]``. The
    offset is counted in standard deviations because single precision resolves no finer: at 1e5
    of them its rounding is a hundredth of the width.

    Args:
        scales: Standard deviations, a tuple.
        offset: Distance of each mean from zero in its own standard deviations.

    >>> from rdmc_jax import problems
    >>> problems.gaussian_scales((1e-3, 1e3)).position.shape
    (2,)
    """
    scale = np.asarray(scales, float)
    mean = offset * scale * (-1.0) ** np.arange(scale.size)
    name = f"gaussian_scales(scales={scales}, offset={offset:g})"
    return _gaussian(name, mean, np.diag(scale**2))


@memoised_problem
def gaussian_rotated(dim: int = 8, condition_number: float = 1e4) -> Problem:
    """Return a centred Gaussian whose principal axes are not the coordinates, normalised.

    The variances along the axes are spaced geometrically from 1 to ``1 / condition_number``; the
    axes are the columns of a Householder reflection, so every pair of coordinates correlates.

    Args:
        dim: Dimension, at least 2.
        condition_number: Largest over smallest eigenvalue of the covariance.

    >>> from rdmc_jax import problems
    >>> problems.gaussian_rotated(4).position.shape
    (4,)
    """
    normal = np.sqrt(np.arange(1.0, dim + 1.0))
    axes = np.eye(dim) - 2.0 * np.outer(normal, normal) / (normal @ normal)
    variances = condition_number ** -np.linspace(0.0, 1.0, dim)
    name = f"gaussian_rotated(dim={dim}, condition_number={condition_number:g})"
    return _gaussian(name, np.zeros(dim), (axes * variances) @ axes.T)


def _data(file_name: str) -> dict[str, Any]:
    """Read a committed table of parameters."""
    text = resources.files("rdmc_jax.problems").joinpath("data", file_name).read_text("utf-8")
    return json.loads(text)


def _require_committed(argument: str, value: int, table: dict[str, Any]) -> None:
    if str(value) not in table:
        known = ", ".join(sorted(table, key=int))
        raise ValueError(
            f"{argument} must be one of {known}, but got {value}: the parameters are committed "
            "data, so that every run sees the same target."
        )


@memoised_problem
def gmm4() -> Problem:
    """Return four correlated Gaussians in the plane with weights .1, .2, .3, .4.

    >>> from rdmc_jax import problems
    >>> float(problems.gmm4().mode_weights.sum())
    1.0

    Reference: He, Rojas, Tao (2024), "Zeroth-order sampling methods for non-log-concave
    distributions: alleviating metastability by denoising diffusion", section 5.
    """
    return gaussian_mixture(
        "gmm4()",
        weights=(0.1, 0.2, 0.3, 0.4),
        means=((0.0, 0.0), (0.0, 11.0), (9.0, 9.0), (11.0, 0.0)),
        covariances=(
            ((1.0, 0.5), (0.5, 1.0)),
            ((0.3, -0.2), (-0.2, 0.3)),
            ((1.0, 0.3), (0.3, 1.0)),
            ((1.2, -1.0), (-1.0, 1.2)),
        ),
        reference="He, Rojas, Tao (2024), arXiv 2402.17886, section 5; closed form",
    )


@memoised_problem
def gmm8() -> Problem:
    """Return eight equal Gaussians of variance .7 on the circle of radius 10.

    >>> from rdmc_jax import problems
    >>> problems.gmm8().mode_weights.shape
    (8,)

    Reference: Grenioux, Noble, Gabrié, Durmus (2024), "Stochastic localization via iterative
    posterior sampling", arXiv 2402.10758, section 5.
    """
    angle = np.arange(8) * np.pi / 4.0
    return gaussian_mixture(
        "gmm8()",
        weights=np.full(8, 1.0 / 8.0),
        means=10.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1),
        covariances=np.full(8, 0.7),
        reference="Grenioux, Noble, Gabrié, Durmus (2024), arXiv 2402.10758; closed form",
    )


@memoised_problem
def gmm40(dim: int = 2) -> Problem:
    """Return forty equal unit-variance Gaussians with means drawn once from ``[-40, 40]^dim``.

    Args:
        dim: 2 or 50. In two dimensions some components overlap: the mode weights are then the
            masses of the cells of nearest means, by quadrature, and not 1/40.

    Raises:
        ValueError: If no means are committed for ``dim``.

    >>> from rdmc_jax import problems
    >>> problems.gmm40(dim=50).position.shape
    (50,)

    Reference: Midgley, Stimper, Simm, Schölkopf, Hernández-Lobato (2023), "Flow annealed
    importance sampling bootstrap", arXiv 2208.01893, section 4.1 (other draws of the means).
    """
    table = _data("gmm40.json")
    _require_committed("dim", dim, table)
    return gaussian_mixture(
        f"gmm40(dim={dim})",
        weights=np.full(40, 1.0 / 40.0),
        means=table[str(dim)]["means"],
        covariances=np.ones(40),
        mode_weights=table[str(dim)]["mode_weights"],
        reference="means committed as data, after Midgley et al. (2023); closed form",
    )


@memoised_problem
def two_modes(dim: int = 2) -> Problem:
    """Return 2/3 N(-2/3 1, .05 I) + 1/3 N(4/3 1, .05 I): the mode distance grows with ``dim``.

    Args:
        dim: Dimension; the modes are about ``9 sqrt(dim)`` standard deviations apart.

    >>> from rdmc_jax import problems
    >>> problems.two_modes(32).position.shape
    (32,)

    Reference: Grenioux, Noble, Gabrié, Durmus (2024), arXiv 2402.10758, section 5.
    """
    return gaussian_mixture(
        f"two_modes(dim={dim})",
        weights=(2.0 / 3.0, 1.0 / 3.0),
        means=np.array([[-2.0 / 3.0], [4.0 / 3.0]]) * np.ones((1, dim)),
        covariances=(0.05, 0.05),
        reference="Grenioux, Noble, Gabrié, Durmus (2024), arXiv 2402.10758; closed form",
    )


@memoised_problem
def unequal_mixture(dim: int = 8) -> Problem:
    """Return five rotated Gaussians of unequal weight, width and orientation, far apart.

    Weights .4, .3, .15, .1, .05; the variances along each component's own axes lie in [.05, 1].

    Args:
        dim: 8 or 20.

    Raises:
        ValueError: If no parameters are committed for ``dim``.

    >>> from rdmc_jax import problems
    >>> problems.unequal_mixture(20).mode_weights.tolist()
    [0.4, 0.3, 0.15, 0.1, 0.05]
    """
    table = _data("unequal_mixture.json")
    _require_committed("dim", dim, table)
    return gaussian_mixture(
        f"unequal_mixture(dim={dim})",
        weights=(0.4, 0.3, 0.15, 0.1, 0.05),
        means=table[str(dim)]["means"],
        covariances=table[str(dim)]["covariances"],
        reference="parameters committed as data; closed form",
    )


@memoised_problem
def concentric_spike(dim: int = 10, share: float = 0.9) -> Problem:
    """Return share N(0, .01 I) + (1 - share) N(0, I): a spike in the middle of a broad mode.

    The broad mode is light, and everywhere around the spike. A sampler that follows the mass loses
    it, log Z is then low by ``-log share``, and effective sample sizes look better than before.

    Args:
        dim: Dimension.
        share: Mass of the spike, in (0, 1).

    Raises:
        ValueError: If the share is out of range.

    >>> from rdmc_jax import problems
    >>> problems.concentric_spike(5).mode_weights.round(3).tolist()  # the broad one first
    [0.1, 0.9]
    """
    from scipy.stats import chi2

    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, but got {share}.")
    variance = 0.01
    log_odds = np.log(share / (1 - share)) - 0.5 * dim * np.log(variance)
    squared_radius = 2 * max(log_odds, 0.0) / (1 / variance - 1)
    inside = share * chi2.cdf(squared_radius / variance, dim)
    inside += (1 - share) * chi2.cdf(squared_radius, dim)
    return gaussian_mixture(
        f"concentric_spike(dim={dim}, share={share:g})",
        weights=(1 - share, share),
        means=np.zeros((2, dim)),
        covariances=(1.0, variance),
        mode_weights=(1 - inside, inside),
        reference="closed form",
    )


@memoised_problem
def spike_slab(dim: int = 2) -> Problem:
    """Return 1/2 N(0, I) + 1/2 N(m, .05 I) with m = 4 (1, ..., 1) / sqrt(dim).

    A wide and a narrow mode of equal mass: along a tempering path the narrow one vanishes at high
    temperature and comes back late (a first-order transition). The region where a component is
    the more responsible one is a ball, so the mode weights are noncentral chi-square
    probabilities.

    Args:
        dim: Dimension.

    >>> from rdmc_jax import problems
    >>> bool(abs(problems.spike_slab(8).mode_weights[0] - 0.5) < 0.001)
    True
    """
    from scipy.stats import ncx2

    variance, distance = 0.05, 4.0
    precision = 1.0 / variance
    center = precision * distance / (precision - 1.0)
    squared_radius = center**2 + (dim * np.log(precision) - precision * distance**2) / (
        precision - 1.0
    )
    slab_in_ball = ncx2.cdf(squared_radius, dim, center**2)
    spike_in_ball = ncx2.cdf(squared_radius * precision, dim, (center - distance) ** 2 * precision)
    spike = 0.5 * (slab_in_ball + spike_in_ball)
    return gaussian_mixture(
        f"spike_slab(dim={dim})",
        weights=(0.5, 0.5),
        means=np.array([[0.0], [distance]]) / np.sqrt(dim) * np.ones((1, dim)),
        covariances=(1.0, variance),
        mode_weights=(1.0 - spike, spike),
        reference="closed form; mode weights by the noncentral chi-square law",
    )


@memoised_problem
def separation(distance: float = 8.0) -> Problem:
    """Return three unit-variance Gaussians on a triangle of side ``distance``, in the plane.

    Weights .5, .3, .2 around the origin. As ``distance`` grows the modes separate, which is
    the paper's subject. The mode of a point is its nearest mean, whose cell is a wedge: the mode
    weights are Gaussian masses of wedges, exact at every distance.

    Args:
        distance: Side of the equilateral triangle of means, in standard deviations.

    >>> from rdmc_jax import problems
    >>> problems.separation(12.0).mode_weights.round(6).tolist()
    [0.5, 0.3, 0.2]
    """
    weights = np.array([0.5, 0.3, 0.2])
    angle = np.pi / 2.0 + np.arange(3) * 2.0 * np.pi / 3.0
    directions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    means = distance / np.sqrt(3.0) * directions
    problem = gaussian_mixture(
        f"separation(distance={distance:g})",
        weights=weights,
        means=means,
        covariances=np.ones(3),
        mode_weights=weights @ _wedge_probabilities(directions, means),
        reference="closed form; mode weights by quadrature",
    )
    return problem._replace(mode_fn=_nearest(directions))


def _nearest(directions: np.ndarray) -> Callable[[jax.Array], jax.Array]:
    """Return the function that finds the closest of several means of equal norm."""

    def mode_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        return jnp.argmax(jnp.asarray(directions, x.dtype) @ x)

    return mode_fn


def _wedge_probabilities(directions: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the probability that component j's draw is nearest to mean k, indexed [j, k].

    In coordinates along and across direction k the cell is ``|across| < sqrt(3) along``; the inner
    integral is a difference of normal distribution functions, the outer one is by quadrature.
    """
    from scipy.special import ndtr

    node, node_weight = np.polynomial.legendre.leggauss(200)
    rotated = np.stack([-directions[:, 1], directions[:, 0]], axis=1)
    along, across = (means @ basis.T for basis in (directions, rotated))
    low, high = np.maximum(along - 10.0, 0.0), np.maximum(along + 10.0, 0.0)
    half = 0.5 * (high - low)[..., None]
    x = low[..., None] + half * (1.0 + node)
    density = np.exp(-0.5 * (x - along[..., None]) ** 2) / np.sqrt(2.0 * np.pi)
    edge, shift = np.sqrt(3.0) * x, across[..., None]
    return np.sum(half * node_weight * density * (ndtr(edge - shift) - ndtr(-edge - shift)), -1)
