"""The problems of the benchmarks by name, with two that have no gradient to rely on."""

import jax
import jax.numpy as jnp
import numpy as np

from rdmc_jax import problems


def jumping(x):
    """Discontinuous, and its gradient knows nothing of it: twice the density right of x_1 = 5."""
    return problems.gmm4().logdensity_fn(x) + jnp.where(x[0] > 5, jnp.log(2.0), 0.0)


def rounded(x):
    """Without a gradient: it is zero wherever there is one."""
    return jnp.round(4 * problems.gmm4().logdensity_fn(x)) / 4


def gmm4_with(name, logdensity_fn):
    """`gmm4` by another density, with log Z and mode weights by quadrature over 1/200 cells."""
    grid = np.arange(-8, 18, 1 / 200) + 1 / 400
    x = jnp.stack(jnp.meshgrid(*[jnp.asarray(grid, jnp.float32)] * 2), axis=-1).reshape(-1, 2)
    problem = problems.gmm4()
    log_value, mode = jax.lax.map(
        lambda y: (logdensity_fn(y), problem.mode_fn(y)), x, batch_size=100_000
    )
    mass = np.bincount(np.asarray(mode), np.exp(np.asarray(log_value, np.float64)), minlength=4)
    return problem._replace(
        name=name,
        logdensity_fn=logdensity_fn,
        log_normalizer=float(np.log(mass.sum() / 200**2)),
        mode_weights=mass / mass.sum(),
        sample=None,
    )


PROBLEMS = {
    "gmm4": problems.gmm4,
    "gmm8": problems.gmm8,
    "rings": problems.rings,
    "gmm40_2": lambda: problems.gmm40(2),
    "two_modes_8": lambda: problems.two_modes(8),
    "two_modes_32": lambda: problems.two_modes(32),
    "two_modes_64": lambda: problems.two_modes(64),
    "galaxy_equal": lambda: problems.galaxy(3, True),
    "galaxy_unequal": lambda: problems.galaxy(3, False),
    "unequal_mixture_8": lambda: problems.unequal_mixture(8),
    "unequal_mixture_20": lambda: problems.unequal_mixture(20),
    "many_well_4": lambda: problems.many_well(4),
    "phi4_chain_16": lambda: problems.phi4_chain(16),
    "funnel": problems.funnel,
    "rosenbrock": problems.rosenbrock,
    "bananas": problems.bananas,
    "spike_slab_2": lambda: problems.spike_slab(2),
    "spike_slab_5": lambda: problems.spike_slab(5),
    "exoplanet": problems.exoplanet,
    "eggbox": problems.eggbox,
    "shells_2": lambda: problems.shells(2),
    "shells_10": lambda: problems.shells(10),
    "mixture_posterior_3": lambda: problems.mixture_posterior(3),
    "gmm4_with_jumps": lambda: gmm4_with("gmm4() with jumps", jumping),
    "gmm4_rounded": lambda: gmm4_with("gmm4() in steps of 1/4", rounded),
    "gaussian_scales": problems.gaussian_scales,
    "gaussian_rotated": problems.gaussian_rotated,
}
