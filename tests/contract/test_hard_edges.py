"""Densities that are zero, nan or infinite somewhere: counted, and the rest is right."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from targets import cheap, default, target

pytestmark = pytest.mark.one_program


def test_half_a_plane_of_zero_density():
    d = default(data=target(bound=0.0))
    assert abs(d.log_normalizer - np.log(0.5)) < 4 * d.log_normalizer_error
    assert d.num_nonfinite > 0
    assert np.all(d.position[d.weights > 0][:, 0] >= 0)
    mean, error = d.expectation(lambda x: x)
    assert np.all(np.abs(mean - np.array([np.sqrt(2 / np.pi), 0.0])) < 4 * error)
    found = dict(d.findings())
    assert set(found) == {"R107"} and f"{d.num_nonfinite:,}" in found["R107"]


def test_half_a_plane_of_zero_density_beside_the_start():
    """The example position itself has zero density: a start is found all the same."""
    d = default(position=jnp.array([-2.0, 0.0]), data=target(bound=0.0))
    assert abs(d.log_normalizer - np.log(0.5)) < 4 * d.log_normalizer_error + 0.02


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_disc_away_from_the_start(value):
    """What the disc would hold is lost, exactly as for a density that is zero there."""
    radius = 0.5
    lost = integrate.quad(
        lambda x: (
            stats.norm.pdf(x)
            * np.diff(stats.norm.cdf(1 + np.sqrt(radius**2 - (x - 1.5) ** 2) * np.array([-1, 1])))[
                0
            ]
        ),
        1.5 - radius,
        1.5 + radius,
    )[0]
    data = target(bad_center=(1.5, 1.0), bad_radius=radius, bad_value=value)
    d = default(data=data)
    assert d.num_nonfinite > 0
    assert np.all(np.isfinite(d.position)) and not np.any(np.isnan(d.log_weight))
    assert abs(d.log_normalizer - np.log1p(-lost)) < 4 * d.log_normalizer_error
    distance = np.linalg.norm(np.asarray(d.position) - np.array([1.5, 1.0]), axis=1)
    assert np.all(distance[d.weights > 0] >= radius - 1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_explicit_methods_survive_bad_values(value):
    clean = cheap(2048, data=target(bound=0.0))
    bad = cheap(
        2048, data=target(bound=0.0, bad_center=(1.5, 1.0), bad_radius=0.3, bad_value=value)
    )
    for d in (clean, bad):
        assert d.num_nonfinite > 0 and not np.any(np.isnan(d.log_weight))
    assert bad.num_nonfinite > clean.num_nonfinite
    assert abs(clean.log_normalizer - np.log(0.5)) < 4 * clean.log_normalizer_error
