"""What a user knows of the modes is used, and what it may cost is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdmc_jax as rj

PLACE, WIDTH = np.array([9.0, -7.0], np.float32), 1e-3
BUDGET = 80_000


def needle(x):
    """Half of the mass in N(0, I), half in a needle that nothing leads to."""
    broad = -0.5 * jnp.sum(x**2)
    narrow = -0.5 * jnp.sum(((x - PLACE) / WIDTH) ** 2) - 2 * jnp.log(WIDTH)
    return jnp.logaddexp(broad, narrow) - jnp.log(4 * jnp.pi)


@pytest.mark.parametrize("is_known", [False, True])
def test_a_needle_is_found_if_its_place_is_known(is_known):
    known = {"known_positions": PLACE[None]} if is_known else {}
    draws = rj.sample(jax.random.key(0), needle, jnp.zeros(2), 2000, max_evals=BUDGET, **known)
    share, _ = draws.expectation(lambda x: x[0] > 5)
    # without it half of the mass is missing, and log Z is log ½: the blind spot
    truth = 0.5 if is_known else 0.0
    assert abs(share - truth) < 0.1
    log_z = 0.0 if is_known else np.log(0.5)
    assert abs(draws.log_normalizer - log_z) < 4 * draws.log_normalizer_error + 0.01
    assert draws.total_evals <= BUDGET and draws.plan.max_evals == BUDGET
