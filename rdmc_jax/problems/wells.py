"""Products and chains of double wells, and the eggbox."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from .problem import Problem, constant, frozen, log_integral, memoised_problem, quantile_fn

# More modes than this are counted by mode_fn but not tabulated.
MAX_TABULATED_PAIRS = 16


@memoised_problem
def many_well(num_pairs: int = 16) -> Problem:
    """Return a product of double wells: ``2^num_pairs`` modes of exactly known weight.

    The position holds ``(x_1, y_1, x_2, y_2, ...)`` and each pair has the unnormalised density
    ``exp(-x^4 + 6 x^2 + x / 2 - y^2 / 2)``. The mode of a point is the number whose binary digits,
    lowest first, are the signs of the x.

    Args:
        num_pairs: Number of (x, y) pairs; the dimension is twice that. Above 16 pairs there are
            too many modes to tabulate and ``mode_weights`` is None; at most 30.

    Raises:
        ValueError: If ``num_pairs`` is not in 1..30.

    >>> from rdmc_jax import problems
    >>> round(problems.many_well(1).log_normalizer, 5)
    10.29348

    Reference: Noé, Olsson, Köhler, Wu (2019), "Boltzmann generators"; Midgley et al. (2023),
    arXiv 2208.01893, section 4.2.
    """
    if not 1 <= num_pairs <= 30:
        raise ValueError(f"num_pairs must be in 1..30, but got {num_pairs}.")
    edges = np.linspace(-3.5, 3.5, 7001)
    midpoints = 0.5 * (edges[1:] + edges[:-1])
    log_well = -(midpoints**4) + 6.0 * midpoints**2 + 0.5 * midpoints
    mass = np.exp(log_well - log_well.max())
    right = mass[midpoints > 0.0].sum() / mass.sum()
    quantile = quantile_fn(edges, log_well)
    mode_weights = np.ones(1)
    for _ in range(num_pairs if num_pairs <= MAX_TABULATED_PAIRS else 0):
        mode_weights = np.concatenate([(1.0 - right) * mode_weights, right * mode_weights])

    def logdensity_fn(position: jax.Array) -> jax.Array:
        pairs = jnp.asarray(position).reshape(num_pairs, 2)
        x, y = pairs[:, 0], pairs[:, 1]
        return jnp.sum(x * (0.5 + x * (6.0 - x**2)) - 0.5 * y**2)

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        well_key, noise_key = jax.random.split(rng_key)
        x = quantile(jax.random.uniform(well_key, (num_samples, num_pairs)))
        y = jax.random.normal(noise_key, (num_samples, num_pairs))
        return jnp.stack([x, y], axis=2).reshape(num_samples, 2 * num_pairs)

    def mode_fn(position: jax.Array) -> jax.Array:
        digits = jnp.asarray(position)[::2] > 0
        return jnp.sum(digits * 2 ** jnp.arange(num_pairs))

    return Problem(
        name=f"many_well(num_pairs={num_pairs})",
        logdensity_fn=logdensity_fn,
        position=constant((2 * num_pairs,)),
        log_normalizer=num_pairs * (log_integral(edges, log_well) + 0.5 * math.log(2.0 * math.pi)),
        sample=sample,
        mode_fn=mode_fn,
        mode_weights=frozen(mode_weights) if num_pairs <= MAX_TABULATED_PAIRS else None,
        reference="Midgley et al. (2023), arXiv 2208.01893; one-dimensional quadrature",
    )


@memoised_problem
def eggbox() -> Problem:
    """Return the eggbox: ``log L = (2 + cos(x/2) cos(y/2))^5``, uniform prior on [0, 10 pi]^2.

    The prior is included and the density is zero outside. Eighteen modes sit at
    ``(2 pi i, 2 pi j)``, i + j even: eight inside, eight on edges with half and two in corners
    with a quarter of an inner mode's mass. The mode of a point is ``3 i + j // 2``.

    >>> from rdmc_jax import problems
    >>> round(problems.eggbox().log_normalizer, 5)
    235.85594

    Reference: Feroz, Hobson, Bridges (2009), "MultiNest", arXiv 0809.3437, section 6.1.
    """
    side = 10.0 * math.pi
    log_prior = -2.0 * math.log(side)
    row, column = np.divmod(np.arange(18), 3)
    lattice = np.stack([row, 2 * column + row % 2], axis=1)
    modes = 2.0 * math.pi * lattice
    mode_weights = np.prod(np.where((lattice == 0) | (lattice == 5), 0.5, 1.0), axis=1)

    # One mode's own square: its density falls by exp(-60) before the edge, at a fifth of the way
    # to the next mode.
    num_cells = 512
    edges = np.linspace(-1.2, 1.2, num_cells + 1)
    midpoints = 0.5 * (edges[1:] + edges[:-1])
    wave = np.cos(0.5 * midpoints)
    log_cell = (2.0 + wave[:, None] * wave[None, :]) ** 5
    mass = np.exp(log_cell - log_cell.max())
    cell = edges[1] - edges[0]
    log_mode = float(log_cell.max() + np.log(mass.sum())) + 2.0 * math.log(cell)
    distribution = np.cumsum(mass.ravel()) / mass.sum()

    def logdensity_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position)
        inside = jnp.all((x >= 0.0) & (x <= side))
        return jnp.where(inside, (2.0 + jnp.prod(jnp.cos(0.5 * x))) ** 5 + log_prior, -jnp.inf)

    def sample(rng_key: jax.Array, num_samples: int) -> jax.Array:
        mode_key, cell_key, place_key = jax.random.split(rng_key, 3)
        weights = jnp.asarray(mode_weights / mode_weights.sum())
        mode = jax.random.choice(mode_key, 18, (num_samples,), p=weights)
        uniform = jax.random.uniform(cell_key, (num_samples,))
        index = jnp.minimum(jnp.searchsorted(jnp.asarray(distribution), uniform), num_cells**2 - 1)
        corner = jnp.asarray(edges)[jnp.stack(jnp.divmod(index, num_cells), axis=1)]
        offset = corner + cell * jax.random.uniform(place_key, (num_samples, 2))
        # The density is even about every mode: what falls outside is folded back.
        x = jnp.abs(jnp.asarray(modes)[mode] + offset)
        return jnp.where(x > side, 2.0 * side - x, x)

    def mode_fn(position: jax.Array) -> jax.Array:
        x = jnp.asarray(position) / (2.0 * math.pi)
        # The basins are diamonds: unit squares in the coordinates (i + j) / 2 and (i - j) / 2.
        half_sum, half_difference = jnp.round(0.5 * (x[0] + x[1])), jnp.round(0.5 * (x[0] - x[1]))
        i = jnp.clip(half_sum + half_difference, 0, 5).astype(int)
        j = jnp.clip(half_sum - half_difference, 0, 5).astype(int)
        return 3 * i + j // 2

    return Problem(
        name="eggbox()",
        logdensity_fn=logdensity_fn,
        position=constant((2,), 0.5 * side),
        log_normalizer=log_prior + math.log(mode_weights.sum()) + log_mode,
        sample=sample,
        mode_fn=mode_fn,
        mode_weights=frozen(mode_weights / mode_weights.sum()),
        reference="Feroz, Hobson, Bridges (2009), arXiv 0809.3437; quadrature of one mode",
    )


COUPLING = 4.0
WELL = 1.5
NUM_CELLS = 400
HALF_RANGE = 3.0


# The transfer matrix is smooth: all its other eigenvalues are below 1e-9 of the largest.
NUM_EIGENVALUES = 40


@memoised_problem
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
