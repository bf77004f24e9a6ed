"""A pool whose proportions are wrong by weight, and the mixture that it should stand for."""

import numpy as np
from targets import Mixture, pool_of

TARGET = Mixture((0.3, 0.7), ((-1.3, 0.2), (1.3, -0.2)), ((0.5, 0.6), (0.7, 0.4)), 0.6)
NUM_POINTS = 64
FIRST = np.arange(NUM_POINTS) < 0.4 * NUM_POINTS
KNOWN = pool_of(np.zeros((1, 2)))


def fixed_pool(log_offset=0.0):
    """Modes in the proportions 60/40, where the target has 30/70, by weight and not by number."""
    rng = np.random.default_rng(0)
    mean = np.where(FIRST[:, None], TARGET.mean[0], TARGET.mean[1])
    scale = np.sqrt(np.where(FIRST[:, None], TARGET.variance[0], TARGET.variance[1]))
    position = mean + scale * rng.normal(size=(NUM_POINTS, 2))
    log_weight = 0.3 * rng.normal(size=NUM_POINTS) + np.log(2.25) * FIRST + log_offset
    return pool_of(position, log_weight)


def fixed_generator(rng_key, logdensity_fn, known):
    return fixed_pool()
