"""Mixture draws: the reverse diffusion of a pool with its noise integrated out.

Where a particle of the noised pool stops, its denoising posterior is close to a Gaussian. The
moment-matched Gaussians of many particles are a mixture ``q(y) = Σ_k share_k N(y; m_k, V_k)``.
A draw of q is a noisy point, denoised in one step. Its weight ``π̃(y)/q(y)`` has the whole mixture
in the denominator (deterministic-mixture weights), so the noisy point is integrated out. A draw
costs one evaluation, without gradient and without chain, and ``E[w] = Z`` for any mixture that was
fixed before. Where the pilot has climbed to modes, Gaussians with the curvature there (Laplace's
approximation) belong to it: in many dimensions few points of a pool are near a noisy one.

Rounds move the mixture to the target: draws of the newest components, weighted under all of them,
are noised and denoised again. Components are added and none is dropped, so what earlier rounds saw
stays possible. Draws that components were fitted to weigh too little under them: they shape the
next components and are never reported.

Reference: Cappé, Guillin, Marin, Robert (2004), J. Comput. Graph. Statist. 13, for populations that
are refitted; Cornuet, Marin, Mira, Robert (2012), Scand. J. Statist. 39, Eq. (3), for the weights.
"""

from dataclasses import KW_ONLY
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ..diffusion.kde import BLOCK, spread_about
from ..diffusion.mixture import (
    chosen_components,
    draws_of,
    factor_at,
    joined,
    log_densities,
    log_density,
    log_kernels,
    mixture_of,
    moved,
    triangular,
)
from ..montecarlo.kernels import mala
from ..montecarlo.resampling import stratified
from ..pools.pool import fixed_pool
from ..target.flat import EXACT
from ..types import (
    Array,
    Evaluations,
    FinishDraws,
    Fitted,
    KernelFactory,
    Laplace,
    LogDensityFn,
    Mixture,
    Pool,
    PRNGKey,
    Process,
    StartDraws,
    record,
)
from .finishes import Annealing, annealed, factor_of, without_chain
from .noised_pool import (
    LARGEST_FULL,
    LARGEST_NOISE,
    MEMBERS,
    evenly_permuted,
    kernel_ess,
    noised_moments,
    shrunk_covariance,
)

NUM_OCTAVES = 12
"""Range of noise that is searched, below twice the largest deviation of the pool."""
NUM_HALVINGS = 8
"""Bisections of that range: to a twentieth of an octave."""


KEPT = 0.25
"""Weight of the old points in the pool with the draws: what draws overlooked stays possible."""
NO_SOURCE = -1
"""``source`` of draws: they come from all generators, so they count as found by none."""
NUM_WIDE = 16
"""Components that each round adds beside the local ones, wider than these."""
WIDEST = 4
"""Octaves by which they are wider, at most."""
WIDE_SHARE = 0.1
"""Share of the draws of searching rounds that come from wide components."""
DEFENSIVE_SHARE = 0.1
"""The same of the half of the reported draws whose shares are not fitted: weights in the tails,
where few searching draws lie, are then bounded."""
MODE_SHARE = 0.15
"""Share of the draws of searching rounds that come from Gaussians at modes."""
LEAST_SHARE = 0.1
"""Shares that Gaussians at modes and local ones have at least in the half of the reported draws
whose shares within these groups are not fitted: either kind alone may miss what the other covers.
"""
NUM_UPDATES = 10
"""Steps of expectation maximisation for the shares of the reported mixture."""


