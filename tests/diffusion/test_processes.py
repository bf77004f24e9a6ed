"""Noising processes and bridges against their formulas in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdmc_jax.diffusion import log_snr_grid, ornstein_uhlenbeck, variance_exploding
from rdmc_jax.diffusion.processes import bridge_coefficients

TIMES = np.geomspace(1e-4, 8.0, 60)
PROCESSES = [ornstein_uhlenbeck(), variance_exploding()]


def test_ornstein_uhlenbeck_has_the_coefficients_of_the_paper():
    process, t = ornstein_uhlenbeck(), jnp.asarray(TIMES)
    rounded = np.asarray(t, float)
    np.testing.assert_allclose(process.alpha(t), np.exp(-rounded), rtol=3e-6)
    np.testing.assert_allclose(process.sigma(t) ** 2, -np.expm1(-2 * rounded), rtol=1e-6)
    scale2 = (process.sigma(t) / process.alpha(t)) ** 2
    np.testing.assert_allclose(scale2, np.expm1(2 * rounded), rtol=1e-5)
    np.testing.assert_allclose(process.log_snr(t), -np.log(np.expm1(2 * rounded)), atol=3e-6)


def test_alpha_and_sigma_are_sigmoids_of_the_log_snr():
    process = ornstein_uhlenbeck()
    log_snr = np.linspace(-9.0, 9.0, 37)
    t = jnp.asarray([process.time(value) for value in log_snr])
    np.testing.assert_allclose(process.alpha(t) ** 2, 1 / (1 + np.exp(-log_snr)), rtol=1e-5)
    np.testing.assert_allclose(process.sigma(t) ** 2, 1 / (1 + np.exp(log_snr)), rtol=1e-5)


@pytest.mark.parametrize("process", PROCESSES)
def test_time_inverts_the_log_snr(process):
    log_snr = np.linspace(-15.0, 15.0, 31)
    t = jnp.asarray([process.time(value) for value in log_snr])
    np.testing.assert_allclose(process.log_snr(t), log_snr, atol=5e-6)
    alpha, sigma = np.asarray(process.alpha(t), float), np.asarray(process.sigma(t), float)
    np.testing.assert_allclose(np.log(alpha**2 / sigma**2), log_snr, atol=2e-5)


def test_time_overflows_at_neither_end():
    process = ornstein_uhlenbeck()
    assert process.time(-2000.0) == pytest.approx(1000.0)
    assert 0.0 < process.time(700.0) < 1e-300


def naive_bridge(process, t, s):
    alpha_t, alpha_s = np.asarray(process.alpha(t)), np.asarray(process.alpha(s))
    var_t, var_s = np.asarray(process.sigma(t)) ** 2, np.asarray(process.sigma(s)) ** 2
    ratio = alpha_t / alpha_s
    forward = var_t - ratio**2 * var_s
    return ratio, forward, ratio * var_s / var_t, alpha_s * forward / var_t, forward * var_s / var_t


@pytest.mark.parametrize("process", PROCESSES)
def test_bridge_is_the_product_of_its_two_gaussians(process):
    with jax.enable_x64(True):
        t = jnp.asarray([3.0, 1.0, 0.5, 0.02])
        s = jnp.asarray([1.0, 0.9, 0.01, 0.001])
        bridge = bridge_coefficients(process, t, s)
        assert bridge.ratio.dtype == jnp.float64
        for value, expected in zip(bridge, naive_bridge(process, t, s), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-11)


@pytest.mark.parametrize("process", PROCESSES)
def test_bridge_keeps_its_digits_in_single_precision_on_a_fine_grid(process):
    grid = np.asarray(log_snr_grid(1000, process=process), np.float32)
    bridge = bridge_coefficients(process, jnp.asarray(grid[:-1]), jnp.asarray(grid[1:]))
    with jax.enable_x64(True):
        t, s = (jnp.asarray(part.astype(np.float64)) for part in (grid[:-1], grid[1:]))
        expected = naive_bridge(process, t, s)
    for value, exact in zip(bridge, expected, strict=True):
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, exact, rtol=2e-4)


def test_bridge_to_noise_free_time_ends_at_the_posterior_draw():
    bridge = bridge_coefficients(ornstein_uhlenbeck(), jnp.asarray([0.7]), jnp.zeros(1))
    np.testing.assert_allclose(bridge.weight_x, [0.0], atol=1e-7)
    np.testing.assert_allclose(bridge.weight_y, [1.0], rtol=1e-6)
    np.testing.assert_allclose(bridge.variance, [0.0], atol=1e-7)
    np.testing.assert_allclose(bridge.forward_variance, [-np.expm1(-1.4)], rtol=1e-6)
