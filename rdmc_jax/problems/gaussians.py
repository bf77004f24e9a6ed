"""Single Gaussians: standard, badly scaled and far from the origin, rotated and ill-conditioned."""

import numpy as np

from rdmc_jax.problems.gaussian_mixture import gaussian_mixture
from rdmc_jax.problems.record import Problem, factory


def _gaussian(name: str, mean: np.ndarray, covariance: np.ndarray) -> Problem:
    """Return one normalised Gaussian; a single mode needs no name."""
    problem = gaussian_mixture(name, [1.0], mean[None], covariance[None], "closed form")
    return problem._replace(mode_fn=None, mode_weights=None)


@factory
def gaussian(dim: int = 2) -> Problem:
    """Return N(0, I), normalised.

    Args:
        dim: Dimension.

    >>> from rdmc_jax import problems
    >>> problems.gaussian(dim=3).log_normalizer
    0.0
    """
    return _gaussian(f"gaussian(dim={dim})", np.zeros(dim), np.eye(dim))


@factory
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


@factory
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
