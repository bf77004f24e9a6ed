"""Samplers of other libraries at their documented defaults, each behind one function.

``PEERS`` has for each name the distribution that it comes from and a factory. The factory takes a
problem and a box and returns ``run(seed)``, which can be called again without compiling anew.
Libraries are imported by the factories, so that one can be used without the others.

- *nautilus*: 2,000 live points, at least 10,000 effective draws.
- *dynesty*: static nested sampling with 500 live points; one call for each point.
- *UltraNest*: reactive nested sampling with 400 live points and no step sampler.
- *pocoMC*: 512 effective and 256 active particles, at least 4,096 effective draws; the flow's
  importance estimate of log Z.
- *jaxns*: version 3; its import switches JAX to double precision, but the density keeps single.
- *NUTS* (NumPyro): 4 chains of 500 + 500 steps; starts are uniform within 2 of the position in
  each coordinate, which is NumPyro's own radius.
- *SMC* (blackjax): adaptive tempering as in `benchmarks.baselines.tempered` with 2,000 particles
  and 10 MALA moves at each temperature, which is blackjax's default number.

Nested samplers and pocoMC get a uniform prior on the box. SMC gets a Gaussian reference that has
the box's middle and deviations. Their log Z gains the log of the box's volume.

Evaluations: rows of the density that were asked for. They are counted by `CountedDensity` where the
library calls it from the host. jaxns counts its own. NUTS has one gradient for each leapfrog step
and one for each start; what chains that wait for a longer tree do meanwhile is not counted.
blackjax evaluates each particle of a temperature three times besides the moves: for the next
temperature, where the moves begin, and for the weights.
"""

import contextlib
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.harness.truth import rows_of

NUM_EXACT = 4000
MARGIN = 0.25
WORST = -1e100
"""Log density where there is none: the samplers sort and subtract it."""
NUM_CHAINS, NUM_WARMUP, NUM_KEPT, RADIUS = 4, 500, 500, 2.0
NUM_PARTICLES, NUM_MOVES = 2000, 10
NUM_BESIDE_MOVES = 3


class Result(NamedTuple):
    """Draws as rows or positions, log weights and log Z (None: none), and what they cost."""

    position: Any
    log_weight: np.ndarray | None
    log_normalizer: float | None
    num_evals: int
    ess: float
    findings: tuple[str, ...] = ()


class Box(NamedTuple):
    """A box by its corners, each of shape (dim,)."""

    low: np.ndarray
    high: np.ndarray

    @property
    def log_volume(self):
        """Natural logarithm of the volume."""
        return float(np.sum(np.log(self.high - self.low)))

    def point(self, unit):
        """Map points of the unit cube, one or rows of them, into the box."""
        return self.low + (self.high - self.low) * unit


def box_of(problem):
    """The box of exact draws and a quarter of its lengths on each side.

    Without exact draws, the draws are those of the prior in `benchmarks.baselines.target`.
    """
    key = jax.random.key(123)
    if problem.sample is not None:
        rows = np.asarray(rows_of(problem.sample(key, NUM_EXACT)), np.float64)
    else:
        from benchmarks.baselines.target import reference_of

        mean, scale = reference_of(problem)
        rows = mean + scale * np.asarray(jax.random.normal(key, (NUM_EXACT, mean.size)))
    low, high = rows.min(0), rows.max(0)
    margin = MARGIN * (high - low)
    return Box(low - margin, high + margin)


def weight_ess(log_weight):
    """Effective sample size of weights, (Σ w)² / Σ w²."""
    log_weight = np.asarray(log_weight, np.float64)
    weight = np.exp(log_weight - log_weight.max())
    return float(weight.sum() ** 2 / np.sum(weight**2))


def chains_ess(chains, modes=None):
    """Smallest effective sample size of the coordinates and of the indicators of the modes.

    The estimator is NumPyro's, autocorrelations of all chains by Geyer's monotone sequence (Stan
    manual). What never changes in any chain is left out.

    Args:
        chains: shape (num_chains, num_draws, dim).
        modes: mode of each draw, shape (num_chains, num_draws); None for none.
    """
    from numpyro.diagnostics import effective_sample_size

    series = list(np.moveaxis(np.asarray(chains, np.float64), -1, 0))
    if modes is not None:
        series += [1.0 * (modes == mode) for mode in np.unique(modes)]
    return min(float(effective_sample_size(one)) for one in series if np.ptp(one) > 0)


