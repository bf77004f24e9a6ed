"""Mixtures whose components differ in width or overlap, with the exact masses of their modes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rdmc_jax.problems.gaussian_mixture import gaussian_mixture
from rdmc_jax.problems.record import Problem, factory


@factory
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


@factory
def separation(distance: float = 8.0) -> Problem:
    """Return three unit-variance Gaussians on a triangle of side ``distance``, in the plane.

    Weights .5, .3, .2 around the origin; the story of the paper is told along ``distance``. The
    mode of a point is its nearest mean, whose cell is a wedge: the mode weights are Gaussian
    masses of wedges, exact at every distance.

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