def local_gaussians(rng_key: PRNGKey, pool: Pool, num_components: int) -> Mixture:
    """Moment-matched denoising posteriors of noised members of a pool.

    Member y with noise, ``x = y + σξ``, has the posterior of the pool's members under the kernel
    ``N(x; y_j, σ²I)``. σ is where `MEMBERS` of them count, effectively, and at most 2.5 widths of a
    mode (`LARGEST_NOISE`): with few members, a local Gaussian of average width is better than one
    that reaches over several modes. No exact weight depends on this choice.

    Args:
        rng_key: key.
        pool: weighted points.
        num_components: members that are noised.

    Returns:
        `Mixture` of equal shares.
    """
    member_key, noise_key = jax.random.split(rng_key)
    member = pool.position[stratified(member_key, pool.log_weight, num_components)]
    noise = jax.random.normal(noise_key, member.shape, member.dtype)
    share = jax.nn.softmax(pool.log_weight)
    mean = jnp.matmul(share, pool.position, precision=EXACT)
    widest = jnp.sqrt(jnp.max(spread_about(share, pool.position, mean))) + 1e-6

    def num_members(octave: Array) -> Array:
        sigma = 2 * widest * 2.0**-octave
        return jax.lax.map(
            lambda one: kernel_ess(one[0], one[1], pool),
            (member + sigma[:, None] * noise, sigma),
            batch_size=BLOCK,
        )

    def halve(bounds: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        coarse, fine = bounds
        middle = 0.5 * (coarse + fine)
        is_enough = num_members(middle) >= MEMBERS
        return (jnp.where(is_enough, middle, coarse), jnp.where(is_enough, fine, middle)), None

    first = jnp.zeros((num_components,), member.dtype)
    (octave, _), _ = jax.lax.scan(halve, (first, first + NUM_OCTAVES), None, NUM_HALVINGS)
    sigma = 2 * widest * 2.0**-octave
    sigma = jnp.minimum(sigma, LARGEST_NOISE[0])
    _, moments = noised_moments(member + sigma[:, None] * noise, sigma, pool)
    return mixture_of(moments.mean, factor_of(shrunk_covariance(moments, sigma)))


@record
class mixture:
    """Start of `candidates`: a mixture of local Gaussians, fitted to the pool in rounds.

    It begins with the Gaussians at the modes that the pilot met. Each round noises and denoises
    weighted points (first the pool, then all draws so far), adds the local Gaussians, and evaluates
    draws of the mixture. All these draws are
    discarded. Those of the last round, and as many more, measure the weights that reported draws
    will have.

    Args:
        num_particles: size of the ensemble.
        num_components: local Gaussians that each round adds, beside 16 wide ones.
        num_rounds: rounds, the one of the pool among them.
        num_drawn: draws of each round, with one evaluation each.

    Not for targets that no few hundred Gaussians resemble: the weights say so. `sample` then takes
    temperatures of `candidates`, or `noised_pool` with an `annealed_finish`.
    """

    num_particles: int
    _: KW_ONLY
    num_components: int = 100
    num_rounds: int = 4
    num_drawn: int = 1000
    has_own_levels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("num_particles", "num_components", "num_rounds", "num_drawn"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but got {getattr(self, name)}.")

    def fit(self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, pool: Pool) -> Fitted:
        """Fit the mixture to a pool.

        Args:
            rng_key: key.
            logdensity_fn: target on flat arrays.
            pool: weighted points.

        Returns:
            `Fitted`, with ``(num_rounds + 1) * num_drawn`` evaluations; its pool has the draws of
            the rounds, too.
        """
        num_rounds, count = self.num_rounds, self.num_drawn
        num_each = self.num_components + NUM_WIDE
        dim, dtype = pool.position.shape[1], pool.position.dtype
        num_rows = num_rounds * num_each
        unseen = jnp.full((num_rounds, count), -jnp.inf, dtype)
        shape = (num_rows, dim, dim) if dim <= LARGEST_FULL else (num_rows, dim)
        first = mixture_of(jnp.zeros((num_rows, dim), dtype), jnp.ones(shape, dtype))
        modes = at_modes(pool.laplace, first)
        num_modes = modes.mean.shape[0]
        rest = 1 - (MODE_SHARE if num_modes else 0.0)
        block = jnp.append(jnp.arange(num_rows) // num_each, jnp.zeros(num_modes, jnp.int32))
        is_wide = jnp.arange(num_rows) % num_each >= self.num_components
        is_wide = jnp.append(is_wide, jnp.zeros(num_modes, bool))
        is_mode = jnp.arange(num_rows + num_modes) >= num_rows
        is_local = ~is_wide & ~is_mode
        searching = jnp.where(
            is_wide, rest * WIDE_SHARE / NUM_WIDE, rest * (1 - WIDE_SHARE) / self.num_components
        ).astype(dtype)

        def searching_share(number: Array) -> Array:
            share = jnp.where(block <= number, searching / (number + 1), 0.0)
            return jnp.where(is_mode, MODE_SHARE / max(num_modes, 1), share)

        def reported(mixture: Mixture, share: Array, x: Array, log_weight: Array) -> Array:
            found = share
            if num_rounds > 1:
                found = _shares(mixture, share, x.reshape(-1, dim), log_weight.reshape(-1))
            of_modes = jnp.clip(jnp.sum(found, where=is_mode), LEAST_SHARE, 1 - LEAST_SHARE)
            of_modes = of_modes if num_modes else jnp.zeros_like(of_modes)
            kept = DEFENSIVE_SHARE * _among(is_wide, share)
            kept += (1 - DEFENSIVE_SHARE) * of_modes * _among(is_mode, share)
            kept += (1 - DEFENSIVE_SHARE) * (1 - of_modes) * _among(is_local, share)
            return 0.5 * found + 0.5 * kept

        def one_round(carry: Any, step: Any) -> Any:
            rounds, x, logdensity, log_weight = carry
            number, key = step
            fit_key, choose_key, draw_key = jax.random.split(key, 3)
            is_first = number == 0
            points = fixed_pool(
                jnp.concatenate([pool.position, x.reshape(-1, dim)]),
                jnp.concatenate(
                    [
                        jnp.where(is_first, pool.log_weight, -jnp.inf),
                        jnp.where(is_first, -jnp.inf, _truncated(log_weight.reshape(-1))),
                    ]
                ),
            )
            new = with_wide(local_gaussians(fit_key, points, self.num_components))
            rounds = jax.tree.map(
                lambda all_of, some: jax.lax.dynamic_update_slice_in_dim(
                    all_of, some, number * num_each, 0
                ),
                rounds,
                new,
            )
            mixture = joined(rounds, modes)
            # rounds that search draw from all components so far, the last one from what is reported
            share = searching_share(number)
            share = jax.lax.cond(
                number == num_rounds - 1,
                lambda: reported(mixture, share, x, log_weight),
                lambda: share,
            )
            mixture = mixture._replace(log_share=jnp.log(share).astype(dtype))
            drawn = draws_of(draw_key, mixture, chosen_components(choose_key, mixture, count))
            values = jax.vmap(logdensity_fn)(drawn)
            x, logdensity = x.at[number].set(drawn), logdensity.at[number].set(values)
            # the law of all draws together: block b has taken part in rounds b, b + 1, …
            numbers = jnp.arange(num_rounds)
            shares = jax.vmap(searching_share)(numbers).at[number].set(share)
            law = jnp.mean(shares, axis=0, where=(numbers <= number)[:, None])
            union = mixture._replace(log_share=jnp.log(law).astype(dtype))
            log_law = log_densities(union, x.reshape(-1, dim)).reshape(num_rounds, count)
            fresh = values - log_densities(mixture, drawn)
            return (rounds, x, logdensity, logdensity - log_law), (fresh, share)

        round_key, choose_key, draw_key = jax.random.split(rng_key, 3)
        steps = (jnp.arange(num_rounds), jax.random.split(round_key, num_rounds))
        carry = (first, jnp.zeros((num_rounds, count, dim), dtype), unseen, unseen)
        (rounds, x, logdensity, log_weight), last = jax.lax.scan(one_round, carry, steps)
        fresh, share = jax.tree.map(lambda leaf: leaf[-1], last)
        mixture = joined(rounds, modes)._replace(log_share=jnp.log(share).astype(dtype))
        drawn = draws_of(draw_key, mixture, chosen_components(choose_key, mixture, count))
        values = jax.vmap(logdensity_fn)(drawn)
        fresh = jnp.concatenate([fresh, values - log_densities(mixture, drawn)])
        evals = Evaluations(
            jnp.asarray((num_rounds + 1) * count, jnp.int32), jnp.zeros((), jnp.int32)
        )
        bad = jnp.sum(~jnp.isfinite(logdensity), dtype=jnp.int32)
        bad += jnp.sum(~jnp.isfinite(values), dtype=jnp.int32)
        old = jax.nn.log_softmax(pool.log_weight) + jnp.log(KEPT)
        new = jax.nn.log_softmax(_truncated(log_weight.reshape(-1))) + jnp.log1p(-KEPT)
        no_source = jnp.full((num_rounds * count,), NO_SOURCE, pool.source.dtype)
        made = pool._replace(
            position=jnp.concatenate([pool.position, x.reshape(-1, dim)]),
            log_weight=jnp.concatenate([old, new]),
            num_evals=evals,
            num_nonfinite=bad,
            source=jnp.concatenate([pool.source, no_source]),
            mixture=mixture,
        )
        return Fitted(made, jnp.where(jnp.isnan(fresh), -jnp.inf, fresh))

    def sample(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        time: float,
        known: Pool,
    ) -> StartDraws:
        """Choose components; the finish draws from them and knows the law of its draws."""
        fitted = known
        if known.mixture is None:
            fitted = self.fit(rng_key, logdensity_fn, known).pool
        assert fitted.mixture is not None
        num, dtype = self.num_particles, known.position.dtype
        component = chosen_components(rng_key, fitted.mixture, num)
        none = jnp.zeros((num,), dtype)
        center = fitted.mixture.mean[component]
        evals, bad = fitted.num_evals, fitted.num_nonfinite
        return StartDraws(center, none, none, evals, bad, fitted.mixture)


def at_modes(laplace: Laplace | None, like: Mixture) -> Mixture:
    """The Gaussians at modes as components that can follow those of another mixture."""
    if laplace is None:
        return mixture_of(like.mean[:0], like.factor[:0])
    factor = laplace.factor
    if factor.ndim == 3:
        factor = triangular(factor)
    elif like.factor.shape[0]:
        factor = jax.vmap(jnp.diag)(factor)
    return mixture_of(laplace.mean, factor)


def with_wide(local: Mixture) -> Mixture:
    """The mixture and `NUM_WIDE` of its components, wider by 1 to `WIDEST` octaves.

    A light wide mode around a narrow one has no points of its own in the pool, but a wide
    component meets it.
    """
    num = local.mean.shape[0]
    chosen = jnp.arange(NUM_WIDE) * num // NUM_WIDE
    octave = 1 + jnp.arange(NUM_WIDE, dtype=local.mean.dtype) % WIDEST
    if local.factor.shape[0] == 0:
        factor = 2.0 ** octave[:, None] * local.deviation[chosen]
    else:
        factor = 2.0 ** octave[:, None, None] * local.factor[chosen]
    return joined(local, mixture_of(local.mean[chosen], factor))


def _among(is_member: Array, share: Array) -> Array:
    """Shares of the members alone, which sum to one; zero without members."""
    own = jnp.where(is_member, share, 0.0)
    return own / jnp.maximum(jnp.sum(own), jnp.finfo(own.dtype).tiny)


def _shares(mixture: Mixture, share: Array, x: Array, log_weight: Array) -> Array:
    """Shares of most likely weighted points, by expectation maximisation of the shares alone.

    ``share_k ← Σ_n w_n share_k N_k(x_n)/q(x_n)``
    """
    weight = jax.nn.softmax(_truncated(log_weight))
    unit = mixture._replace(log_share=jnp.zeros_like(mixture.log_share))
    log_kernel = jax.lax.map(lambda one: log_kernels(unit, one), x, batch_size=BLOCK)
    kernel = jnp.exp(log_kernel - jnp.max(log_kernel, axis=1, keepdims=True))

    def update(share: Array, _: None) -> tuple[Array, None]:
        law = jnp.matmul(kernel, share, precision=EXACT)
        ratio = jnp.where(law > 0, weight / law, 0.0)
        share = share * jnp.matmul(ratio, kernel, precision=EXACT)
        return share / jnp.sum(share), None

    return jax.lax.scan(update, share, None, NUM_UPDATES)[0]


def _truncated(log_weight: Array) -> Array:
    """Log weights, cut at √n times their mean: a heavier one would be like a mode."""
    num_drawn = jnp.sum(log_weight > -jnp.inf, dtype=log_weight.dtype)
    mean = jax.nn.logsumexp(log_weight) - jnp.log(num_drawn)
    cut = jnp.minimum(log_weight, mean + 0.5 * jnp.log(num_drawn))
    return jnp.where(jnp.isfinite(mean), cut, jnp.zeros_like(cut))


class _FromComponent(NamedTuple):
    """One particle's path from its component ``N_k`` to ``N_k π/q``, in the component's own units.

    The step depends on k, so the path must begin with the law that the particle has given k. The
    sum of ``share_k N_k π/q`` over the components is π.
    """

    mixture: Mixture
    mean: Array
    factor: Array

    def position(self, z: Array) -> Array:
        return moved(self.mean, self.factor, z)

    def log_reference(self, z: Array) -> Array:
        return -0.5 * jnp.sum(z**2) - 0.5 * z.size * jnp.log(2 * jnp.pi)

    def log_rest(self, z: Array) -> Array:
        return self.log_reference(z) - log_density(self.mixture, self.position(z))


@record
class candidates:
    """Finish of `mixture`: one of M draws of it, with their mean weight as exact weight.

    ``w = (1/M) Σ_j w_j`` with ``w_j = π̃(y_j)/q(y_j)``, and ``y_j`` is taken with probability
    ``∝ w_j``. The variance of w, and with it the distance of an unweighted draw from the target,
    falls like 1/M. With temperatures each candidate comes from annealed importance sampling from
    its component N_k to ``N_k π̃/q``, whose weight takes the place of ``π̃/q``. One evaluation per
    candidate, and one per temperature.

    Args:
        num_candidates: M.
        num_temperatures: of the annealing; 0 for none, and no gradient.
        kernel: of the annealing, as in `annealed_finish`.
        target_acceptance: of the kernel.

    Raises:
        ValueError: without candidates.

    Reference: Andrieu, Doucet, Holenstein (2010), J. R. Statist. Soc. B 72, Section 2.4, for the
    mean weight of particles of which one is kept; Neal (2001), Stat. Comput. 11, for annealing.
    """

    num_candidates: int = 1
    _: KW_ONLY
    num_temperatures: int = 0
    kernel: KernelFactory = mala
    target_acceptance: float = 0.6
    needs_moments: ClassVar[bool] = True
    needs_common_level: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.num_candidates < 1 or self.num_temperatures < 0:
            raise ValueError(
                "candidates needs num_candidates >= 1 and num_temperatures >= 0, but got "
                f"{self.num_candidates} and {self.num_temperatures}."
            )

    def sample(
        self,
        rng_key: PRNGKey,
        logdensity_fn: LogDensityFn,
        process: Process,
        x: Array,
        t: Array,
        moments: Mixture,
    ) -> FinishDraws:
        """Draw from the mixture; the points of the start are not used."""
        num_particles, count = x.shape[0], self.num_candidates
        choose_key, order_key, keep_key, draw_key = jax.random.split(rng_key, 4)
        component = chosen_components(choose_key, moments, num_particles * count)
        # the candidates of a particle are spread evenly over the components
        order = evenly_permuted(order_key, num_particles * count)
        component = component[order].reshape(count, num_particles)

        def one(carry: Any, step: Any) -> Any:
            kept, log_sum = carry
            component, draw_key, keep_key = step
            drawn = self._one_of(draw_key, logdensity_fn, moments, component)
            total = jnp.logaddexp(log_sum, drawn.log_weight)
            share = jnp.exp(drawn.log_weight - total)
            uniform = jax.random.uniform(keep_key, share.shape, share.dtype)
            is_new = ~(uniform >= share)  # nan as long as no candidate has weight
            kept = jnp.where(is_new[:, None], drawn.position, kept)
            rest = (drawn.acceptance_rate, drawn.num_evals, drawn.num_nonfinite)
            return (kept, jnp.where(jnp.isnan(total), -jnp.inf, total)), rest

        nothing = (jnp.zeros_like(x), jnp.full((num_particles,), -jnp.inf, x.dtype))
        keys = (jax.random.split(draw_key, count), jax.random.split(keep_key, count))
        (y, log_sum), (rate, evals, bad) = jax.lax.scan(one, nothing, (component, *keys))
        return FinishDraws(
            position=y,
            log_weight=log_sum - jnp.log(count).astype(x.dtype),
            acceptance_rate=jnp.mean(rate, axis=0),
            num_evals=Evaluations(*(jnp.sum(one, dtype=jnp.int32) for one in evals)),
            num_nonfinite=jnp.sum(bad, dtype=jnp.int32),
        )

    def _one_of(
        self, rng_key: PRNGKey, logdensity_fn: LogDensityFn, mixture: Mixture, component: Array
    ) -> FinishDraws:
        """One candidate of each particle."""
        if self.num_temperatures:
            factor = jax.vmap(lambda k: factor_at(mixture, k))(component)
            own = (mixture.mean[component], factor)
            options = Annealing(
                self.kernel, self.num_temperatures, target_acceptance=self.target_acceptance
            )
            dim = mixture.mean.shape[1]
            return annealed(
                rng_key,
                logdensity_fn,
                own,
                lambda own: _FromComponent(mixture, *own),
                dim,
                options,
            )
        y = draws_of(rng_key, mixture, component)
        logdensity = jax.vmap(logdensity_fn)(y)
        return without_chain(y, logdensity, logdensity - log_densities(mixture, y))