class CountedDensity:
    """The log density of rows, which counts the rows that it was asked for.

    Batches are padded to powers of two, so that few programs are compiled. The padding is not
    counted.

    Attributes:
        dim: number of coordinates.
        num_evals: rows so far.
    """

    def __init__(self, problem):
        flat, self.unravel = ravel_pytree(jax.tree.map(jnp.asarray, problem.position))
        self.dim, self.dtype, self.num_evals = flat.size, flat.dtype, 0
        self._batch = jax.jit(jax.vmap(lambda x: problem.logdensity_fn(self.unravel(x))))

    def __call__(self, rows):
        """The log density of each row, at least `WORST`."""
        rows = np.asarray(rows, self.dtype).reshape(-1, self.dim)
        num = len(rows)
        if not num:
            return np.zeros(0)
        padded = np.concatenate([rows, np.repeat(rows[:1], (1 << (num - 1).bit_length()) - num, 0)])
        self.num_evals += num
        value = np.asarray(self._batch(padded), np.float64)[:num]
        return np.maximum(np.nan_to_num(value, nan=WORST), WORST)

    def one(self, x):
        """The log density of one point."""
        return float(self(x)[0])

    def result(self, rows, log_weight, log_normalizer, num_before):
        """A result whose evaluations are those since ``num_before``."""
        position = jax.vmap(self.unravel)(jnp.asarray(rows, self.dtype))
        num_evals, ess = self.num_evals - num_before, weight_ess(log_weight)
        return Result(position, np.asarray(log_weight), float(log_normalizer), num_evals, ess)


def nautilus(problem, box):
    from nautilus import Sampler

    density = CountedDensity(problem)

    def run(seed):
        before = density.num_evals
        options = {"n_dim": density.dim, "vectorized": True, "pass_dict": False, "seed": seed}
        sampler = Sampler(box.point, density, **options)
        sampler.run()
        rows, log_weight, _ = sampler.posterior()
        return density.result(rows, log_weight, sampler.log_z + box.log_volume, before)

    return run


def dynesty(problem, box):
    from dynesty import NestedSampler

    density = CountedDensity(problem)

    def run(seed):
        before = density.num_evals
        rstate = np.random.default_rng(seed)
        sampler = NestedSampler(density.one, box.point, density.dim, rstate=rstate)
        sampler.run_nested(print_progress=False)
        found = sampler.results
        log_z = found.logz[-1] + box.log_volume
        return density.result(found.samples, found.logwt, log_z, before)

    return run


def ultranest(problem, box):
    from ultranest import ReactiveNestedSampler

    density = CountedDensity(problem)
    names = [f"x{k}" for k in range(density.dim)]

    def run(seed):
        before = density.num_evals
        np.random.seed(seed)  # the generator that UltraNest draws from
        sampler = ReactiveNestedSampler(names, density, box.point, vectorized=True)
        found = sampler.run(show_status=False, viz_callback=False)
        drawn = found["weighted_samples"]
        with np.errstate(divide="ignore"):
            log_weight = np.log(drawn["weights"])
        return density.result(drawn["points"], log_weight, found["logz"] + box.log_volume, before)

    return run


def pocomc(problem, box):
    import pocomc as library
    from scipy.stats import uniform

    density = CountedDensity(problem)
    prior = library.Prior([uniform(low, high - low) for low, high in zip(*box, strict=True)])

    def run(seed):
        before = density.num_evals
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            sampler = library.Sampler(prior, density, vectorize=True, random_state=seed)
            sampler.run(progress=False)
        rows, weight, _, _ = sampler.posterior()
        log_z, _ = sampler.evidence()
        return density.result(rows, np.log(weight), log_z + box.log_volume, before)

    return run


