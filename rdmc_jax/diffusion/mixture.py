"""Mixtures of Gaussians with a density in closed form, and their draws."""

import jax
import jax.numpy as jnp

from ..montecarlo.resampling import systematic
from ..target.flat import EXACT
from ..types import Array, Mixture, PRNGKey

BLOCK = 256
"""Points whose kernels are computed at a time: memory is O(block × components)."""


def mixture_of(mean: Array, factor: Array) -> Mixture:
    """Mixture of equally likely Gaussians ``N(m_k, A_k A_kᵀ)``.

    Args:
        mean: shape (num_components, dim).
        factor: deviations (num_components, dim), or lower triangular (num_components, dim, dim),
            see `triangular`.

    Returns:
        `Mixture`.

    >>> mixture_of(jnp.zeros((4, 2)), jnp.ones((4, 2))).log_share.tolist() == [-jnp.log(4.0)] * 4
    True
    """
    num_components, dim = mean.shape
    if factor.ndim == 2:
        deviation = diagonal = factor
        factor = inverse = jnp.zeros((0, dim, dim), mean.dtype)
        shift = deviation[:0]
    else:
        one = jnp.broadcast_to(jnp.eye(dim, dtype=mean.dtype), factor.shape)
        inverse = jax.scipy.linalg.solve_triangular(factor, one, lower=True)
        diagonal = jnp.diagonal(factor, axis1=1, axis2=2)
        deviation = diagonal[:0]
        shift = jnp.einsum("kij,kj->ki", inverse, mean, precision=EXACT)
    log_height = -jnp.sum(jnp.log(diagonal), axis=1) - 0.5 * dim * jnp.log(2 * jnp.pi)
    share = jnp.full((num_components,), -jnp.log(num_components), mean.dtype)
    return Mixture(mean, deviation, factor, inverse, shift, log_height, share)


def triangular(factor: Array) -> Array:
    """Lower triangular factors, with positive diagonals, of the covariances ``A Aᵀ``.

    >>> a = jnp.array([[[0.0, 2.0], [1.0, 1.0]]])
    >>> low = triangular(a)[0]
    >>> bool(jnp.allclose(low @ low.T, a[0] @ a[0].T, atol=1e-5)), bool(low[0, 1] == 0)
    (True, True)
    """
    upper = jnp.linalg.qr(jnp.swapaxes(factor, 1, 2), mode="r")
    diagonal = jnp.diagonal(upper, axis1=1, axis2=2)
    return jnp.swapaxes(jnp.where(diagonal < 0, -1.0, 1.0)[:, :, None] * upper, 1, 2)


def joined(first: Mixture, second: Mixture) -> Mixture:
    """Components of two mixtures, with the shares that they have.

    Args:
        first: mixture.
        second: mixture, of components with triangular factors if ``first`` has any of these.
    """
    assert not (first.factor.shape[0] and second.deviation.shape[0])
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), first, second)


def log_density(mixture: Mixture, x: Array) -> Array:
    """``log q(x) = log Σ_k share_k N(x; m_k, A_k A_kᵀ)`` at one point.

    Args:
        mixture: its shares need not be normalised where the density need not be.
        x: shape (dim,).

    Returns:
        A scalar.

    >>> one = mixture_of(jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> round(float(log_density(one, jnp.zeros(1))), 4)  # -log √(2π)
    -0.9189
    """
    return jax.nn.logsumexp(log_kernels(mixture, x))


def log_kernels(mixture: Mixture, x: Array) -> Array:
    """``log share_k N(x; m_k, A_k A_kᵀ)`` for each component, at one point."""
    z = (x[None, :] - mixture.mean[: mixture.deviation.shape[0]]) / mixture.deviation
    # one product of matrices for all components, and for all points of a vmap
    num, dim = mixture.shift.shape
    flat = mixture.inverse.reshape(num * dim, dim)
    rotated = jnp.matmul(flat, x, precision=EXACT).reshape(num, dim) - mixture.shift
    squared = [jnp.sum(one**2, axis=1) for one in (z, rotated)]
    return mixture.log_share + mixture.log_height - 0.5 * jnp.concatenate(squared)


def log_densities(mixture: Mixture, x: Array) -> Array:
    """`log_density` at each of the points ``x`` of shape (num_points, dim), in blocks."""
    return jax.lax.map(lambda one: log_density(mixture, one), x, batch_size=BLOCK)


def chosen_components(rng_key: PRNGKey, mixture: Mixture, num_draws: int) -> Array:
    """Components of draws, spread evenly: sorted indices of shape (num_draws,)."""
    return systematic(rng_key, mixture.log_share, num_draws)


def moved(mean: Array, factor: Array, z: Array) -> Array:
    """``m + A z`` for one component: a draw of it, if z is standard normal."""
    if factor.ndim == 1:
        return mean + factor * z
    return mean + jnp.matmul(factor, z, precision=EXACT)


def draws_of(rng_key: PRNGKey, mixture: Mixture, component: Array) -> Array:
    """One draw of each of the given components.

    Args:
        rng_key: key.
        mixture: mixture.
        component: indices, shape (num_draws,).

    Returns:
        Shape (num_draws, dim).
    """
    z = jax.random.normal(rng_key, (component.shape[0], mixture.mean.shape[1]), mixture.mean.dtype)

    def one(drawn: tuple[Array, Array]) -> Array:
        component, z = drawn
        return moved(mixture.mean[component], factor_at(mixture, component), z)

    return jax.lax.map(one, (component, z), batch_size=BLOCK)


def factor_at(mixture: Mixture, component: Array) -> Array:
    """``A`` of one component: deviations (dim,), or (dim, dim) if any of the mixture's is not."""
    num_diagonal, num_triangular = mixture.deviation.shape[0], mixture.factor.shape[0]
    if num_triangular == 0:
        return mixture.deviation[component]
    factor = mixture.factor[jnp.maximum(component - num_diagonal, 0)]
    if num_diagonal == 0:
        return factor
    deviation = mixture.deviation[jnp.minimum(component, num_diagonal - 1)]
    return jnp.where(component < num_diagonal, jnp.diag(deviation), factor)
