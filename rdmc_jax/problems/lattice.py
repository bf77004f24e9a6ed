"""A scalar field on a ring: two modes in any dimension, exact by the transfer matrix."""

import jax
import jax.numpy as jnp
import numpy as np

from rdmc_jax.problems.record import Problem, constant, factory, frozen

COUPLING = 4.0
WELL = 1.5
NUM_CELLS = 400
HALF_RANGE = 3.0
# The transfer matrix is smooth: all its other eigenvalues are below 1e-9 of the largest.
NUM_EIGENVALUES = 40


@factory
def phi4_chain(num_sites: int = 16) -> Problem:
    """Return the periodic phi^4 chain, ``exp(-S)`` unnormalised.

    ``S = sum_i 1/2 a (phi_{i+1} - phi_i)^2 + b (phi_i^2 - 1)^2`` with a = 4 and b = 1.5. The
    normaliser is ``trace T^num_sites`` of the transfer matrix ``T(x, y)``, tabulated on a grid
    whose midpoint rule converges exponentially; the draws follow the same matrix site by site and
    are then spread uniformly over a cell. The mode of a point is the sign of its mean field.

    Args:
        num_sites: Length of the chain, at least 2: the dimension.

    >>> from rdmc_jax import problems
    >>> round(problems.phi4_chain(16).log_normalizer, 5)
    -7.15723

    Reference: Gabrié, Rotskoff, Vanden-Eijnden (2022), "Adaptive Monte Carlo augmented with
    normalizing flows", arXiv 2105.12603 (the model); the transfer matrix is textbook.
    """
    cell = 2.0 * HALF_RANGE / NUM_CELLS
    grid = -HALF_RANGE + cell * (np.arange(NUM_CELLS) + 0.5)
    well = 0.5 * WELL * (grid**2 - 1.0) ** 2
    log_transfer = -0.5 * COUPLING * (grid[:, None] - grid[None, :]) ** 2 - well[:, None] - well
    transfer = np.exp(log_transfer) * cell
    eigenvalues, eigenvectors = np.linalg.eigh(transfer)
    eigenvalues = eigenvalues[: -NUM_EIGENVALUES - 1 : -1]
    eigenvectors = eigenvectors[:, : -NUM_EIGENVALUES - 1 : -1]
    ratios = eigenvalues / eigenvalues[0]
    # Clipped, because the power of a rounding error is still noise about zero.
    powers = np.maximum(ratios, 0.0)[None, :] ** np.arange(num_sites + 1)[:, None]
    first_mass = np.maximum(eigenvectors**2 @ powers[num_sites], 0.0)

    def logdensity_fn(position: jax.Array) -> jax.Array:
        field = jnp.asarray(position)
        coupling = 0.5 * COUPLING * (jnp.roll(field, -1) - field) ** 2
        return -jnp.sum(coupling + WELL * (field**2 - 1.0) ** 2)

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        first_key, chain_key, place_key = jax.random.split(rng_key, 3)
        vectors, rows = jnp.asarray(eigenvectors), jnp.asarray(transfer)

        def draw(mass: jax.Array, uniform: jax.Array) -> jax.Array:
            distribution = jnp.cumsum(mass)
            index = jnp.searchsorted(distribution, uniform * distribution[-1], side="right")
            return jnp.minimum(index, NUM_CELLS - 1)

        def one(first_uniform: jax.Array, uniforms: jax.Array) -> jax.Array:
            first = draw(jnp.asarray(first_mass), first_uniform)

            def next_site(
                site: jax.Array, step: tuple[jax.Array, jax.Array]
            ) -> tuple[jax.Array, jax.Array]:
                uniform, power = step
                # Accelerators round plain matrix products to less than single precision.
                bridge = jnp.matmul(vectors, power * vectors[first], precision="highest")
                bridge = jnp.maximum(bridge, 0.0)
                following = draw(rows[site] * bridge, uniform)
                return following, following

            # Site i + 1 still has num_sites - i links to go until the ring closes.
            remaining = jnp.asarray(powers[num_sites - 1 : 0 : -1])
            _, rest = jax.lax.scan(next_site, first, (uniforms, remaining))
            return jnp.append(first, rest)

        first_uniform = jax.random.uniform(first_key, (num_samples,))
        uniforms = jax.random.uniform(chain_key, (num_samples, num_sites - 1))
        sites = jax.vmap(one)(first_uniform, uniforms)
        place = jax.random.uniform(place_key, (num_samples, num_sites), minval=-0.5, maxval=0.5)
        return jnp.asarray(grid)[sites] + cell * place

    return Problem(
        name=f"phi4_chain(num_sites={num_sites})",
        logdensity_fn=logdensity_fn,
        position=constant((num_sites,)),
        log_normalizer=float(num_sites * np.log(eigenvalues[0]) + np.log(powers[num_sites].sum())),
        sample=sample,
        mode_fn=lambda position: (jnp.mean(jnp.asarray(position)) > 0).astype(int),
        mode_weights=frozen((0.5, 0.5)),
        reference="transfer matrix on a grid of 400 points; mode weights by symmetry",
    )
