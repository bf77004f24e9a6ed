"""Gaussian mixtures whose modes lie apart, of equal and unequal weight and width."""

import json
from importlib import resources
from typing import Any

import numpy as np

from rdmc_jax.problems.gaussian_mixture import gaussian_mixture
from rdmc_jax.problems.record import Problem, factory


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


@factory
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


@factory
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


@factory
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


@factory
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


@factory
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
