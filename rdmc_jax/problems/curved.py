"""Thin, bent ridges: what is narrow, and in which direction, changes along them."""

import jax
import jax.numpy as jnp
import numpy as np

from rdmc_jax.problems.record import Problem, constant, factory, frozen


@factory
def rosenbrock() -> Problem:
    """Return Rosenbrock's valley ``exp(-(100 (x_2 - x_1²)² + (1 - x_1)²)/20)`` in the plane.

    ``x_1 ~ N(1, 10)`` and ``x_2 | x_1 ~ N(x_1², .1)``: unimodal, .3 wide and some 60 long.

    >>> from rdmc_jax import problems
    >>> round(problems.rosenbrock().log_normalizer, 6)  # log 2π
    1.837877

    Reference: Goodman and Weare (2010), Commun. Appl. Math. Comput. Sci. 5.
    """

    def logdensity_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        return -5.0 * (x[1] - x[0] ** 2) ** 2 - 0.05 * (1.0 - x[0]) ** 2

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        noise = jax.random.normal(rng_key, (num_samples, 2))
        first = 1.0 + np.sqrt(10.0) * noise[:, 0]
        return jnp.stack([first, first**2 + np.sqrt(0.1) * noise[:, 1]], axis=1)

    return Problem(
        name="rosenbrock()",
        logdensity_fn=logdensity_fn,
        position=constant((2,)),
        log_normalizer=float(np.log(2.0 * np.pi)),
        sample=sample,
        mode_fn=None,
        mode_weights=None,
        reference="Goodman and Weare (2010); closed form",
    )


@factory
def bananas() -> Problem:
    """Return two parabolas that cross, of mass 1/3 (opening down) and 2/3 (opening up).

    ``x_1 ~ N(0, 16)`` and ``x_2 | x_1 ~ N(± c, .1)`` with ``c = .3 (x_1² - 16)``. A point belongs
    to the nearer parabola; the mode weights are normal probabilities, averaged over x_1.

    >>> from rdmc_jax import problems
    >>> problems.bananas().mode_weights.round(3).tolist()
    [0.338, 0.662]
    """
    from scipy.special import ndtr

    width, spread, shares = np.sqrt(0.1), 4.0, np.array([1.0, 2.0]) / 3.0
    node = np.linspace(-10.0, 10.0, 40_001)  # the crossings are some thirty of these wide
    node_weight = np.exp(-0.5 * node**2)
    height = np.abs(0.3 * ((spread * node) ** 2 - 16.0))
    own = float(np.sum(node_weight * ndtr(height / width)) / np.sum(node_weight))
    log_constant = -np.log(2.0 * np.pi * width * spread)

    def bend(x: jax.Array) -> jax.Array:
        return 0.3 * (x**2 - 16.0)

    def logdensity_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        down = np.log(shares[0]) - 0.5 * ((x[1] + bend(x[0])) / width) ** 2
        up = np.log(shares[1]) - 0.5 * ((x[1] - bend(x[0])) / width) ** 2
        return jnp.logaddexp(down, up) - 0.5 * (x[0] / spread) ** 2 + log_constant

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        side_key, noise_key = jax.random.split(rng_key)
        side = jnp.where(jax.random.uniform(side_key, (num_samples,)) < shares[0], -1.0, 1.0)
        noise = jax.random.normal(noise_key, (num_samples, 2))
        first = spread * noise[:, 0]
        return jnp.stack([first, side * bend(first) + width * noise[:, 1]], axis=1)

    def mode_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        return (x[1] * bend(x[0]) > 0).astype(int)

    return Problem(
        name="bananas()",
        logdensity_fn=logdensity_fn,
        position=constant((2,)),
        log_normalizer=0.0,
        sample=sample,
        mode_fn=mode_fn,
        mode_weights=frozen(own * shares + (1.0 - own) * shares[::-1]),
        reference="closed form; mode weights by quadrature",
    )