def jaxns(problem, box):
    from jaxns.core import NestedSampler
    from jaxns.model import Model
    from jaxns.priors import Prior
    from tensorflow_probability.substrates.jax import distributions

    density = CountedDensity(problem)

    def prior_model():
        uniform = distributions.Uniform(*(jnp.asarray(corner) for corner in box))
        x = Prior(uniform, name="x").realise()
        return problem.logdensity_fn(density.unravel(x.astype(density.dtype)))

    sampler = NestedSampler(model=Model(prior_model=prior_model))

    def run(seed):
        found = sampler.run(key=jax.random.key(seed)).to_result().trim()
        reason = int(found.termination_reason)
        result = density.result(
            found.X_samples["x"], found.log_dp, found.log_Z_mean + box.log_volume, 0
        )
        findings = (f"stopped for reason {reason}",) if reason else ()
        num_evals = int(found.total_num_likelihood_evaluations)
        return result._replace(num_evals=num_evals, findings=findings)

    return run


def nuts(problem, box):
    from numpyro.infer import NUTS

    start, unravel = ravel_pytree(jax.tree.map(jnp.asarray, problem.position))
    kernel = NUTS(potential_fn=lambda x: -problem.logdensity_fn(unravel(x)))

    @jax.jit
    def chains(key):
        start_key, key = jax.random.split(key)
        shape = (NUM_CHAINS, start.size)
        offset = jax.random.uniform(start_key, shape, start.dtype, -RADIUS, RADIUS)
        keys = jax.random.split(key, NUM_CHAINS)
        state = kernel.init(keys, NUM_WARMUP, start[None, :] + offset, (), {})

        def step(state, _):
            state = kernel.sample(state, (), {})
            return state, (state.z, state.num_steps)

        _, (x, num_steps) = jax.lax.scan(step, state, length=NUM_WARMUP + NUM_KEPT)
        return jnp.swapaxes(x[NUM_WARMUP:], 0, 1), num_steps

    def run(seed):
        kept, num_steps = chains(jax.random.key(seed))
        kept = np.asarray(kept)
        position = jax.vmap(unravel)(jnp.asarray(kept.reshape(-1, start.size)))
        modes = None
        if problem.mode_fn is not None:
            modes = np.asarray(jax.vmap(problem.mode_fn)(position)).reshape(kept.shape[:2])
        num_evals = NUM_CHAINS + int(np.sum(np.asarray(num_steps, np.int64)))
        return Result(position, None, None, num_evals, chains_ess(kept, modes))

    return run


def smc(problem, box):
    from benchmarks.baselines import tempered
    from benchmarks.baselines.target import Target

    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, problem.position))
    middle = jnp.asarray((box.low + box.high) / 2, flat.dtype)
    deviation = jnp.asarray((box.high - box.low) / np.sqrt(12), flat.dtype)
    log_jacobian = float(np.sum(np.log(np.asarray(deviation, np.float64))))

    def to_position(y):
        return unravel(middle + deviation * y)

    def logdensity_fn(y):
        return problem.logdensity_fn(to_position(y)) + log_jacobian

    target = Target(logdensity_fn, flat.size, to_position)

    def run(seed):
        key = jax.random.key(seed)
        found = tempered.smc_mala(key, target, NUM_PARTICLES, (NUM_MOVES, 1), None)
        num_rounds = (found.num_logdensity // NUM_PARTICLES - 1) // NUM_MOVES
        num_evals = num_rounds * NUM_PARTICLES * (NUM_MOVES + NUM_BESIDE_MOVES)
        log_weight = np.asarray(found.log_weight)
        position = jax.vmap(to_position)(found.position)
        return Result(position, log_weight, found.log_normalizer, num_evals, weight_ess(log_weight))

    return run


class Peer(NamedTuple):
    """The distribution that a sampler comes from, and its factory."""

    distribution: str
    make: Callable[[Any, Box], Callable[[int], Result]]


PEERS = {
    "nautilus": Peer("nautilus-sampler", nautilus),
    "dynesty": Peer("dynesty", dynesty),
    "ultranest": Peer("ultranest", ultranest),
    "pocomc": Peer("pocomc", pocomc),
    "jaxns": Peer("jaxns", jaxns),
    "nuts": Peer("numpyro", nuts),
    "smc": Peer("blackjax", smc),
}
